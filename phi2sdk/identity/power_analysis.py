"""Estimate the number of calls that detects a difference.

Pilot texts of the suspected author and of the honest reference are scored as answers are. Runs of
n calls, and of as many control calls, are drawn from them with replacement, and the statistics of
each run are compared with the quantiles of their permutations: the power at n is the share of runs
that reject. The mean evidence of a call has a large error in a small pilot. The means are therefore
corrected by control variates: sums that have mean 0 by the exact divergence at every token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from statistics import NormalDist

import numpy as np

from phi2sdk.identity.call_table import CallTable, Floats, Ints
from phi2sdk.identity.likelihood_tests import call_columns
from phi2sdk.identity.verdict import ALPHA, POWER

__all__ = ["MOST_CALLS", "Need", "Part", "calls_needed", "power_at"]

MOST_CALLS = 1_000_000
"""The largest number of calls that is tried."""
RUNS = 500
"""The number of runs that are drawn for each number of calls."""
QUANTILES = 20_000
"""The number of draws for the quantile of the largest of several correlated statistics."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Scored texts of one author, who answers a share of the calls.

    Attributes:
        calls: Pilot texts, scored under the honest precisions and all candidates.
        share: The share of the calls that the author answers.
        controls: Columns with a known mean of 0, ``[n, k]``.
    """

    calls: CallTable
    share: float = 1.0
    controls: Floats = field(default_factory=lambda: np.zeros((0, 0)))


@dataclass(frozen=True, slots=True)
class Need:
    """The number of calls that is needed, with its range.

    Attributes:
        calls: The smallest number of calls with the wanted power; ``None``: more than
            :data:`MOST_CALLS`.
        low, high: The calls if the mean evidence of a call is larger or smaller by twice the
            pilot's standard error of it; ``high`` is ``None`` where that leaves no evidence.
        tokens: The mean number of output tokens of a call.
        entropy: The mean entropy in nats per token.
        power: The power at ``calls``, by test alone and of ``all`` together.
    """

    calls: int | None
    low: int | None
    high: int | None
    tokens: float
    entropy: float
    power: Mapping[str, float]


def calls_needed(
    parts: Sequence[Part],
    control: Mapping[str, Part],
    *,
    power: float = POWER,
    alpha: float = ALPHA,
    targets: int = 1,
    instruments: int = 4,
    seed: int = 0,
) -> Need:
    """Return the smallest number of calls that detects an author with probability ``power``.

    Args:
        parts: The authors of the answers; their shares add up to 1.
        control: The texts of the reference by honest precision.
        power: The probability of detection, above 0 and below 1.
        alpha: The level of the whole run.
        targets: The number of targets of the run; the first step of Holm counts them all.
        instruments: The number of independent tests that share the level. It includes those that
            are not simulated.
        seed: The seed of the draws.
    """
    level = alpha / (targets * instruments)
    model = _Model.of(parts, control, level, seed)
    found, low, high = (_search(model.moved(by), power, seed) for by in (0.0, 2.0, -2.0))
    weights = np.concatenate([np.full(len(p.calls), p.share / len(p.calls)) for p in parts])
    tokens = float(weights @ np.concatenate([p.calls.tokens for p in parts]))
    entropy = float(weights @ np.concatenate([p.calls.entropy for p in parts]))
    return Need(
        found,
        low,
        high,
        tokens,
        entropy / tokens if tokens else 0.0,
        model.power(found or MOST_CALLS, seed),
    )


def power_at(
    parts: Sequence[Part],
    control: Mapping[str, Part],
    calls: int,
    *,
    alpha: float = ALPHA,
    targets: int = 1,
    instruments: int = 4,
    seed: int = 0,
) -> Mapping[str, float]:
    """Return the power at a number of calls, by test and of ``all`` together."""
    return _Model.of(parts, control, alpha / (targets * instruments), seed).power(calls, seed)


def _search(model: _Model, power: float, seed: int) -> int | None:
    def enough(calls: int) -> bool:
        return model.power(calls, seed)["all"] >= power

    high = 4
    while not enough(high):
        high *= 2
        if high > MOST_CALLS:
            return None
    low = high // 2
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True, slots=True, eq=False)
class _Side:
    """Pilot calls as columns of unit variance.

    Attributes:
        chance: The probability of each to be the next call, ``[n]``.
        values: The columns, ``[n, k]``.
        error: The standard errors of the means of the columns, ``[k]``.
    """

    chance: Floats
    values: Floats
    error: Floats

    def means(self, calls: int, rng: np.random.Generator) -> Floats:
        """Return the means of a number of calls in each run, ``[RUNS, k]``."""
        counts = rng.multinomial(calls, self.chance / self.chance.sum(), RUNS)
        return np.asarray(counts.astype(np.float64) @ self.values / calls)


@dataclass(frozen=True, slots=True, eq=False)
class _Null:
    """The calls of the target and of the control under one honest precision.

    Attributes:
        target, control: Their columns, with those of all tests side by side.
        columns: The columns of each test.
        least: The critical value of each test.
    """

    target: _Side
    control: _Side
    columns: Mapping[str, slice]
    least: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class _Model:
    nulls: Sequence[_Null]

    @classmethod
    def of(
        cls, parts: Sequence[Part], control: Mapping[str, Part], level: float, seed: int
    ) -> _Model:
        return cls([_null(parts, own, name, level, seed) for name, own in control.items()])

    def moved(self, errors: float) -> _Model:
        """Return the model with the sides moved apart by standard errors, in every column."""
        return _Model([_moved(null, errors) for null in self.nulls]) if errors else self

    def power(self, calls: int, seed: int) -> dict[str, float]:
        """Return the share of runs of this number of calls that reject."""
        rng = np.random.default_rng(seed)
        found: list[dict[str, np.ndarray]] = []
        for null in self.nulls:
            apart = null.target.means(calls, rng) - null.control.means(calls, rng)
            statistic = apart * (calls / 2) ** 0.5
            statistic[:, null.columns["score"]] = np.abs(statistic[:, null.columns["score"]])
            found.append(
                {
                    name: statistic[:, own].max(axis=1) >= null.least[name]
                    for name, own in null.columns.items()
                }
            )
        every = {name: reduce(np.logical_and, [one[name] for one in found]) for name in found[0]}
        either = reduce(np.logical_or, every.values())
        return {
            **{name: float(hit.mean()) for name, hit in every.items()},
            "all": float(either.mean()),
        }


def _null(parts: Sequence[Part], control: Part, precision: str, level: float, seed: int) -> _Null:
    sides = [_columns(parts, precision), _columns([control], precision)]
    (
        (chance, values, tokens, prompt, error),
        (own_chance, own, own_tokens, own_prompt, own_error),
    ) = sides
    gain = (chance @ values + own_chance @ own) / (chance @ tokens + own_chance @ own_tokens)
    values, own = values - np.outer(tokens, gain), own - np.outer(own_tokens, gain)
    for one in np.unique(own_prompt):
        here, there = prompt == one, own_prompt == one
        if here.any():
            middle = (values[here].mean(axis=0) + own[there].mean(axis=0)) / 2
        else:
            middle = own[there].mean(axis=0)
        values[here] -= middle
        own[there] -= middle
    variance = (chance @ values**2 + own_chance @ own**2) / 2
    deviation = np.sqrt(np.where(variance > 1e-18, variance, np.inf))
    values, own = values / deviation, own / deviation
    weights = np.concatenate([chance, own_chance]) / 2
    both = np.concatenate([values, own]) * np.sqrt(weights)[:, None]
    names = {
        name: column.shape[1] for name, column in call_columns(control.calls, precision).items()
    }
    ends = np.cumsum([0, *names.values()])
    columns = {name: slice(int(ends[at]), int(ends[at + 1])) for at, name in enumerate(names)}
    rng = np.random.default_rng(seed)
    least = {
        name: _quantile(both[:, own_columns], level, rng, two_sided=name == "score")
        for name, own_columns in columns.items()
    }
    return _Null(
        _Side(chance, values, error / deviation),
        _Side(own_chance, own, own_error / deviation),
        columns,
        least,
    )


def _quantile(columns: Floats, level: float, rng: np.random.Generator, *, two_sided: bool) -> float:
    """Return the ``1 - level`` quantile of the largest of several correlated normal statistics."""
    if columns.shape[1] == 1:
        return NormalDist().inv_cdf(1 - level / (2 if two_sided else 1))
    _, weight, axes = np.linalg.svd(columns, full_matrices=False)
    drawn = rng.standard_normal((QUANTILES, len(weight))) @ (weight[:, None] * axes)
    return float(np.quantile(drawn.max(axis=1), 1 - level))


def _moved(null: _Null, errors: float) -> _Null:
    apart = null.target.chance @ null.target.values - null.control.chance @ null.control.values
    error = np.hypot(null.target.error, null.control.error)
    score = null.columns["score"]
    direction = np.ones_like(apart)
    direction[score] = np.sign(apart[score])
    shift = errors * direction * error
    if errors < 0:  # not beyond 0
        shift = np.maximum(shift * direction, -np.abs(apart)) * direction
    return replace(null, target=replace(null.target, values=null.target.values + shift))


def _columns(parts: Sequence[Part], precision: str) -> tuple[Floats, Floats, Floats, Ints, Floats]:
    """Return chances, corrected columns, tokens, prompts, and standard errors of the means."""
    chance, values, squares = [], [], []
    for part in parts:
        n = len(part.calls)
        own = np.concatenate(list(call_columns(part.calls, precision).values()), axis=1)
        mean, error = _mean(own, part.controls)
        chance.append(np.full(n, part.share / n))
        values.append(own + (mean - own.mean(axis=0)))
        squares.append((part.share * error) ** 2)
    return (
        np.concatenate(chance),
        np.concatenate(values),
        np.concatenate([part.calls.tokens for part in parts]).astype(np.float64),
        np.concatenate([part.calls.prompt for part in parts]),
        np.asarray(np.sqrt(np.sum(squares, axis=0))),
    )


def _mean(columns: Floats, controls: Floats) -> tuple[Floats, Floats]:
    """Return means of ``[n, m]`` columns and their standard errors, by control variates.

    The intercept of the regression on columns of mean 0 is the corrected mean.
    """
    n = len(columns)
    design = np.ones((n, 1)) if not controls.size else np.column_stack([np.ones(n), controls])
    fitted, *_ = np.linalg.lstsq(design, columns, rcond=1e-8)
    rest = columns - design @ fitted
    free = max(1, n - design.shape[1])
    return fitted[0], np.sqrt((rest**2).sum(axis=0) / free / n)
