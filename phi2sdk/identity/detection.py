"""Estimate which changes a run would have detected, from the run's own control answers.

The control holds the reference's answers and their log-likelihoods under every candidate. Had a
target served a candidate, each column of the tests would have moved by its covariance with that
candidate's log-likelihood ratio: this is the first-order effect of weighting the control's answers
by the ratio. The moved statistics are drawn with the control's correlations and compared with the
critical values of the tests, which gives the power at the number of calls of the run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phi2sdk.identity.call_table import CallTable, Floats, joined
from phi2sdk.identity.likelihood_tests import call_columns, likelihoods
from phi2sdk.identity.permutation import residuals

__all__ = ["Detection", "detection"]

DRAWS = 4_000
TESTS = ("score", "line-up", "routing")
LEAST_FREE = 10
"""With fewer control answers than this beyond one for each prompt, there is no estimate."""
SMALL = 1.0
"""Variance of a call's ratio, nats squared, up to which the first-order effect is exact enough."""


@dataclass(frozen=True, slots=True)
class Detection:
    """The probability of rejecting a target that serves a candidate, by candidate.

    Attributes:
        power: By the tests on log-likelihoods together, in every honest precision.
        general: By the score test alone, which does not use the list of candidates.
    """

    power: Mapping[str, float]
    general: Mapping[str, float]


def detection(
    control: Mapping[str, CallTable], calls: int, *, level: float, seed: int = 0
) -> Detection:
    """Estimate the power of a run; empty without enough control answers.

    The comparison of texts (MMD) is not counted, so that the power is not overstated.

    Args:
        control: The reference's own answers by honest precision, scored.
        calls: Of the target.
        level: Of one instrument for one target, corrected for the others.
        seed: Of the draws.
    """
    tables = list(control.values())
    free = sum(map(len, tables)) - len({one for t in tables for one in t.prompt.tolist()})
    if free < LEAST_FREE or not calls:
        return Detection({}, {})
    every = joined(tables)
    rng = np.random.default_rng(seed)
    target = rng.standard_normal((DRAWS, len(every)))
    candidates = {
        name: {test: np.ones(DRAWS, bool) for test in TESTS} for name in likelihoods(every)
    }
    for precision, own in control.items():
        share = calls / (calls + len(own))
        noise = np.sqrt(1 - share) * target + np.sqrt(share) * rng.standard_normal(target.shape)
        rejected = _rejected(every, precision, noise, np.sqrt(share * len(own)), level)
        for name, tests in rejected:
            for test, hits in tests.items():
                candidates[name][test] &= hits  # a test counts its largest p over the precisions
    return Detection(
        {
            name: float(np.logical_or.reduce(list(tests.values())).mean())
            for name, tests in candidates.items()
        },
        {name: float(tests["score"].mean()) for name, tests in candidates.items()},
    )


def _rejected(
    control: CallTable, precision: str, noise: Floats, scale: float, level: float
) -> Iterator[tuple[str, dict[str, NDArray[np.bool_]]]]:
    """Yield for each candidate which tests reject in each draw, against one honest precision.

    Args:
        control: The answers of all honest precisions, which hardly differ.
        precision: The one that a target is tested against.
        noise: ``[b, n]``, a standard normal weight of each answer in each draw.
        scale: The root of half the harmonic mean of the calls of the target and of its control.
        level: Of one test.
    """
    columns = call_columns(control, precision)
    ends = np.cumsum([0, *(column.shape[1] for column in columns.values())])
    places = {name: slice(ends[at], ends[at + 1]) for at, name in enumerate(columns)}
    raw = np.concatenate(list(columns.values()), axis=1)
    values, deviation = residuals(raw, control.tokens.astype(np.float64), control.prompt)
    n = len(control)
    lost = n / max(1, n - len(np.unique(control.prompt)))  # to the means of the prompts
    drawn = noise @ values / np.sqrt(n)  # [b, k]
    critical = {
        name: float(np.quantile(_largest(drawn, at, name), 1 - level))
        for name, at in places.items()
    }
    for at, candidate in enumerate(likelihoods(control), start=places["line-up"].start):
        spread = float(deviation[at]) * np.sqrt(lost)
        moved = spread * _counted(raw[:, at], spread**2) * scale
        shifted = drawn + moved * (values.T @ values[:, at] / n)
        yield (
            candidate,
            {n: _largest(shifted, place, n) >= critical[n] for n, place in places.items()},
        )


def _largest(drawn: Floats, place: slice, name: str) -> Floats:
    """The statistic of an instrument in each draw; the score test is two-sided."""
    mine = drawn[:, place]
    return np.asarray((np.abs(mine) if name == "score" else mine).max(axis=1))


def _counted(ratio: Floats, variance: float) -> float:
    """Return the share of the first-order effect that is counted.

    The two sides of a divergence and the ratio's variance are equal for close candidates. For
    distant ones the variance grows with a few answers that the candidate could hardly write.
    """
    if variance <= SMALL:
        return 1.0
    return float(np.clip(-2 * ratio.mean() / variance, 0.0, 1.0))
