"""At which temperature would the reference have written these texts?

The likelihood of the inverse temperature beta is an exponential family: its second derivative does
not depend on the tokens that were drawn, so the observed information is the expected one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.polynomial import Chebyshev

from phi2sdk.measure.identity.table import BETAS, HIGH, LOW, CallTable

__all__ = ["Temperature", "effective_temperature"]

_Derivatives = Callable[[float], tuple[float, float]]
Z95 = 1.959963984540054
STEPS = 60


@dataclass(frozen=True, slots=True)
class Temperature:
    """The maximum-likelihood temperature of the reference.

    Attributes:
        value: The temperature; at an end of the known range where the likelihood grows beyond it.
        low, high: Its 95 % interval; an end is ``None`` where it lies outside of that range.
        beta: 1 / value.
        standard_error: Of ``beta``.
    """

    value: float
    low: float | None
    high: float | None
    beta: float
    standard_error: float


def effective_temperature(calls: CallTable, control: CallTable | None = None) -> Temperature | None:
    """Newton's method on beta; ``None`` where the texts say nothing about it.

    The interval is Wald's in beta, turned into temperatures.

    Args:
        calls: The texts.
        control: The reference's own at temperature 1, which went the same way through text and
            back: what the slope at 1 loses a token on that way is put back, and its noise counted.
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
    """What the slope at beta = 1 is off by, and the variance of that."""
    if control is None or not len(control):
        return 0.0, 0.0
    name = control.reference
    scale = float(calls.tokens.sum() / control.tokens.sum())
    drift, variance = control.drift[name].sum(), control.variance[name].sum()
    return scale * float(drift), scale**2 * float(variance)


def _maximum(derivatives: _Derivatives) -> float:
    """Newton from beta = 1, kept between the points where the slope is known to change sign."""
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
