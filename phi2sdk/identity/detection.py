"""Estimate which changes a run would have detected, from the run's own control answers.

The control holds the reference's answers and their log-likelihoods under every candidate. Had a
target served a candidate, each column of the tests would have moved by its covariance with that
candidate's log-likelihood ratio: this is the first-order effect of weighting the control's answers
by the ratio. The moved statistics are drawn with the control's correlations and combined as the
tests of a target are, which gives the power at the number of calls of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phi2sdk.identity.call_table import CallTable, Floats
from phi2sdk.identity.likelihood_tests import call_columns, likelihoods
from phi2sdk.identity.permutation import residuals

__all__ = ["Detection", "detection"]

DRAWS = 1_000
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
    control: Mapping[str, CallTable], calls: int, *, level: float, others: int = 0, seed: int = 0
) -> Detection:
    """Estimate the power of a run; empty without enough control answers.

    Tests that do not use log-likelihoods take their part of the level, but their power is not
    counted, so that the power is not overstated.

    Args:
        control: The reference's own answers by honest precision, scored. Their order is the same
            in each precision, so that most answers are equal.
        calls: The number of calls of the target.
        level: The level of all tests of one target together.
        others: The number of tests that do not use log-likelihoods.
        seed: The seed of the draws.
    """
    tables = control.values()
    free = min((len(t) - len(np.unique(t.prompt)) for t in tables), default=0)
    if free < LEAST_FREE or not calls:
        return Detection({}, {})
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((DRAWS, max(map(len, tables))), dtype=np.float32)
    names = list(likelihoods(next(iter(tables))))
    rejected = np.ones((2, len(names), DRAWS), dtype=np.bool_)
    for precision, own in control.items():
        rejected &= _rejected(own, precision, noise[:, : len(own)], calls, level, others)
    power, general = rejected.mean(axis=-1).tolist()
    return Detection(dict(zip(names, power, strict=True)), dict(zip(names, general, strict=True)))


def _rejected(
    control: CallTable,
    precision: str,
    noise: NDArray[np.float32],
    calls: int,
    level: float,
    others: int,
) -> NDArray[np.bool_]:
    """Return ``[2, candidates, b]``, whether any test, and the score test, rejects in each draw.

    Args:
        control: The answers of one honest precision.
        precision: Its name.
        noise: ``[b, n]``, a standard normal weight of each answer in each draw.
        calls: The number of calls of the target.
        level: The level of all tests together.
        others: The number of tests that are not drawn.
    """
    columns = call_columns(control, precision)
    raw = np.concatenate(list(columns.values()), axis=1)
    values, deviation = residuals(raw, control.tokens, control.prompt)
    n, prompts = len(control), len(np.unique(control.prompt))
    lost = n / max(1, n - prompts)  # to the means of the prompts
    free = max(1, n + calls - prompts)
    scale = np.sqrt(calls * n / (calls + n))
    ends = np.cumsum([column.shape[1] for column in columns.values()])[:-1]

    def largest(sums: NDArray[np.float32]) -> Floats:
        parts = zip(columns, np.split(sums, ends, axis=1), strict=True)
        return np.stack(
            [(np.abs(x) if name == "score" else x).max(axis=1) for name, x in parts], axis=1
        )

    drawn = noise @ values.astype(np.float32) / np.sqrt(n)  # [b, k]
    chance = np.sort(largest(drawn), axis=0)  # [b, tests]
    critical = _critical(_shares(largest(drawn), chance), level, others)
    found = []
    for at in range(1, 1 + len(likelihoods(control))):  # the columns of the line-up
        spread = float(deviation[at]) * np.sqrt(lost)
        moved = spread * _counted(raw[:, at], spread**2) * scale
        shifted = drawn + (moved * (values.T @ values[:, at] / n)).astype(np.float32)
        # The labels are permuted on values that contain the effect, which widens the permutations.
        shifted /= np.sqrt(1 + np.maximum(0, shifted**2 - 1) / free)
        shares = _shares(largest(shifted), chance)
        found.append((shares.min(axis=1) <= critical, shares[:, 0] <= critical))
    return np.array(found).transpose(1, 0, 2)


def _shares(statistics: Floats, chance: Floats) -> Floats:
    """Return the p-value of each statistic, ``[b, tests]``, from sorted draws by chance."""
    each = zip(statistics.T, chance.T, strict=True)
    found = [len(own) - np.searchsorted(own, one, side="left") for one, own in each]
    return np.stack(found, axis=1) / len(chance)


def _critical(shares: Floats, level: float, others: int) -> float:
    """Return the p-value that the smallest of all tests has with the probability of the level.

    Args:
        shares: ``[b, tests]``, the p-values of the drawn tests by chance.
        level: The level of all tests together.
        others: The number of further tests, which are taken to be independent.
    """
    smallest = np.sort(shares.min(axis=1))
    below = np.arange(1, len(smallest) + 1) / len(smallest)
    together = 1 - (1 - below) * (1 - smallest) ** others
    at = int(np.searchsorted(together, level, side="right"))
    return float(smallest[at - 1]) if at else 0.0


def _counted(ratio: Floats, variance: float) -> float:
    """Return the share of the first-order effect that is counted.

    The two sides of a divergence and the ratio's variance are equal for close candidates. For
    distant ones the variance grows with a few answers that the candidate could hardly write.
    """
    if variance <= SMALL:
        return 1.0
    return float(np.clip(-2 * ratio.mean() / variance, 0.0, 1.0))
