"""Run all tests of a target against the reference's own answers in one honest precision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from phi2sdk.identity.call_table import CallTable, Floats, Ints, joined
from phi2sdk.identity.likelihood_tests import call_columns
from phi2sdk.identity.mmd import mmd_statistic
from phi2sdk.identity.omnibus import squared_length, word_pairs
from phi2sdk.identity.permutation import (
    PERMUTATIONS,
    Family,
    centered,
    family,
    greatest,
    residuals,
)

__all__ = ["AgainstControl", "against_control"]


@dataclass(frozen=True, slots=True)
class AgainstControl:
    """The tests of a target against one honest precision's own answers.

    Attributes:
        family: The p-values of all tests.
        statistics: Of ``score``, the excess of the drift over the control's, in standard deviations
            of its permutations; of ``mmd``, the squared MMD; of ``bigrams`` and ``tokens``, the
            excess over the permutations, in standard deviations of the permutations.
    """

    family: Family
    statistics: Mapping[str, float]


def against_control(
    calls: CallTable,
    control: CallTable,
    precision: str,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> AgainstControl | None:
    """Test whether calls and control calls are exchangeable; ``None`` if no prompt has both.

    Args:
        calls: The calls of the target.
        control: Answers of the reference in one honest precision.
        precision: The name of that precision.
        permutations: The number of permutations; the smallest p is ``1 / (permutations + 1)``.
        seed: The seed of the permutations.
    """
    shared = np.intersect1d(calls.prompt, control.prompt)
    sides = [one.take(np.flatnonzero(np.isin(one.prompt, shared))) for one in (calls, control)]
    if not all(map(len, sides)):
        return None
    both = joined(sides)
    target = np.arange(len(both)) < len(sides[0])
    columns = {
        name: residuals(values, both.tokens, both.prompt)[0]
        for name, values in call_columns(both, precision).items()
    }
    statistics = {
        name: greatest(values, two_sided=name == "score") for name, values in columns.items()
    }
    found = {"score": _excess(columns["score"][:, 0], target, both.prompt)}
    if any(both.texts):
        mmd = statistics["mmd"] = mmd_statistic(both.texts, target, both.prompt)
        found["mmd"] = float(mmd(target[None].astype(np.float32))[0])
    features = {"bigrams": word_pairs(both.texts), "tokens": both.residuals}
    for name, values in features.items():
        if values is not None and values.size:
            statistics[name] = squared_length(centered(values, both.tokens, both.prompt))
    p = family(statistics, target, both.prompt, permutations=permutations, seed=seed)
    return AgainstControl(p, {**p.excess, **found})


def _excess(values: Floats, target: NDArray[np.bool_], prompt: Ints) -> float:
    """Return the sum over the target's calls in standard deviations of its permutations.

    Args:
        values: ``[n]``, with mean 0 in each prompt.
        target: ``[n]``, which calls are the target's.
        prompt: ``[n]``, which prompt.
    """
    variance = 0.0
    for one in np.unique(prompt):
        rows = prompt == one
        n, own = int(rows.sum()), int(target[rows].sum())
        variance += own * (n - own) / (n * max(1, n - 1)) * float((values[rows] ** 2).sum())
    return float(values[target].sum()) / variance**0.5 if variance > 0 else 0.0
