"""Measure the agreement of the answers of two targets, and where they diverge."""

from __future__ import annotations

import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, zip_longest

import numpy as np
from rapidfuzz.distance import Levenshtein
from scipy import stats

from phi2sdk.analysis.paired import holm
from phi2sdk.analysis.statistics import CONFIDENCE, Estimate, mean_over_prompts, smallest_n, wilson
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer

__all__ = [
    "Agreement",
    "Divergence",
    "Pairing",
    "agreement",
    "common_prefix",
    "edit_similarity",
    "pair_up",
    "part_differently",
    "prefix_fraction",
    "same_cut",
    "same_normalized",
]

Tokens = Sequence[int]

ALIGNED = 8192
"""Maximum number of tokens of an answer that are aligned: four times the model's context."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The agreement of the answers of two targets. The unit is the prompt.

    Attributes:
        prompts: Number of prompts with an answer from both.
        missing: Number of prompts without an answer from one of them.
        exact_bytes, exact_normalized, exact_cut: Rate of prompts whose answers are equal in all
            repetitions, by tier.
        divergence: The first divergence of the answers, by prompt.
        first_divergence: Median number of tokens before the first divergence; ``None`` if at least
            half of the answers never diverge.
        prefix_fraction: Length of the common prefix over that of the longer answer, in tokens.
        edit_similarity: 1 - Levenshtein distance over the longer answer, in tokens.
    """

    prompts: int
    missing: int
    exact_bytes: Estimate | None = None
    exact_normalized: Estimate | None = None
    exact_cut: Estimate | None = None
    divergence: Divergence = field(default_factory=lambda: Divergence((), ()))
    first_divergence: Estimate | None = None
    prefix_fraction: Estimate | None = None
    edit_similarity: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Pairing:
    """The answers of two targets to the same prompts.

    Attributes:
        pairs: The answers by prompt, one ``(a, b)`` per repetition.
        missing: Number of prompts without an answer from one of them.
    """

    pairs: Mapping[str, Sequence[tuple[Record, Record]]]
    missing: int


def pair_up(a: Iterable[Record], b: Iterable[Record]) -> Pairing:
    """Return the greedy answers of two targets, paired by prompt and repetition."""
    a, b = ([record for record in side if record.key.arm == "greedy"] for side in (a, b))
    left = {(r.key.prompt, r.key.repetition): r for r in a}
    pairs: dict[str, list[tuple[Record, Record]]] = defaultdict(list)
    asked = {r.key.prompt for r in left.values()}
    for other in b:
        asked.add(other.key.prompt)
        mine = left.get((other.key.prompt, other.key.repetition))
        if mine is not None and _comparable(mine) and _comparable(other):
            pairs[other.key.prompt].append((mine, other))
    return Pairing(pairs, len(asked) - len(pairs))


def _comparable(record: Record) -> bool:
    return record.outcome in ("ok", "empty")


def agreement(pairing: Pairing, tokenizer: ReferenceTokenizer) -> Agreement:
    """Return the measures over all pairs, averaged within each prompt first."""
    if not pairing.pairs:
        return Agreement(prompts=0, missing=pairing.missing)
    tiers: list[tuple[bool, bool, bool]] = []
    prefixes: list[float] = []
    edits: list[float] = []
    by_prompt: list[list[tuple[Tokens, Tokens]]] = []
    for pairs in pairing.pairs.values():
        tiers.append(
            (
                all(a.raw == b.raw for a, b in pairs),
                all(same_normalized(*p) for p in pairs),
                all(same_cut(*p) for p in pairs),
            )
        )
        encoded: list[tuple[Tokens, Tokens]] = [
            (tokenizer.encode(a.text), tokenizer.encode(b.text)) for a, b in pairs
        ]
        prefixes.append(_mean(prefix_fraction(a, b) for a, b in encoded))
        edits.append(_mean(edit_similarity(a, b) for a, b in encoded))
        by_prompt.append(encoded)
    n = len(pairing.pairs)
    divergence = Divergence.of(by_prompt)
    by_bytes, normalized, cut = (wilson(sum(tier[i] for tier in tiers), n) for i in range(3))
    return Agreement(
        prompts=n,
        missing=pairing.missing,
        exact_bytes=by_bytes,
        exact_normalized=normalized,
        exact_cut=cut,
        divergence=divergence,
        first_divergence=divergence.median(),
        prefix_fraction=mean_over_prompts(prefixes),
        edit_similarity=mean_over_prompts(edits),
    )


