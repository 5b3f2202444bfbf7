"""Quantiles, rates and means, each with a 95% interval over the prompts.

The unit of every interval is the prompt, not the request, because repetitions of a prompt are not
independent. The interval is exact where repetitions agree, and wide where they differ. No interval
is computed from fewer than :data:`FEWEST_PROMPTS` prompts.
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
    "FEWEST_PROMPTS",
    "Estimate",
    "Quantile",
    "bootstrap_ratio",
    "bootstrap_ratio_of_ratios",
    "finite",
    "mean_over_prompts",
    "quantile",
    "smallest_n",
    "wilson",
]

Floats = NDArray[np.float64]
CONFIDENCE = 0.95
RESAMPLES = 2000
FEWEST_PROMPTS = 6
"""The fewest prompts for which any interval is given: :func:`smallest_n` of a median."""


@dataclass(frozen=True, slots=True)
class Quantile:
    """An order statistic and its interval.

    Attributes:
        value: ``None`` if the quantile is censored, because too many requests were not answered.
        low, high: The interval; both are ``None`` if n is too small for one. ``high`` alone is
            ``None`` if the interval has no upper end, because it includes censored values.
        censored_above: The value is above this limit, if ``value`` is ``None``.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    censored_above: float | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its interval; both ends are ``None`` if there is no interval."""

    value: float
    low: float | None = None
    high: float | None = None


def finite(value: float | None) -> float | None:
    """Return a number as a float; ``None`` if it is infinite, not a number, or ``None``."""
    return None if value is None or not math.isfinite(value) else float(value)


def quantile(
    values: Sequence[float] | Floats,
    p: float,
    *,
    prompts: int | None = None,
    limit: float | None = None,
) -> Quantile:
    """Return the p-quantile of ``values``; a request that was not answered is infinite.

    The value is the order statistic of rank ``ceil(n p)``. The interval is that of
    ``scipy.stats.quantile_test``: order statistics whose ranks bracket the quantile with 95%
    confidence by the binomial distribution, for as many independent values as there are prompts.

    Args:
        values: The values in any order; at least one.
        p: The probability, in (0, 1).
        prompts: The number of independent values; ``None``: all values are independent.
        limit: The time limit in seconds, after which a request counts as not answered.
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
        value=finite(value),
        low=finite(low),
        high=finite(high),
        censored_above=None if math.isfinite(value) else limit,
    )


@lru_cache(maxsize=4096)
def _ranks(n: int, p: float) -> tuple[int, int] | None:
    """Return the ranks (from 1) of the 95% interval; ``None`` if n is too small for one."""
    if n < FEWEST_PROMPTS:
        return None
    found = stats.quantile_test(np.arange(1, n + 1), p=p).confidence_interval(CONFIDENCE)
    if math.isnan(found.low) or math.isnan(found.high):
        return None
    return int(found.low), int(found.high)


@lru_cache(maxsize=64)
def smallest_n(p: float) -> int:
    """Return the fewest independent values that give the p-quantile a 95% interval.

    >>> smallest_n(0.5), smallest_n(0.95)
    (6, 72)
    """
    n = FEWEST_PROMPTS
    while _ranks(n, p) is None:
        n += 1
    return n


def wilson(successes: int, n: int) -> Estimate:
    """Return a rate over ``n`` prompts with Wilson's score interval (Wilson 1927)."""
    if n < FEWEST_PROMPTS:
        return Estimate(successes / n)
    z = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2)
    rate = successes / n
    centre = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Estimate(rate, low, high)


def mean_over_prompts(scores: Sequence[float], *, low: float = 0.0, high: float = 1.0) -> Estimate:
    """Return the mean of scores, one per prompt, with a BCa interval (Efron 1987).

    BCa is not defined if all scores are equal; Wilson's interval is used instead. Scores without
    bounds have no interval then.

    Args:
        scores: The scores, from ``low`` to ``high``.
        low: The lowest possible score.
        high: The highest possible score.
    """
    values = np.round(np.asarray(scores, dtype=np.float64), 9)
    mean = float(values.mean())
    if len(values) < FEWEST_PROMPTS:
        return Estimate(mean)
    if np.all(values == values[0]):
        if not math.isfinite(high - low):
            return Estimate(mean)
        return _wilson_of_mean(mean, len(values), low, high)
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, 4_000_000 // len(values)),
        confidence_level=CONFIDENCE,
        method="BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Estimate(mean, max(low, float(found.low)), min(high, float(found.high)))


def _wilson_of_mean(mean: float, n: int, low: float, high: float) -> Estimate:
    """Return an interval of scores that are all equal."""
    bounds = wilson(round((mean - low) / (high - low) * n), n)
    ends = [low + (high - low) * (end or 0.0) for end in (bounds.low, bounds.high)]
    return Estimate(mean, min(mean, ends[0]), max(mean, ends[1]))


def bootstrap_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate | None:
    """Return a ratio of two sums over prompts, with a percentile bootstrap over prompts.

    Returns ``None`` if the denominators add up to zero. A resample whose denominator is zero
    counts as infinite; if more than 2.5% of them do, the interval has no upper end.
    """
    return _bootstrap_sums((numerators, denominators), _ratio)


def bootstrap_ratio_of_ratios(
    a_top: Sequence[float],
    a_bottom: Sequence[float],
    b_top: Sequence[float],
    b_bottom: Sequence[float],
) -> Estimate | None:
    """Return the ratio of b to a, each a ratio of sums, as :func:`bootstrap_ratio` does."""

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
    """Return a function of sums over prompts (axis 0: columns), with a percentile bootstrap."""
    table = np.asarray(columns, dtype=np.float64)
    n = table.shape[1]
    value = float(of(table.sum(axis=1, keepdims=True))[0]) if n else math.nan
    if not math.isfinite(value):
        return None
    if n < FEWEST_PROMPTS:
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
    low = resampled[math.floor(tail * RESAMPLES)]
    high = resampled[math.ceil((1 - tail) * RESAMPLES) - 1]
    return Estimate(value, finite(low), finite(high))
