"""How far the answers of two targets agree, and where they diverge."""

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
"""Tokens of an answer that are aligned with another's: four of the model's contexts."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike the answers of two targets are; the unit is the prompt.

    Attributes:
        prompts: How many have an answer from both.
        missing: How many lack one of the two.
        exact_bytes, exact_normalized, exact_cut: The rate of prompts whose answers are equal in
            all repetitions, by tier.
        divergence: Where the answers part, by prompt.
        first_divergence: The median number of tokens before they do; ``None`` where at least half
            never do.
        prefix_fraction: Common prefix over the longer answer, in tokens.
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
    """Answers of two sides to the same prompts.

    Attributes:
        pairs: By prompt; one ``(a, b)`` a repetition.
        missing: Prompts for which one side has no answer.
    """

    pairs: Mapping[str, Sequence[tuple[Record, Record]]]
    missing: int


def pair_up(a: Iterable[Record], b: Iterable[Record]) -> Pairing:
    """Repetition by repetition, the greedy answers of two targets; others are left out."""
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
    """The measures over all pairs; averages within a prompt first."""
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
    """Common prefix over the longer one; both empty 1, one empty 0."""
    longest = max(len(a), len(b))
    return common_prefix(a, b) / longest if longest else 1.0


def edit_similarity(a: Tokens, b: Tokens) -> float:
    """1 - Levenshtein(a, b) / max(len); both empty 1.

    From token :data:`ALIGNED` on, the distance is counted place by place: it is then an upper
    bound. Aligning takes time by the square, and no answer of Phi-2's is so long.
    """
    longest = max(len(a), len(b))
    if not longest:
        return 1.0
    tails = zip_longest(a[ALIGNED:], b[ALIGNED:])
    beyond = sum(x != y for x, y in tails) if longest > ALIGNED else 0
    return 1.0 - (Levenshtein.distance(a[:ALIGNED], b[:ALIGNED]) + beyond) / longest


def same_normalized(a: Record, b: Record) -> bool:
    """Equal as received, but for Unicode's forms and the white space at both ends."""
    return _normal(a.raw) == _normal(b.raw)


def same_cut(a: Record, b: Record) -> bool:
    """Equal after both were cut at the stop."""
    return _normal(a.text) == _normal(b.text)


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where answers part, prompt by prompt.

    Attributes:
        parted: For each prompt whose answers part: how many tokens they begin with in common, in
            the repetition that parts first.
        equal: For each other prompt: how many tokens its answers have.
    """

    parted: tuple[int, ...]
    equal: tuple[int, ...]

    @staticmethod
    def of(prompts: Sequence[Sequence[tuple[Tokens, Tokens]]]) -> Divergence:
        """From the answers to each prompt, as tokens: one ``(a, b)`` a repetition."""
        parted, equal = [], []
        for pairs in prompts:
            if found := [common_prefix(a, b) for a, b in pairs if a != b]:
                parted.append(min(found))
            else:
                equal.append(max(len(a) for a, _ in pairs))
        return Divergence(tuple(parted), tuple(equal))

    def median(self) -> Estimate | None:
        """The median and its interval; ``None`` where fewer than half are seen to part."""
        if not self.parted:
            return None
        survival = stats.ecdf(self._censored()).sf
        times, share = survival.quantiles, survival.probabilities
        if (middle := _first(times, share <= 0.5)) is None:
            return None
        with warnings.catch_warnings():
            # Undefined where the share is 0 or 1.
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
    """How many items ``a`` and ``b`` begin with in common: tokens, or characters."""
    for index, (x, y) in enumerate(zip(a, b, strict=False)):
        if x != y:
            return index
    return min(len(a), len(b))


def part_differently(found: Mapping[str, Divergence]) -> dict[tuple[str, str], float]:
    """For each two targets, the p-value that they part from the reference equally late.

    By the log-rank test, adjusted for all pairs (Holm). Targets answer the same prompts, which
    the test does not know: their likeness makes it cautious. A pair that never parts from the
    reference has a p of 1.

    Args:
        found: By target, where it parts from the reference.
    """
    pairs = list(combinations(found, 2))
    adjusted = holm([_log_rank(found[a], found[b]) for a, b in pairs])
    return dict(zip(pairs, adjusted, strict=True))


def _log_rank(a: Divergence, b: Divergence) -> float:
    if not (a.parted or b.parted) or not (a.parted or a.equal) or not (b.parted or b.equal):
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # 0 / 0 where all part at one place
        p = float(stats.logrank(a._censored(), b._censored()).pvalue)
    return p if np.isfinite(p) else 1.0


def _first(times: np.ndarray, where: np.ndarray) -> float | None:
    found = np.flatnonzero(where)
    return float(times[found[0]]) if len(found) else None
