"""From which volume on is one option cheaper than another?

An option is a target's price with what was measured of it: US dollars for tokens and calls, and
machine seconds, per acceptable summary. Both come from the same prompts for both options, and the
interval from resampling those prompts (an expanded percentile bootstrap).
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
from phi2sdk.analysis.statistics import CONFIDENCE, FEWEST_PROMPTS, Estimate
from phi2sdk.pricing.price import Price

__all__ = [
    "HIGHEST",
    "BreakEven",
    "Option",
    "break_even",
    "cost_at",
    "cost_curve",
    "cost_per_summary_at",
    "over_prompts",
]

Floats = NDArray[np.float64]
LOWEST, HIGHEST = 1.0, 1e8
"""Volumes a day between which a break-even is sought."""

RESAMPLES = 1000
_GRID = np.geomspace(LOWEST, HIGHEST, 8 * 20 + 1)
_STEPS = np.arange(1.0, 5.0)


@dataclass(frozen=True, slots=True)
class Option:
    """A target as something to choose.

    Attributes:
        name: The target's name.
        price: What it costs.
        spend: What was measured, at least one acceptable answer in it.
    """

    name: str
    price: Price
    spend: Spend

    def per_summary(self, weights: Floats, prompts: Sequence[str]) -> tuple[Floats, Floats]:
        """``(USD for tokens and calls, machine seconds)`` per acceptable summary.

        Args:
            weights: How often each prompt counts, one row a resample.
            prompts: The prompts of the columns.

        Infinite where a resample has no acceptable answer.
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
    """How two options compare over volume.

    Attributes:
        below: Who is cheaper at low volumes; ``None``: they cost the same at all of them.
        above: Who is from ``volume`` on; the same as ``below`` where nothing ever changes.
        volume: Summaries a day at which it changes first; ``None``: it does not. Its interval
            has no upper end where the data allow that it never does.
        changes: Every ``(volume, who is cheaper from there on)``; more than one where a further
            machine makes a step.
        agreement: The share of resamples in which the same one is cheaper at the low end, and
            the same one at the high end.
    """

    below: str | None
    above: str | None
    volume: Estimate | None
    changes: tuple[tuple[float, str], ...]
    agreement: float


def break_even(a: Option, b: Option) -> BreakEven | None:
    """Where ``a`` and ``b`` change places; ``None`` where no prompt was asked of both."""
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
        # A resample that begins with the other one has it cheaper from the start.
        first = np.where(low_end == meant[below], drawn.first_change(volumes, signs), 0.0)
        volume = _interval(changes[0][0], first, n)
    return BreakEven(below, above, volume, changes, float(agree.mean()))


def cost_at(option: Option, volume: float) -> Estimate | None:
    """US dollars per acceptable summary at so many a day, idle time included."""
    return over_prompts(len(option.spend.prompts), lambda w: cost_per_summary_at(option, volume, w))


def over_prompts(n: int, of: Callable[[Floats], Floats]) -> Estimate | None:
    """A function of how often each of ``n`` prompts counts, with its percentile bootstrap.

    Args:
        n: How many prompts there are.
        of: Takes one row of weights for each resample and gives one number for each.

    ``None`` where it is not finite for all prompts once.
    """
    value = float(of(np.ones((1, n)))[0])
    if not np.isfinite(value):
        return None
    return _interval(value, np.concatenate([of(weights) for weights in _resampled(n)]), n)


def cost_curve(option: Option, volumes: Sequence[float]) -> list[float]:
    """US dollars per acceptable summary at each of some volumes a day."""
    usd, seconds = option.per_summary(np.ones((1, len(option.spend.prompts))), option.spend.prompts)
    at = np.asarray(volumes, dtype=np.float64)
    return [float(cost) for cost in usd_per_day(option.price, at, usd, seconds) / at]


def cost_per_summary_at(option: Option, volume: float, weights: Floats) -> Floats:
    """US dollars per acceptable summary at a volume, one for each row of weights."""
    usd, seconds = option.per_summary(weights, option.spend.prompts)
    return usd_per_day(option.price, np.full(len(usd), volume), usd, seconds) / volume


@lru_cache(maxsize=2)
def _drawn(n: int) -> NDArray[np.int32]:
    """How often each of ``n`` prompts is drawn, one row a resample."""
    rng = np.random.default_rng(0)
    return rng.multinomial(n, np.full(n, 1 / n), RESAMPLES).astype(np.int32)


