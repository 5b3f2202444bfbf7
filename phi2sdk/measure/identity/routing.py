"""Routing: are some of the calls answered by somebody else?

Each call has a likelihood ratio of its own. If a share of the calls goes to a candidate, the ratio
of a call is ``1 - share + share * LR``, and their product again an e-value. The hot temperatures
stand for models whose weights we do not have: what another model writes is unlikely for ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from phi2sdk.measure.identity.lineup import e_to_p, likelihoods
from phi2sdk.measure.identity.table import CallTable, Floats

__all__ = ["SHARES", "Routing", "call_products", "routing_test"]

SHARES = (0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True, slots=True)
class Routing:
    """The evidence that a share of the calls was routed elsewhere.

    Attributes:
        log_e: By honest precision, the natural logarithm of its e-value.
        candidate: Who explains the routed calls best.
        share: The maximum-likelihood share that it answered.
        p_by_precision: ``min(1, 1/E)``, or by permutation against control calls.
    """

    log_e: Mapping[str, float]
    candidate: str
    share: float
    p_by_precision: Mapping[str, float]

    @property
    def p(self) -> float:
        """Against the null that any of them wrote it."""
        return max(self.p_by_precision.values())

    @property
    def statistic(self) -> float:
        """The logarithm of the e-value against the precision that explains the texts best."""
        return min(self.log_e.values())


def routing_test(calls: CallTable) -> Routing:
    """Every candidate with every share of :data:`SHARES`, all with the same prior weight."""
    candidates = likelihoods(calls)
    log_e, best = {}, ""
    for name in calls.honest:
        products = {
            candidate: [_log_product(column - calls.logp[name], share) for share in SHARES]
            for candidate, column in candidates.items()
        }
        every = [value for values in products.values() for value in values]
        log_e[name] = float(logsumexp(every)) - math.log(len(every))
        if name == calls.reference:
            best = max(products, key=lambda candidate: max(products[candidate]))
    share = _share(candidates[best] - calls.logp[calls.reference])
    return Routing(log_e, best, share, {name: e_to_p(value) for name, value in log_e.items()})


def call_products(ratios: Floats, share: float) -> Floats:
    """``log(1 - share + share * LR)`` of each call, from the logarithms of their ratios."""
    return np.asarray(np.logaddexp(math.log1p(-share), math.log(share) + ratios))


def _log_product(ratios: Floats, share: float) -> float:
    return float(call_products(ratios, share).sum())


def _share(ratios: Floats) -> float:
    """The maximum-likelihood share: the likelihood is concave in it."""
    if not len(ratios):
        return 0.0
    found = minimize_scalar(
        lambda share: -_log_product(ratios, share), bounds=(1e-6, 1 - 1e-6), method="bounded"
    )
    return float(found.x)
