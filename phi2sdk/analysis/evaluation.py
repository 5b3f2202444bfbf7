"""The score of a target on a benchmark task, and the comparison of two targets item by item.

An item has a value for each target, or ``None`` if its call failed. A target must not gain by
failing on difficult items, so a failed item counts with every value that it could have had: the
interval of a score extends from the score with all failed items wrong to the one with all of them
right, and a difference is significant only if it is with all values of the failed items.

Items that are right or wrong (0 or 1) have Wilson's interval (1927), and are compared by McNemar's
exact test (1947) with Tango's score interval of the paired difference (1998), which
:func:`paired_difference` explains. Other items have a BCa interval over the items (Efron 1987), and
are compared by a permutation test: under the hypothesis, the sign of each difference is random.

The score of some groups of tasks is the mean of the scores of its parts, whatever their size. Its
interval is combined from those of the parts by the method of variance estimates recovery (Zou and
Donner 2008), and targets are compared by the permutation test.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal, TypeVar

import numpy as np
from scipy import optimize, stats

from phi2sdk.analysis.paired import ALPHA, holm
from phi2sdk.analysis.statistics import (
    CONFIDENCE,
    FEWEST_PROMPTS,
    Estimate,
    mean_over_prompts,
    wilson,
)

Values = Sequence[float | None]
Verdict = Literal["better", "worse", "not shown"]
Name = TypeVar("Name", bound=Hashable)
RESAMPLES = 9999
_LARGEST = 2_000_000
"""Numbers that a permutation test holds at once."""


@dataclass(frozen=True, slots=True)
class PairedScores:
    """The comparison of target B with target A on one task.

    Attributes:
        items: Number of items that both answered.
        failed: Number of items on which at least one of them failed.
        difference: Score of B minus score of A over these items; the interval allows for every
            value of the failed items.
        only_a, only_b: Number of items that only A, or only B, got right; ``None`` if items are
            not just right or wrong.
        p: The p-value of the hypothesis that neither is better.
        p_adjusted: ``p`` after Holm's adjustment over all comparisons of the run.
        verdict: The verdict on B.
    """

    items: int
    failed: int
    difference: Estimate
    only_a: int | None
    only_b: int | None
    p: float
    p_adjusted: float | None = None
    verdict: Verdict = "not shown"


def score(parts: Sequence[Values], *, bounded: bool = True) -> Estimate | None:
    """Return the mean over the items that did not fail; ``None`` if all of them failed.

    Args:
        parts: The value of each item, ``None`` if it failed. The score is the mean of the parts;
            most tasks have one.
        bounded: Whether values are between 0 and 1. Without bounds, a score with failed items has
            no interval.
    """
    found = [one for part in parts if (one := _score_of(part, bounded=bounded)) is not None]
    if not found:
        return None
    average = _average(found)
    return average if len(found) == len(parts) else Estimate(average.value)


def compare_scores(
    a: Sequence[Values], b: Sequence[Values], *, bounded: bool = True
) -> PairedScores | None:
    """Compare B with A, before the adjustment for other comparisons.

    Args:
        a: The parts of A as for :func:`score`.
        b: The parts of B, with the same items in the same order.
        bounded: Whether values are between 0 and 1. Without bounds, failed items are left out.

    Returns:
        The comparison; ``None`` if a part has no item that both answered.
    """
    both = [
        [(x, y) for x, y in zip(left, right, strict=True) if x is not None and y is not None]
        for left, right in zip(a, b, strict=True)
    ]
    if not all(both):
        return None
    found = _compared(both, failed=sum(map(len, a)) - sum(map(len, both)), bounded=bounded)
    if not found.failed or not bounded:
        return found
    low, high = (
        _compared(
            [
                list(zip(_filled(left, 1.0 - by), _filled(right, by), strict=True))
                for left, right in zip(a, b, strict=True)
            ],
            bounded=True,
        )
        for by in (0.0, 1.0)
    )
    undecided = low.difference.value <= 0 <= high.difference.value
    return replace(
        found,
        difference=Estimate(found.difference.value, low.difference.low, high.difference.high),
        p=1.0 if undecided else max(low.p, high.p),
    )


def judge_scores(
    found: Mapping[Name, PairedScores], *, lower_is_better: Mapping[Name, bool]
) -> dict[Name, PairedScores]:
    """Return all comparisons of a run with adjusted p-values (Holm 1979) and their verdicts.

    The family of the adjustment is the run: if no two targets differ, the probability that any
    comparison of the run finds a difference is at most 5%.

    Args:
        found: The comparisons by any name.
        lower_is_better: Whether lower scores are better, by the same names.
    """
    adjusted = holm([pair.p for pair in found.values()])
    judged = {}
    for (name, pair), p in zip(found.items(), adjusted, strict=True):
        verdict: Verdict = "not shown"
        if p <= ALPHA:
            up = pair.difference.value > 0
            verdict = "better" if up != lower_is_better[name] else "worse"
        judged[name] = replace(pair, p_adjusted=p, verdict=verdict)
    return judged


def paired_difference(only_a: int, only_b: int, n: int) -> Estimate:
    """Return the difference of two rates over the same items, with Tango's score interval.

    The interval has the differences that the score test does not reject (Tango 1998, Statistics in
    Medicine 17, 891-908). It needs no continuity correction, and has the right coverage also if
    two targets differ in few items, as two precisions of one model do.

    Args:
        only_a: Number of items that only A got right.
        only_b: Number of items that only B got right.
        n: Number of items.
    """
    difference = (only_b - only_a) / n
    if n < FEWEST_PROMPTS:
        return Estimate(difference)
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)

    def statistic(delta: float) -> float:
        linear = (2 * n - only_b + only_a) * delta - only_a - only_b
        constant = -only_a * delta * (1 - delta)
        rate = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
        variance = n * (2 * rate + delta * (1 - delta))
        distance = only_b - only_a - n * delta
        return distance / math.sqrt(max(variance, 1e-30))

    def end(side: float, limit: float) -> float:
        if difference == limit:
            return limit
        # The statistic decreases from one limit to the other.
        return float(optimize.brentq(lambda delta: statistic(delta) - side * z, difference, limit))

    return Estimate(difference, end(1.0, -1.0), end(-1.0, 1.0))


def _score_of(values: Values, *, bounded: bool) -> Estimate | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    if len(known) == len(values):
        return _mean(known, bounded=bounded)
    value = math.fsum(known) / len(known)
    if not bounded:
        return Estimate(value)
    low, high = (_mean(_filled(values, by), bounded=True) for by in (0.0, 1.0))
    return Estimate(value, low.low, high.high)


def _average(parts: Sequence[Estimate]) -> Estimate:
    """Return the mean of independent estimates, with an interval if all of them have one."""
    if len(parts) == 1:
        return parts[0]
    value = math.fsum(one.value for one in parts) / len(parts)
    below = [one.value - one.low for one in parts if one.low is not None]
    above = [one.high - one.value for one in parts if one.high is not None]
    if len(below) < len(parts) or len(above) < len(parts):
        return Estimate(value)
    return Estimate(
        value, value - math.hypot(*below) / len(parts), value + math.hypot(*above) / len(parts)
    )


_Pairs = Sequence[tuple[float, float]]


def _compared(parts: Sequence[_Pairs], *, failed: int = 0, bounded: bool) -> PairedScores:
    pairs = [pair for part in parts for pair in part]
    only_a = only_b = None
    if binary := {value for pair in pairs for value in pair} <= {0.0, 1.0}:
        only_a, only_b = sum(x > y for x, y in pairs), sum(x < y for x, y in pairs)
    difference = _average([_difference(part, binary=binary, bounded=bounded) for part in parts])
    if only_a is None or only_b is None or len(parts) > 1:
        p = _random_signs([(y - x) / len(part) for part in parts for x, y in part])
    else:
        differ = only_a + only_b
        p = float(stats.binomtest(only_b, differ).pvalue) if differ else 1.0
    return PairedScores(len(pairs), failed, difference, only_a, only_b, p)


def _difference(pairs: _Pairs, *, binary: bool, bounded: bool) -> Estimate:
    if binary:
        only_a, only_b = sum(x > y for x, y in pairs), sum(x < y for x, y in pairs)
        return paired_difference(only_a, only_b, len(pairs))
    return _mean([y - x for x, y in pairs], bounded=bounded, low=-1.0)


def _random_signs(differences: Sequence[float]) -> float:
    """Return the two-sided p-value of the permutation test of differences with a mean of 0.

    All patterns of signs are tried if there are few, and :data:`RESAMPLES` random ones otherwise;
    the observed pattern counts as one of these (Phipson and Smyth 2010).
    """
    moved = np.asarray([value for value in differences if abs(value) > 1e-12])
    n = len(moved)
    least = abs(moved.sum()) * (1 - 1e-9)  # sums that only rounding distinguishes are equal
    if 2**n <= RESAMPLES:
        every = np.arange(2**n)[:, None] >> np.arange(n) & 1
        return float(np.mean(np.abs(moved.sum() - 2 * every @ moved) >= least))
    rng = np.random.default_rng(0)
    block = max(1, _LARGEST // n)
    as_large = 1
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        random = np.frombuffer(rng.bytes(size * -(-n // 8)), np.uint8).reshape(size, -1)
        negative = np.unpackbits(random, axis=1, count=n).astype(np.float64)
        as_large += int(np.sum(np.abs(moved.sum() - 2 * negative @ moved) >= least))
    return as_large / (RESAMPLES + 1)


def _mean(values: Sequence[float], *, bounded: bool, low: float = 0.0) -> Estimate:
    if bounded and low == 0.0 and set(values) <= {0.0, 1.0}:
        return wilson(round(math.fsum(values)), len(values))
    if bounded:
        return mean_over_prompts(values, low=low, high=1.0)
    return mean_over_prompts(values, low=-math.inf, high=math.inf)


def _filled(values: Values, by: float) -> list[float]:
    return [by if value is None else value for value in values]
