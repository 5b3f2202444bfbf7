"""Compare calls with control calls, the reference's own answers to the same prompts.

A sampled text is not always encoded into the tokens that were sampled (not in one answer of six of
the bundled model), and the tokens that were not sampled are unlikely. The score test and the
likelihood ratios are then biased by more than their noise. The control answers have the same bias.
If the reference also wrote the answers of the target, the two are exchangeable within each prompt,
and a test that permutes their labels is exact.

Every statistic is a sum over calls. Its mean gain per token, over both sides, is subtracted first,
so the length of the answers is not evidence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phi2sdk.identity.call_table import CallTable, Floats, Ints
from phi2sdk.identity.likelihood_tests import SHARES, call_products, likelihoods

__all__ = ["PERMUTATIONS", "Permuted", "against_control", "call_columns", "residuals", "two_sided"]

PERMUTATIONS = 9_999
BLOCK = 2**22
"""The maximum number of labels in memory at a time."""
TIE = 1e-9
"""Statistics with a smaller relative difference are equal up to rounding."""


@dataclass(frozen=True, slots=True)
class Permuted:
    """p-values by permutation against one honest precision's own answers.

    Attributes:
        score: The p-value of the drift, two-sided.
        z: The excess of the drift over the control's, in standard deviations of its permutations.
        line_up: The p-value of the largest excess of a candidate's likelihood ratio.
        routing: The p-value of the largest excess of a mixture's likelihood ratio.
    """

    score: float
    z: float
    line_up: float
    routing: float


def against_control(
    calls: CallTable,
    control: CallTable,
    precision: str,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Permuted | None:
    """Test whether calls and control calls are exchangeable; ``None`` if no prompt has both.

    Args:
        calls: The calls of the target.
        control: Answers of the reference in one honest precision.
        precision: The name of that precision.
        permutations: The number of permutations; the smallest p is ``1 / (permutations + 1)``.
        seed: The seed of the permutations.
    """
    shared = np.intersect1d(calls.prompt, control.prompt)
    own = calls.take(np.flatnonzero(np.isin(calls.prompt, shared)))
    other = control.take(np.flatnonzero(np.isin(control.prompt, shared)))
    if not len(own) or not len(other):
        return None
    columns = {
        name: np.concatenate([mine, theirs])
        for (name, mine), theirs in zip(
            call_columns(own, precision).items(),
            call_columns(other, precision).values(),
            strict=True,
        )
    }
    tokens = np.concatenate([own.tokens, other.tokens]).astype(np.float64)
    prompt = np.concatenate([own.prompt, other.prompt])
    ends = np.cumsum([0, *(column.shape[1] for column in columns.values())])
    values, _ = residuals(np.concatenate(list(columns.values()), axis=1), tokens, prompt)
    target = np.arange(len(prompt)) < len(own)
    observed, drawn = _permute(values, target, prompt, permutations, seed)
    found = {}
    for at, name in enumerate(columns):
        mine, theirs = observed[ends[at] : ends[at + 1]], drawn[:, ends[at] : ends[at + 1]]
        if name == "score":
            mine, theirs = np.abs(mine), np.abs(theirs)
        top = mine.max()
        above = np.count_nonzero(theirs.max(axis=1) >= top - TIE * max(1.0, abs(top)))
        found[name] = float((1 + above) / (permutations + 1))
    spread = float(drawn[:, 0].std())
    return Permuted(
        score=found["score"],
        z=float(observed[0]) / spread if spread > 0 else 0.0,
        line_up=found["line-up"],
        routing=found["routing"],
    )


def two_sided(
    values: Floats,
    target: NDArray[np.bool_],
    prompt: Ints,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> tuple[float, float]:
    """Test whether columns differ between target and control; return p and the first one's sign.

    The statistic is the largest absolute sum over the target's rows, of columns without the mean of
    their prompt, in standard deviations.

    Args:
        values: ``[n, k]``, a row for each call.
        target: ``[n]``, which rows are the target's.
        prompt: ``[n]``, which prompt.
        permutations: The number of permutations.
        seed: The seed of the permutations.
    """
    values, _ = residuals(values, np.zeros(len(values)), prompt)
    observed, drawn = _permute(values, target, prompt, permutations, seed)
    top = float(np.abs(observed).max())
    above = np.count_nonzero(np.abs(drawn).max(axis=1) >= top - TIE * max(1.0, top))
    return float((1 + above) / (permutations + 1)), float(np.sign(observed[0]))


def call_columns(calls: CallTable, precision: str) -> Mapping[str, Floats]:
    """Return the columns of each test, ``[n, k]``, by its name."""
    base = calls.logp[precision]
    ratios = np.stack([c - base for c in likelihoods(calls).values()], axis=1)
    mixed = [call_products(ratios, share) for share in SHARES]
    return {
        "score": calls.drift[precision][:, None],
        "line-up": ratios,
        "routing": np.concatenate(mixed, axis=1),
    }


def residuals(values: Floats, tokens: Floats, prompt: Ints) -> tuple[Floats, Floats]:
    """Return columns without the mean gain of a token and the mean of the prompt, standardized.

    Args:
        values: ``[n, k]``, a row for each call.
        tokens: ``[n]``; 0 for columns that do not grow with the tokens of a call.
        prompt: ``[n]``, which prompt.

    Returns:
        The residuals in standard deviations, ``[n, k]``, and the standard deviations, ``[k]``.
        A column without variation becomes 0.
    """
    values = values - np.outer(tokens, values.sum(axis=0) / max(1.0, tokens.sum()))
    for one in np.unique(prompt):
        rows = prompt == one
        values[rows] -= values[rows].mean(axis=0)
    deviation = values.std(axis=0)
    found = values / np.where(deviation > TIE, deviation, np.inf)
    return np.asarray(found, dtype=np.float64), np.asarray(deviation, dtype=np.float64)


def _permute(
    values: Floats, target: NDArray[np.bool_], prompt: Ints, permutations: int, seed: int
) -> tuple[Floats, Floats]:
    """Return the sums over the target's rows, ``[k]``, and those of permutations, ``[b, k]``."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(prompt == one) for one in np.unique(prompt)]
    drawn = np.empty((permutations, values.shape[1]))
    block = max(1, BLOCK // len(values))
    for start in range(0, permutations, block):
        stop = min(start + block, permutations)
        labels = np.tile(target.astype(np.float64), (stop - start, 1))
        for rows in groups:
            labels[:, rows] = rng.permuted(labels[:, rows], axis=1)
        drawn[start:stop] = labels @ values
    return values[target].sum(axis=0), drawn
