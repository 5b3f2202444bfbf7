"""The line-up: who of several named candidates would most likely have written these texts?

A ratio of likelihoods has the mean 1 if its denominator wrote the texts, so by Markov's inequality
it exceeds ``1/alpha`` with at most the probability alpha, at any number of calls. So does the mean
of several such ratios: the e-value of the line-up. That is so for the tokens that were drawn; of a
text that was re-encoded the p-value comes from :mod:`phi2sdk.measure.identity.control`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp

from phi2sdk.measure.identity.table import CallTable, Floats

__all__ = ["TEMPERATURES", "LineUp", "e_to_p", "likelihoods", "line_up"]

TEMPERATURES = (0.7, 0.8, 0.9, 1.1, 1.25, 1.5)
"""Of the reference, as candidates."""


@dataclass(frozen=True, slots=True)
class LineUp:
    """The evidence against each honest precision, and the closest candidate.

    Attributes:
        log_e: By precision, the natural logarithm of its e-value.
        log_ratio: By candidate, honest ones included: log-likelihood minus the reference's, nats.
        closest: The candidate of the largest likelihood.
        p_by_precision: ``min(1, 1/E)``, or by permutation against control calls.
    """

    log_e: Mapping[str, float]
    log_ratio: Mapping[str, float]
    closest: str
    p_by_precision: Mapping[str, float]

    @property
    def p(self) -> float:
        """Against the null that any of them wrote it."""
        return max(self.p_by_precision.values())

    @property
    def statistic(self) -> float:
        """The logarithm of the e-value against the precision that explains the texts best."""
        return min(self.log_e.values())


def likelihoods(calls: CallTable) -> dict[str, Floats]:
    """``[n]`` log-likelihoods of every dishonest candidate, temperatures included."""
    hot_and_cold = {f"T={t:g}": calls.at_temperature(t) for t in TEMPERATURES}
    return {**calls.candidates, **hot_and_cold}


def line_up(calls: CallTable) -> LineUp:
    """All candidates against the honest precisions; each candidate has the same prior weight."""
    total = {name: float(column.sum()) for name, column in likelihoods(calls).items()}
    honest = {name: float(calls.logp[name].sum()) for name in calls.honest}
    mean = float(logsumexp(list(total.values()))) - math.log(len(total))
    ratios = {name: value - honest[calls.reference] for name, value in {**honest, **total}.items()}
    log_e = {name: mean - value for name, value in honest.items()}
    return LineUp(
        log_e=log_e,
        log_ratio=ratios,
        closest=max(ratios, key=ratios.__getitem__),
        p_by_precision={name: e_to_p(value) for name, value in log_e.items()},
    )


def e_to_p(log_e: float) -> float:
    """The p-value of an e-value, given by its logarithm."""
    return float(np.exp(-max(0.0, log_e)))
