"""Find the volume from which one option is cheaper than another.

An option is a target's price with its measured US dollars for tokens and calls, and machine
seconds, per acceptable summary. Both options are measured on the same prompts. The interval comes
from resampling these prompts (an expanded percentile bootstrap).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from phi2sdk.analysis.cost import DAY, Spend, usd_per_day
from phi2sdk.analysis.statistics import CONFIDENCE, FEWEST_PROMPTS, Estimate, finite
from phi2sdk.pricing.price import Price

Floats = NDArray[np.float64]
LOWEST, HIGHEST = 1.0, 1e8
"""Minimum and maximum of the volumes per day that are searched for a break-even."""

RESAMPLES = 1000
_GRID = np.geomspace(LOWEST, HIGHEST, 8 * 20 + 1)
_STEPS = np.arange(1.0, 5.0)


@dataclass(frozen=True, slots=True)
class Option:
    """A target whose cost is compared.

    Attributes:
        name: The name of the target.
        price: The price of the target.
        spend: The measured spend, with at least one acceptable answer.
    """

    name: str
    price: Price
    spend: Spend

    def per_summary(self, weights: Floats, prompts: Sequence[str]) -> tuple[Floats, Floats]:
        """Return US dollars for tokens and calls, and machine seconds, per acceptable summary.

        Args:
            weights: Number of times that each prompt counts, one row per resample.
            prompts: The prompts of the columns.

        The values are infinite if a resample has no acceptable answer.
        """
        at = self.spend.at(prompts)
        good = weights @ self.spend.good[at]
        token_usd = self.spend.token_usd
        usd = np.zeros(len(good)) if token_usd is None else weights @ token_usd[at]
        seconds = weights @ self.spend.seconds[at]
        with np.errstate(divide="ignore", invalid="ignore"):
            return (
                np.where(good > 0, usd / good, np.inf),
                np.where(good > 0, seconds / good, np.inf),
            )


@dataclass(frozen=True, slots=True)
class BreakEven:
    """The comparison of the costs of two options over volume.

    Attributes:
        below: The cheaper option at low volumes; ``None`` if they cost the same at all volumes.
        above: The cheaper option from ``volume``; equal to ``below`` if there is no break-even.
        volume: The first break-even in summaries per day; ``None`` if there is none. Its interval
            has no upper end if the data are consistent with no break-even.
        changes: Every ``(volume, option that is cheaper from there)``; more than one if another
            machine adds a step.
        agreement: The share of resamples with the same cheaper option at the low end and at the
            high end.
    """

    below: str | None
    above: str | None
    volume: Estimate | None
    changes: tuple[tuple[float, str], ...]
    agreement: float


def break_even(a: Option, b: Option) -> BreakEven | None:
    """Return the break-even of ``a`` and ``b``; ``None`` if they have no common prompt."""
    asked = set(b.spend.prompts)
    both = [prompt for prompt in a.spend.prompts if prompt in asked]
    if not both:
        return None
    n = len(both)
    whole = _Duel.of(a, b, [np.ones((1, n))], both)
    volumes, signs = whole.scan()
    below, changes = whole.changes(volumes[0], signs[0])
    above = changes[-1][1] if changes else below

    drawn = _Duel.of(a, b, _resampled(n), both)
    volumes, signs = drawn.scan()
    low_end, high_end = _ends(signs)
    meant = {a.name: -1.0, b.name: 1.0, None: 0.0}
    agree = (low_end == meant[below]) & (high_end == meant[above])
    volume = None
    if changes:
        # In a resample that begins with the other option, that one is cheaper from the start.
        first = np.where(low_end == meant[below], drawn.first_change(volumes, signs), 0.0)
        volume = _interval(changes[0][0], first, n)
    return BreakEven(below, above, volume, changes, float(agree.mean()))


def cost_at(option: Option, volume: float) -> Estimate | None:
    """Return US dollars per acceptable summary at a volume per day, including idle time."""
    return over_prompts(len(option.spend.prompts), lambda w: cost_per_summary_at(option, volume, w))


def over_prompts(n: int, of: Callable[[Floats], Floats]) -> Estimate | None:
    """Return a statistic of ``n`` prompts with its percentile bootstrap interval.

    Args:
        n: Number of prompts.
        of: Computes the statistic of each row of weights, one row per resample.

    The result is ``None`` if the statistic of all prompts is not finite.
    """
    value = float(of(np.ones((1, n)))[0])
    if not np.isfinite(value):
        return None
    return _interval(value, np.concatenate([of(weights) for weights in _resampled(n)]), n)


def cost_curve(option: Option, volumes: Sequence[float]) -> list[float]:
    """Return US dollars per acceptable summary at each of several volumes per day."""
    usd, seconds = option.per_summary(np.ones((1, len(option.spend.prompts))), option.spend.prompts)
    at = np.asarray(volumes, dtype=np.float64)
    return [float(cost) for cost in usd_per_day(option.price, at, usd, seconds) / at]


def cost_per_summary_at(option: Option, volume: float, weights: Floats) -> Floats:
    """Return US dollars per acceptable summary at a volume, one for each row of weights."""
    usd, seconds = option.per_summary(weights, option.spend.prompts)
    return usd_per_day(option.price, np.full(len(usd), volume), usd, seconds) / volume


@lru_cache(maxsize=2)
def _drawn(n: int) -> NDArray[np.int32]:
    """Return the number of times that each of ``n`` prompts is drawn, one row per resample."""
    rng = np.random.default_rng(0)
    return rng.multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(np.int32)


def _resampled(n: int) -> Iterator[Floats]:
    """Yield the resamples as weights in blocks of rows, to limit the memory."""
    counts = _drawn(n)
    rows = max(1, 1_000_000 // n)
    for start in range(0, RESAMPLES, rows):
        yield counts[start : start + rows].astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Duel:
    """Two options, with their cost and time per summary in each resample.

    A sign gives the cheaper option: -1 for the first, 1 for the second, 0 for neither.
    """

    a: Option
    b: Option
    usd: tuple[Floats, Floats]
    seconds: tuple[Floats, Floats]

    @classmethod
    def of(cls, a: Option, b: Option, weights: Iterable[Floats], prompts: Sequence[str]) -> _Duel:
        """Yield resamples of ``prompts`` in blocks of rows, with one row of weights each."""
        found = [(*a.per_summary(w, prompts), *b.per_summary(w, prompts)) for w in weights]
        usd_a, seconds_a, usd_b, seconds_b = (np.concatenate(c) for c in zip(*found, strict=True))
        return cls(a, b, (usd_a, usd_b), (seconds_a, seconds_b))

    def sign(self, volumes: Floats) -> Floats:
        """Return the signs at these volumes, one row per resample."""
        cost_a, cost_b = (
            usd_per_day(option.price, volumes, usd[:, None], seconds[:, None])
            for option, usd, seconds in zip((self.a, self.b), self.usd, self.seconds, strict=True)
        )
        with np.errstate(invalid="ignore"):
            difference = cost_a - cost_b
            tie = np.abs(difference) <= 1e-12 * np.minimum(cost_a, cost_b)
        return np.where(tie | np.isnan(difference), 0.0, np.sign(difference))

    def scan(self) -> tuple[Floats, Floats]:
        """Return volumes in ascending order, and the signs at them, one row per resample."""
        rows = len(self.usd[0])
        columns = [np.broadcast_to(_GRID, (rows, len(_GRID)))]
        for option, seconds in zip((self.a, self.b), self.seconds, strict=True):
            if option.price.by_time and np.all(seconds > 0):
                # Another machine is needed above these volumes, a step that a grid could miss.
                full = _STEPS * (DAY / seconds)[:, None]
                columns += [full * (1 - 1e-9), full * (1 + 1e-9)]
        volumes = np.sort(np.clip(np.concatenate(columns, axis=1), LOWEST, HIGHEST), axis=1)
        return volumes, self.sign(volumes)

    def changes(
        self, volumes: Floats, signs: Floats
    ) -> tuple[str | None, tuple[tuple[float, str], ...]]:
        """Return the sign at the low end and every later change, for a single row."""
        names = {-1.0: self.a.name, 1.0: self.b.name}
        below: str | None = None
        now, held = 0.0, 0
        changes = []
        for place, sign in enumerate(signs):
            if sign == 0:
                continue
            if now == 0:
                below = names[sign]
            elif sign != now:
                between = volumes[held : held + 1], volumes[place : place + 1]
                at = self._bisect(*between, np.asarray([now]))
                changes.append((float(at[0]), names[sign]))
            now, held = sign, place
        return below, tuple(changes)

    def first_change(self, volumes: Floats, signs: Floats) -> Floats:
        """Return the first change of each row; infinite if there is none."""
        rows, columns = np.arange(len(signs)), np.arange(signs.shape[1])
        first, _ = _ends(signs)
        other = (signs == -first[:, None]) & (first[:, None] != 0)
        place = np.argmax(other, axis=1)
        # The last volume before it at which the option from the low end was still cheaper.
        held = (signs == first[:, None]) & (columns < place[:, None])
        last = np.max(np.where(held, columns, 0), axis=1)
        at = self._bisect(volumes[rows, last], volumes[rows, place], first)
        return np.where(other.any(axis=1), at, np.inf)

    def _bisect(self, low: Floats, high: Floats, before: Floats) -> Floats:
        """Return the volume at which the sign ceases to be ``before``, for each row."""
        for _ in range(45):
            middle = np.sqrt(low * high)
            same = self.sign(middle[:, None])[:, 0] == before
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        return np.asarray(np.sqrt(low * high))


def _ends(signs: Floats) -> tuple[Floats, Floats]:
    """Return the first and the last nonzero sign of each row; 0 if all are 0."""
    rows, there = np.arange(len(signs)), signs != 0
    last = signs.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
    return signs[rows, np.argmax(there, axis=1)], signs[rows, last]


def _interval(value: float, resampled: Floats, n: int) -> Estimate:
    """Return percentiles of the resamples, slightly beyond 2.5%.

    The percentile bootstrap is too narrow for small n, because it uses the spread of the sample and
    a normal quantile instead of Student's. The expanded percentile interval corrects both
    (Hesterberg 2015, The American Statistician 69).
    """
    if n < FEWEST_PROMPTS:
        return Estimate(value)
    student = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1))
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * student)
    ordered = np.sort(resampled)
    low = ordered[math.floor(tail * len(ordered))]
    high = ordered[math.ceil((1 - tail) * len(ordered)) - 1]
    return Estimate(value, finite(low), finite(high))