def _resampled(n: int) -> Iterator[Floats]:
    """The same as weights, some rows at a time: all together they may take much room."""
    counts = _drawn(n)
    rows = max(1, 1_000_000 // n)
    for start in range(0, RESAMPLES, rows):
        yield counts[start : start + rows].astype(np.float64)


@dataclass(frozen=True, slots=True)
class _Duel:
    """Two options, and what a summary of theirs takes in each resample.

    A sign says who is cheaper: -1 the first, 1 the second, 0 neither.
    """

    a: Option
    b: Option
    usd: tuple[Floats, Floats]
    seconds: tuple[Floats, Floats]

    @classmethod
    def of(cls, a: Option, b: Option, weights: Iterable[Floats], prompts: Sequence[str]) -> _Duel:
        """Resamples of ``prompts``, one row of weights each, some rows at a time."""
        found = [(*a.per_summary(w, prompts), *b.per_summary(w, prompts)) for w in weights]
        usd_a, seconds_a, usd_b, seconds_b = (np.concatenate(c) for c in zip(*found, strict=True))
        return cls(a, b, (usd_a, usd_b), (seconds_a, seconds_b))

    def sign(self, volumes: Floats) -> Floats:
        """Who is cheaper at these volumes, one row of them for each resample."""
        cost_a, cost_b = (
            usd_per_day(option.price, volumes, usd[:, None], seconds[:, None])
            for option, usd, seconds in zip((self.a, self.b), self.usd, self.seconds, strict=True)
        )
        with np.errstate(invalid="ignore"):
            difference = cost_a - cost_b
            tie = np.abs(difference) <= 1e-12 * np.minimum(cost_a, cost_b)
        return np.where(tie | np.isnan(difference), 0.0, np.sign(difference))

    def scan(self) -> tuple[Floats, Floats]:
        """Volumes in rising order, and the signs at them, one row a resample."""
        rows = len(self.usd[0])
        columns = [np.broadcast_to(_GRID, (rows, len(_GRID)))]
        for option, seconds in zip((self.a, self.b), self.seconds, strict=True):
            if option.price.by_time and np.all(seconds > 0):
                # One more machine is needed above these: a step that a grid could miss.
                full = _STEPS * (DAY / seconds)[:, None]
                columns += [full * (1 - 1e-9), full * (1 + 1e-9)]
        volumes = np.sort(np.clip(np.concatenate(columns, axis=1), LOWEST, HIGHEST), axis=1)
        return volumes, self.sign(volumes)

    def changes(
        self, volumes: Floats, signs: Floats
    ) -> tuple[str | None, tuple[tuple[float, str], ...]]:
        """Who is cheaper at the low end, and every change after it; for a single row."""
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
        """The first change of each row; infinite where there is none."""
        rows, columns = np.arange(len(signs)), np.arange(signs.shape[1])
        first, _ = _ends(signs)
        other = (signs == -first[:, None]) & (first[:, None] != 0)
        place = np.argmax(other, axis=1)
        # The last place before it at which the one from the low end was still cheaper.
        held = (signs == first[:, None]) & (columns < place[:, None])
        last = np.max(np.where(held, columns, 0), axis=1)
        at = self._bisect(volumes[rows, last], volumes[rows, place], first)
        return np.where(other.any(axis=1), at, np.inf)

    def _bisect(self, low: Floats, high: Floats, before: Floats) -> Floats:
        """Where the sign stops to be ``before``, between ``low`` and ``high``, row by row."""
        for _ in range(45):
            middle = np.sqrt(low * high)
            same = self.sign(middle[:, None])[:, 0] == before
            low, high = np.where(same, middle, low), np.where(same, high, middle)
        return np.asarray(np.sqrt(low * high))


def _ends(signs: Floats) -> tuple[Floats, Floats]:
    """The first and the last sign of each row that is not 0; 0 where all are."""
    rows, there = np.arange(len(signs)), signs != 0
    last = signs.shape[1] - 1 - np.argmax(there[:, ::-1], axis=1)
    return signs[rows, np.argmax(there, axis=1)], signs[rows, last]


def _interval(value: float, resampled: Floats, n: int) -> Estimate:
    """Percentiles of the resamples, a little further out than 2.5 %.

    The plain percentile bootstrap is too narrow for small n, by the factor of the sample's own
    spread and of a normal quantile in place of Student's; both are made up for (the expanded
    percentile interval, Hesterberg 2015, The American Statistician 69).
    """
    if n < FEWEST_PROMPTS:
        return Estimate(value)
    student = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1))
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * student)
    ordered = np.sort(resampled)
    low = ordered[math.floor(tail * len(ordered))]
    high = ordered[math.ceil((1 - tail) * len(ordered)) - 1]
    return Estimate(
        value,
        float(low) if np.isfinite(low) else None,
        float(high) if np.isfinite(high) else None,
    )
