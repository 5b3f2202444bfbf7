"""How many calls does it take to see a difference?

Pilot texts of the suspected author and of the honest reference are scored as answers are. Runs of
n calls, and of as many control calls, are drawn from them with replacement, and each run's
statistics are held against the quantiles that their permutations have: the power at n is the share
that is found. What a small pilot knows badly is the mean evidence of a call. So the means are
corrected by control variates: sums of which the exact divergence at every place of the texts tells
that their mean is 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from statistics import NormalDist

import numpy as np

from phi2sdk.identity.call_table import CallTable, Floats, Ints
from phi2sdk.identity.permutation import call_columns
from phi2sdk.identity.verdict import ALPHA, POWER

__all__ = ["MOST_CALLS", "Need", "Part", "calls_needed", "power_at"]

MOST_CALLS = 1_000_000
"""More calls than anybody would make: where so many do not suffice, none do."""
RUNS = 500
"""So many runs are drawn for each number of calls."""
QUANTILES = 20_000
"""So many draws give the quantile of the largest of several correlated statistics."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Scored texts of one author, who answers a share of the calls.

    Attributes:
        calls: Pilot texts, scored under the honest precisions and all candidates.
        share: Of the calls that the author answers.
        controls: ``[n, k]`` columns whose true mean is known to be 0.
    """

    calls: CallTable
    share: float = 1.0
    controls: Floats = field(default_factory=lambda: np.zeros((0, 0)))


@dataclass(frozen=True, slots=True)
class Need:
    """What it takes.

    Attributes:
        calls: The smallest number of calls with the wanted power; ``None``: more than
            :data:`MOST_CALLS`.
        low, high: The calls if the mean evidence of a call is larger or smaller by twice the
            pilot's standard error of it; ``high`` is ``None`` where that leaves no evidence.
        tokens: Output tokens of a call, on average.
        entropy: Nats a token, on average.
        power: By instrument alone, and ``all`` together, at ``calls``.
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
    """The smallest number of calls at which an author is found with a probability of ``power``.

    Args:
        parts: Who answers; their shares add up to 1.
        control: The reference's own texts, by honest precision.
        power: Above 0, below 1.
        alpha: The level of the whole run.
        targets: That are tested in the run; Holm's first step counts them all.
        instruments: That Bonferroni counts. MMD, the fourth, is counted and not relied on.
        seed: Of the draws.
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
    """The power with so many calls, by instrument and of ``all`` together."""
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
        chance: ``[n]`` of each to be the next call.
        values: ``[n, k]``.
        error: ``[k]`` standard errors of the columns' means.
    """

    chance: Floats
    values: Floats
    error: Floats

    def means(self, calls: int, rng: np.random.Generator) -> Floats:
        """``[RUNS, k]`` means of so many calls."""
        counts = rng.multinomial(calls, self.chance / self.chance.sum(), RUNS)
        return np.asarray(counts.astype(np.float64) @ self.values / calls)


@dataclass(frozen=True, slots=True, eq=False)
class _Null:
    """One honest precision: the target's calls and the control's.

    Attributes:
        target, control: Their columns, those of all instruments side by side.
        columns: Which of them are an instrument's.
        least: What the instrument's largest statistic must reach.
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
        """With so many standard errors more between the sides, in every column."""
        return _Model([_moved(null, errors) for null in self.nulls]) if errors else self

    def power(self, calls: int, seed: int) -> dict[str, float]:
        """The share of runs of so many calls, and as many of control, that are found."""
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
    """What the largest of several normal statistics, correlated as the columns, seldom exceeds."""
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
    if errors < 0:  # not beyond nothing
        shift = np.maximum(shift * direction, -np.abs(apart)) * direction
    return replace(null, target=replace(null.target, values=null.target.values + shift))


def _columns(parts: Sequence[Part], precision: str) -> tuple[Floats, Floats, Floats, Ints, Floats]:
    """Chances, corrected columns, tokens and prompts of all calls; the means' standard errors."""
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
    """Means of ``[n, m]`` columns and their standard errors, corrected by control variates.

    The regression on columns of mean 0 has its intercept where the mean would be without noise.
    """
    n = len(columns)
    design = np.ones((n, 1)) if not controls.size else np.column_stack([np.ones(n), controls])
    fitted, *_ = np.linalg.lstsq(design, columns, rcond=1e-8)
    rest = columns - design @ fitted
    free = max(1, n - design.shape[1])
    return fitted[0], np.sqrt((rest**2).sum(axis=0) / free / n)
