"""Estimates from log-likelihoods: the closest candidate, routing, and the effective temperature.

The p-values are computed elsewhere, against control calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Chebyshev
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from phi2sdk.identity.call_table import BETAS, HIGH, LOW, CallTable, Floats

__all__ = [
    "LineUp",
    "Routing",
    "SHARES",
    "TEMPERATURES",
    "Temperature",
    "call_columns",
    "call_products",
    "effective_temperature",
    "likelihoods",
    "line_up",
    "routing_test",
]

TEMPERATURES = (0.7, 0.8, 0.9, 1.1, 1.25, 1.5)
"""Temperatures of the reference that are candidates."""


@dataclass(frozen=True, slots=True)
class LineUp:
    """The evidence against each honest precision, and the closest candidate.

    Attributes:
        log_e: The natural logarithm of the e-value against each honest precision.
        log_ratio: The log-likelihood of each candidate and honest precision minus that of the
            reference, nats.
        closest: The candidate of the largest likelihood.
    """

    log_e: Mapping[str, float]
    log_ratio: Mapping[str, float]
    closest: str

    @property
    def statistic(self) -> float:
        """The logarithm of the e-value against the precision that explains the texts best."""
        return min(self.log_e.values())


def likelihoods(calls: CallTable) -> dict[str, Floats]:
    """Return the log-likelihoods of the calls, ``[n]``, under each candidate and temperature."""
    hot_and_cold = {f"T={t:g}": calls.at_temperature(t) for t in TEMPERATURES}
    return {**calls.candidates, **hot_and_cold}


def line_up(calls: CallTable) -> LineUp:
    """Compare all candidates with the honest precisions; all have the same prior weight."""
    total = {name: float(column.sum()) for name, column in likelihoods(calls).items()}
    honest = {name: float(calls.logp[name].sum()) for name in calls.honest}
    mean = float(logsumexp(list(total.values()))) - math.log(len(total))
    ratios = {name: value - honest[calls.reference] for name, value in {**honest, **total}.items()}
    log_e = {name: mean - value for name, value in honest.items()}
    return LineUp(log_e, ratios, max(ratios, key=ratios.__getitem__))


SHARES = (0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True, slots=True)
class Routing:
    """The evidence that a share of the calls was answered by another model.

    Attributes:
        log_e: The natural logarithm of the e-value against each honest precision.
        candidate: The candidate that explains these calls best.
        share: The maximum-likelihood share of these calls.
    """

    log_e: Mapping[str, float]
    candidate: str
    share: float

    @property
    def statistic(self) -> float:
        """The logarithm of the e-value against the precision that explains the texts best."""
        return min(self.log_e.values())


def routing_test(calls: CallTable) -> Routing:
    """Test every candidate with every share of :data:`SHARES`, with the same prior weight."""
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
    return Routing(log_e, best, share)


def call_columns(calls: CallTable, precision: str) -> Mapping[str, Floats]:
    """Return the columns of each test against one honest precision, ``[n, k]``, by its name."""
    base = calls.logp[precision]
    ratios = np.stack([c - base for c in likelihoods(calls).values()], axis=1)
    mixed = [call_products(ratios, share) for share in SHARES]
    return {
        "score": calls.drift[precision][:, None],
        "line-up": ratios,
        "routing": np.concatenate(mixed, axis=1),
    }


def call_products(ratios: Floats, share: float) -> Floats:
    """Return ``log(1 - share + share * LR)`` of each call, from the logarithms of the ratios."""
    return np.asarray(np.logaddexp(math.log1p(-share), math.log(share) + ratios))


def _log_product(ratios: Floats, share: float) -> float:
    return float(call_products(ratios, share).sum())


def _share(ratios: Floats) -> float:
    """Return the maximum-likelihood share; the likelihood is concave in it."""
    if not len(ratios):
        return 0.0
    found = minimize_scalar(
        lambda share: -_log_product(ratios, share), bounds=(1e-6, 1 - 1e-6), method="bounded"
    )
    return float(found.x)


_Derivatives = Callable[[float], tuple[float, float]]
Z95 = 1.959963984540054
STEPS = 60


@dataclass(frozen=True, slots=True)
class Temperature:
    """The maximum-likelihood temperature of the reference.

    Attributes:
        value: The temperature; an end of the known range if the likelihood grows beyond it.
        low, high: Its 95% interval; an end is ``None`` if it is outside of the known range.
        beta: 1 / value.
        standard_error: The standard error of ``beta``.
    """

    value: float
    low: float | None
    high: float | None
    beta: float
    standard_error: float


def effective_temperature(calls: CallTable, control: CallTable | None = None) -> Temperature | None:
    """Return the effective temperature; ``None`` if the texts do not determine it.

    The estimate uses Newton's method on beta. The interval is a Wald interval of beta, as
    temperatures.

    Args:
        calls: The texts.
        control: The control answers at temperature 1, which were encoded in the same way: their
            bias of the slope at 1 is subtracted, and its noise is added to the standard error.
    """
    total = calls.loglik.sum(axis=0)
    if not len(calls) or np.ptp(total) < 1e-9:
        return None
    lost, noise = _lost(calls, control)
    likelihood = Chebyshev.fit(
        np.log(BETAS), total, len(BETAS) - 1, [math.log(LOW), math.log(HIGH)]
    )
    slope, bend = likelihood.deriv(1), likelihood.deriv(2)  # in log beta

    def derivatives(beta: float) -> tuple[float, float]:
        at = math.log(beta)
        first = float(slope(at)) / beta
        return first - lost, (float(bend(at)) - float(slope(at))) / beta**2

    beta = _maximum(derivatives)
    information = -derivatives(beta)[1]
    if not information > 0:
        return None
    error = math.sqrt(information + noise) / information
    return Temperature(
        value=1 / beta,
        low=_temperature(beta + Z95 * error),
        high=_temperature(beta - Z95 * error),
        beta=beta,
        standard_error=error,
    )


def _lost(calls: CallTable, control: CallTable | None) -> tuple[float, float]:
    """Return the bias of the slope at beta = 1, and its variance."""
    if control is None or not len(control):
        return 0.0, 0.0
    name = control.reference
    scale = float(calls.tokens.sum() / control.tokens.sum())
    drift, variance = control.drift[name].sum(), control.variance[name].sum()
    return scale * float(drift), scale**2 * float(variance)


def _maximum(derivatives: _Derivatives) -> float:
    """Return the maximum by Newton's method from beta = 1, within the known change of sign."""
    low, high, beta = LOW, HIGH, 1.0
    for _ in range(STEPS):
        first, second = derivatives(beta)
        if first > 0:
            low = beta
        else:
            high = beta
        step = beta - first / second if second < 0 else (low + high) / 2
        if not low <= step <= high:
            step = (low + high) / 2
        if abs(step - beta) < 1e-10:
            return step
        beta = step
    return beta


def _temperature(beta: float) -> float | None:
    return 1 / beta if LOW <= beta <= HIGH else None
