"""How many tokens two targets' answers have in common before they part.

Answers that are equal never part within their length, so theirs is a lower bound: it is censored
on the right. The median is that of Kaplan and Meier (1958), its interval that of Brookmeyer and
Crowley (1982) with log-log bounds, and targets are compared by the log-rank test (Mantel 1966).
The unit is the prompt.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from scipy import stats

from phi2sdk.measure.paired import holm
from phi2sdk.measure.statistics import CONFIDENCE, Estimate, smallest_n

__all__ = ["Divergence", "common_prefix", "part_differently"]

Tokens = Sequence[int]


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
