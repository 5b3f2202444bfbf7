"""Do two targets answer alike? Greedy answers, side by side, prompt by prompt.

Exactness is counted in three tiers: the bytes as received; those after Unicode normalisation
(NFC) with white space stripped at both ends; and the answers after both were cut at the stop.
The other measures compare the cut answers: what lies past the cut depends on when a stream was
cancelled, and a route that cannot stream goes on where another was stopped.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from rapidfuzz.distance import Levenshtein

from phi2sdk.measure.divergence import Divergence, common_prefix
from phi2sdk.measure.records import Record
from phi2sdk.measure.statistics import Estimate, mean_over_prompts, wilson
from phi2sdk.measure.tokens import ReferenceTokenizer

__all__ = [
    "Agreement",
    "Pairing",
    "agreement",
    "common_prefix",
    "edit_similarity",
    "pair_up",
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
