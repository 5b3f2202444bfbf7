"""Compare calls with control calls, the reference's own answers to the same prompts.

A sampled text is not always encoded into the tokens that were sampled (not in one answer of six of
the bundled model), and the tokens that were not sampled are unlikely. The score test and the
likelihood ratios are then biased by more than their noise. The control answers have the same bias.
If the reference also wrote the answers of the target, the two are exchangeable within each prompt,
and a test that permutes their labels is exact.

All tests of a target permute the same labels. Each test therefore has a p-value in every
permutation, and the smallest of them is a statistic with an exact permutation test of its own
(Westfall and Young, 1993). Tests that agree cost less level than Bonferroni's correction takes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from phi2sdk.identity.call_table import Floats, Ints

__all__ = [
    "PERMUTATIONS",
    "Family",
    "Labels",
    "Statistic",
    "centered",
    "family",
    "family_of",
    "greatest",
    "residuals",
]

PERMUTATIONS = 4_999
BLOCK = 2**22
"""The maximum number of labels in memory at a time."""
DIGITS = 4
"""Statistics that differ by less than 10 to the minus this, in standard deviations, are equal up
to rounding, and count as a tie."""
CONSTANT = 1e-9
"""A column with a smaller standard deviation does not vary."""

Labels = NDArray[np.float32]
"""``[b, n]``, 1 for the calls that are the target's in each of b permutations, 0 for the others."""
Statistic = Callable[[Labels], Floats]
"""Returns a number for each permutation, ``[b]``; larger is less compatible with chance."""


@dataclass(frozen=True, slots=True)
class Family:
    """The p-values of several tests that permute the same labels.

    Attributes:
        p: The p-value of all tests together: of the smallest of their p-values.
        alone: The p-value of each test by itself.
        adjusted: The p-value of each test, adjusted for the others (step-down minP). The smallest
            is ``p``.
        excess: The statistic of each test minus its mean over the permutations, in standard
            deviations of the permutations.
    """

    p: float
    alone: Mapping[str, float]
    adjusted: Mapping[str, float]
    excess: Mapping[str, float]


def family(
    statistics: Mapping[str, Statistic],
    target: NDArray[np.bool_],
    prompt: Ints,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Family:
    """Test whether the labels of the target are exchangeable within each prompt.

    Args:
        statistics: The statistic of each test.
        target: ``[n]``, which calls are the target's.
        prompt: ``[n]``, which prompt.
        permutations: The number of permutations; the smallest p is ``1 / (permutations + 1)``.
        seed: The seed of the permutations.
    """
    values = np.concatenate(
        [
            np.stack([statistic(labels) for statistic in statistics.values()], axis=1)
            for labels in _labels(target, prompt, permutations, seed)
        ]
    )
    return family_of(list(statistics), values)


def family_of(names: Sequence[str], values: Floats) -> Family:
    """Return the p-values of several tests from their statistics in the same permutations.

    Args:
        names: The names of the tests.
        values: ``[1 + b, tests]``; the first row holds the observed statistics.
    """
    values = _standardized(values)
    shares = _at_least(values)  # [1 + b, tests]
    order = np.argsort(shares[0], kind="stable")
    smallest = np.minimum.accumulate(shares[:, order[::-1]], axis=1)[:, ::-1]
    adjusted = np.maximum.accumulate((smallest <= smallest[0]).mean(axis=0))
    return Family(
        p=float(adjusted[0]),
        alone=dict(zip(names, shares[0].tolist(), strict=True)),
        adjusted={names[at]: float(p) for at, p in zip(order, adjusted, strict=True)},
        excess=dict(zip(names, values[0].tolist(), strict=True)),
    )


def _labels(
    target: NDArray[np.bool_], prompt: Ints, permutations: int, seed: int
) -> Iterator[Labels]:
    """Yield the labels in blocks; the first row of the first block holds the observed ones."""
    drawn = _drawn(target.tobytes(), prompt.astype(np.int64).tobytes(), permutations, seed)
    block = max(1, BLOCK // len(target))
    for start in range(0, len(drawn), block):
        yield drawn[start : start + block].astype(np.float32)


@lru_cache(maxsize=2)
def _drawn(target: bytes, prompt: bytes, permutations: int, seed: int) -> NDArray[np.uint8]:
    """Return the labels ``[1 + b, n]``. Most targets of a run, and all precisions, share them."""
    rng = np.random.default_rng(seed)
    own = np.frombuffer(target, dtype=np.uint8)
    prompts = np.frombuffer(prompt, dtype=np.int64)
    labels = np.tile(own, (permutations + 1, 1))
    for one in np.unique(prompts):
        rows = np.flatnonzero(prompts == one)
        labels[1:, rows] = rng.permuted(labels[1:, rows], axis=1)
    return labels


def _standardized(values: Floats) -> Floats:
    """Return ``[b, k]`` columns with mean 0 and variance 1, without differences by rounding."""
    deviation = values.std(axis=0)
    varies = deviation > CONSTANT * np.maximum(1.0, np.abs(values).max(axis=0))
    apart = (values - values.mean(axis=0)) / np.where(varies, deviation, np.inf)
    return np.asarray(np.round(apart, DIGITS), dtype=np.float64)


def _at_least(values: Floats) -> Floats:
    """Return for each value of ``[b, k]`` the share of its column that is at least as large."""
    found = np.empty_like(values)
    for column, own in enumerate(values.T):
        found[:, column] = len(own) - np.searchsorted(np.sort(own), own, side="left")
    return found / len(values)


def greatest(values: Floats, *, two_sided: bool = False) -> Statistic:
    """Return the statistic that is the largest sum over the target's calls of several columns.

    Args:
        values: ``[n, k]``, a row for each call, as :func:`residuals` returns them.
        two_sided: Whether the sign of a sum does not count.
    """
    columns = values.astype(np.float32)

    def of(labels: Labels) -> Floats:
        sums = labels @ columns
        largest = (np.abs(sums) if two_sided else sums).max(axis=1)
        return np.asarray(largest, dtype=np.float64)

    return of


def residuals(values: Floats, tokens: Floats | Ints, prompt: Ints) -> tuple[Floats, Floats]:
    """Return columns without the mean gain of a token and the mean of the prompt, standardized.

    Args:
        values: ``[n, k]``, a row for each call.
        tokens: ``[n]``; 0 for columns that do not grow with the tokens of a call.
        prompt: ``[n]``, which prompt.

    Returns:
        The residuals in standard deviations, ``[n, k]``, and the standard deviations, ``[k]``.
        A column without variation becomes 0.
    """
    values = centered(values, tokens, prompt)
    deviation = values.std(axis=0)
    found = values / np.where(deviation > CONSTANT, deviation, np.inf)
    return np.asarray(found, dtype=np.float64), np.asarray(deviation, dtype=np.float64)


def centered(values: Floats, tokens: Floats | Ints, prompt: Ints) -> Floats:
    """Return columns without the mean gain of a token and the mean of the prompt, ``[n, k]``."""
    values = values - np.outer(tokens, values.sum(axis=0) / max(1.0, float(tokens.sum())))
    for one in np.unique(prompt):
        rows = prompt == one
        values[rows] -= values[rows].mean(axis=0)
    return values
