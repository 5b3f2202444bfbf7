"""Quantiles, rates and means, each with an interval that keeps its promise.

The unit is the prompt: repetitions of a prompt are not independent, and every interval here
counts prompts, not requests. That is exact where repetitions agree, and wide where they differ.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy import stats

__all__ = [
    "CONFIDENCE",
    "Estimate",
    "Quantile",
    "bootstrap_ratio",
    "bootstrap_ratio_of_ratios",
    "mean_over_prompts",
    "quantile",
    "smallest_n",
    "wilson",
]

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Quantile:
    """An order statistic and its interval.

    Attributes:
        value: ``None`` where it is censored: that many requests never answered.
        low, high: The interval; both ``None`` where n is too small for one, ``high`` alone where
            it has no upper end, since it reaches into the censored.
        censored_above: Where ``value`` is ``None``: it is above this.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    censored_above: float | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval; ``None`` ends where there is no interval."""

    value: float
    low: float | None = None
    high: float | None = None


def quantile(
    values: Sequence[float] | Floats,
    p: float,
    *,
    prompts: int | None = None,
    limit: float | None = None,
) -> Quantile:
    """The p-quantile of ``values``, where infinity stands for what never came.

    The value is the order statistic of rank ``ceil(n p)``. The interval is that of
    ``scipy.stats.quantile_test``: order statistics whose ranks bracket the quantile with 95 %
    confidence by the binomial distribution, for as many independent values as there are prompts.

    Args:
        values: In any order; at least one.
        p: In (0, 1).
        prompts: How many independent values there are; ``None``: all of them.
        limit: Where a request that never answered was given up.
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    n = len(ordered)
    units = n if prompts is None else min(prompts, n)
    rank = min(n, max(1, math.ceil(round(n * p, 9))))
    value = float(ordered[rank - 1])
    low = high = None
    if (ranks := _ranks(units, p)) is not None:
        # Rank l of the units is rank (l - 1) n / units + 1 ... l n / units of the values.
        low = float(ordered[math.floor((ranks[0] - 1) * n / units)])
        high = float(ordered[min(n, math.ceil(ranks[1] * n / units)) - 1])
    return Quantile(
        value=value if math.isfinite(value) else None,
        low=low if low is not None and math.isfinite(low) else None,
        high=high if high is not None and math.isfinite(high) else None,
        censored_above=None if math.isfinite(value) else limit,
    )


@lru_cache(maxsize=4096)
def _ranks(n: int, p: float) -> tuple[int, int] | None:
    """Ranks (from 1) of the two-sided 95 % interval; ``None`` where n is too small for one."""
    if n < 2:
        return None
    found = stats.quantile_test(np.arange(1, n + 1), p=p).confidence_interval(CONFIDENCE)
    if math.isnan(found.low) or math.isnan(found.high):
        return None
    return int(found.low), int(found.high)


@lru_cache(maxsize=64)
def smallest_n(p: float) -> int:
    """The fewest independent values with a two-sided 95 % interval for the p-quantile.

    >>> smallest_n(0.5), smallest_n(0.95)
    (6, 72)
    """
    n = 2
    while _ranks(n, p) is None:
        n += 1
    return n


def wilson(successes: int, n: int) -> Estimate:
    """A rate with Wilson's score interval (Wilson 1927); ``n`` at least 1."""
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Estimate(rate, low, high)


def mean_over_prompts(scores: Sequence[float]) -> Estimate:
    """The mean of scores in [0, 1], one a prompt, with a BCa interval (Efron 1987).

    Where all scores are equal BCa has no answer, and Wilson's interval stands in.
    """
    values = np.round(np.asarray(scores, dtype=np.float64), 9)
    mean = float(values.mean())
    if len(values) < 2:
        return Estimate(mean)
    if np.all(values == values[0]):
        return Estimate(mean, *_wilson_of_mean(mean, len(values)))
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, 4_000_000 // len(values)),
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(mean, max(0.0, float(found.low)), min(1.0, float(found.high)))


def _wilson_of_mean(mean: float, n: int) -> tuple[float | None, float | None]:
    bounds = wilson(round(mean * n), n)
    return (
        min(mean, bounds.low if bounds.low is not None else mean),
        max(mean, bounds.high if bounds.high is not None else mean),
    )


def bootstrap_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate | None:
    """Sum over sum, both given per prompt, with a percentile bootstrap over prompts.

    ``None`` where the denominators add up to nothing. A resample without denominator counts as
    infinite; where more than 2.5 % are, there is no upper end.
    """
    return _bootstrap_sums((numerators, denominators), _ratio)


def bootstrap_ratio_of_ratios(
    a_top: Sequence[float],
    a_bottom: Sequence[float],
    b_top: Sequence[float],
    b_bottom: Sequence[float],
) -> Estimate | None:
    """``(sum b_top / sum b_bottom) / (sum a_top / sum a_bottom)``, as :func:`bootstrap_ratio`."""

    def ratio(sums: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            return _ratio(sums[2:]) / _ratio(sums[:2])

    return _bootstrap_sums((a_top, a_bottom, b_top, b_bottom), ratio)


def _ratio(sums: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(sums[1] > 0, sums[0] / sums[1], np.inf)


def _bootstrap_sums(
    columns: Sequence[Sequence[float]], of: Callable[[Floats], Floats]
) -> Estimate | None:
    """A function of sums over prompts (first axis: columns), with a percentile bootstrap."""
    table = np.asarray(columns, dtype=np.float64)
    n = table.shape[1]
    value = float(of(table.sum(axis=1, keepdims=True))[0]) if n else math.nan
    if not math.isfinite(value):
        return None
    if n < 2:
        return Estimate(value)
    rng = np.random.default_rng(0)
    resampled = np.empty(RESAMPLES)
    block = max(1, 2_000_000 // n)
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        chosen = rng.integers(0, n, size=(size, n))
        sums = np.stack([column[chosen].sum(axis=1) for column in table])
        resampled[start : start + size] = of(sums)
    resampled = np.sort(np.nan_to_num(resampled, nan=np.inf, posinf=np.inf))
    tail = (1 - CONFIDENCE) / 2
    low = float(resampled[math.floor(tail * RESAMPLES)])
    high = float(resampled[math.ceil((1 - tail) * RESAMPLES) - 1])
    return Estimate(
        value, low if math.isfinite(low) else None, high if math.isfinite(high) else None
    )