def prefix_fraction(a: Tokens, b: Tokens) -> float:
    """Return common prefix over the longer length; 1 if both are empty, 0 if one is."""
    longest = max(len(a), len(b))
    return common_prefix(a, b) / longest if longest else 1.0


def edit_similarity(a: Tokens, b: Tokens) -> float:
    """Return 1 - Levenshtein(a, b) / max(len); 1 if both are empty.

    From token :data:`ALIGNED`, the tokens are compared position by position, which gives an upper
    bound of the distance. The time for an alignment is quadratic, and no answer of Phi-2 is so
    long.
    """
    longest = max(len(a), len(b))
    if not longest:
        return 1.0
    tails = zip_longest(a[ALIGNED:], b[ALIGNED:])
    beyond = sum(x != y for x, y in tails) if longest > ALIGNED else 0
    return 1.0 - (Levenshtein.distance(a[:ALIGNED], b[:ALIGNED]) + beyond) / longest


def same_normalized(a: Record, b: Record) -> bool:
    """Return whether two answers are equal after Unicode NFC, without white space at the ends."""
    return _normal(a.raw) == _normal(b.raw)


def same_cut(a: Record, b: Record) -> bool:
    """Return whether two answers are equal after both were cut at the stop."""
    return _normal(a.text) == _normal(b.text)


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first divergence of the answers to each prompt.

    Attributes:
        parted: Number of common tokens at the beginning, for each prompt whose answers diverge, in
            the repetition with the earliest divergence.
        equal: Number of tokens of the answers, for each other prompt.
    """

    parted: tuple[int, ...]
    equal: tuple[int, ...]

    @staticmethod
    def of(prompts: Sequence[Sequence[tuple[Tokens, Tokens]]]) -> Divergence:
        """Return the divergence of answers given as tokens, one ``(a, b)`` per repetition."""
        parted, equal = [], []
        for pairs in prompts:
            if found := [common_prefix(a, b) for a, b in pairs if a != b]:
                parted.append(min(found))
            else:
                equal.append(max(len(a) for a, _ in pairs))
        return Divergence(tuple(parted), tuple(equal))

    def median(self) -> Estimate | None:
        """Return the median with its interval; ``None`` if fewer than half diverge."""
        if not self.parted:
            return None
        survival = stats.ecdf(self._censored()).sf
        times, share = survival.quantiles, survival.probabilities
        if (middle := _first(times, share <= 0.5)) is None:
            return None
        with warnings.catch_warnings():
            # Undefined if the share is 0 or 1.
            warnings.simplefilter("ignore", RuntimeWarning)
            bounds = survival.confidence_interval(CONFIDENCE, method="log-log")
        enough = len(self.parted) + len(self.equal) >= smallest_n(0.5)
        low, high = bounds.low.probabilities, bounds.high.probabilities
        none_left = np.isclose(share, 0)
        return Estimate(
            middle,
            _first(times, (low <= 0.5) | none_left) if enough else None,
            _first(times, (high <= 0.5) | none_left) if enough else None,
        )

    def _censored(self) -> stats.CensoredData:
        return stats.CensoredData(uncensored=self.parted, right=self.equal)


def common_prefix(a: Sequence[object], b: Sequence[object]) -> int:
    """Return the length of the common prefix of ``a`` and ``b``, in tokens or characters."""
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return index
    return min(len(a), len(b))


def part_differently(found: Mapping[str, Divergence]) -> dict[tuple[str, str], float]:
    """Test for each pair of targets whether they diverge from the reference equally late.

    The p-values come from the log-rank test, adjusted for all pairs (Holm). The test treats the
    targets as independent; it is conservative because they answer the same prompts. A pair that
    never diverges from the reference has a p-value of 1.

    Args:
        found: The divergence of each target from the reference.
    """
    pairs = list(combinations(found, 2))
    adjusted = holm([_log_rank(found[a], found[b]) for a, b in pairs])
    return dict(zip(pairs, adjusted, strict=True))


def _log_rank(a: Divergence, b: Divergence) -> float:
    if not (a.parted or b.parted) or not (a.parted or a.equal) or not (b.parted or b.equal):
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # 0 / 0 if all diverge at one position
        p = float(stats.logrank(a._censored(), b._censored()).pvalue)
    return p if np.isfinite(p) else 1.0


def _first(times: np.ndarray, where: np.ndarray) -> float | None:
    found = np.flatnonzero(where)
    return float(times[found[0]]) if len(found) else None
