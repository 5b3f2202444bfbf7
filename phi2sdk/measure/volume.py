"""What a day costs at a volume: the same price, from one summary a day to millions.

Requests are spread over the day at random (Poisson), and a machine serves them as fast as it was
measured to. Then:

- tokens and calls cost the same at any volume;
- a rented machine that is always on costs its 24 hours; one that scales to zero costs the time in
  which it is up. With arrivals at rate L, work of s seconds and idle time i, an arrival after
  silence starts it; it stays up while gaps are below t = s + i, on average (exp(L t) - 1)/L
  seconds (the busy period of an M/D/infinity queue), after its cold start;
- an owned machine costs its share of its life whether it works or not, and energy while it does.

As many machines are needed as the volume keeps busy, rounded up; the utilisation follows from the
volume, whatever utilisation a price states.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from phi2sdk.cost_models import Hourly, Owned
from phi2sdk.pricing import Price

__all__ = ["DAY", "machines", "usd_per_day"]

Floats = NDArray[np.float64]
DAY = 86400.0
_MOST = 50.0
"""exp(50) seconds is longer than any day: it never scales to zero."""


def machines(volume: Floats, seconds: Floats) -> Floats:
    """How many machines a volume keeps busy, at least one."""
    # A product of floats may lie a hair above the whole number that it is meant to be.
    return np.maximum(1.0, np.ceil(volume * seconds / DAY * (1 - 1e-12)))


def usd_per_day(price: Price, volume: Floats, token_usd: Floats, seconds: Floats) -> Floats:
    """US dollars a day.

    Args:
        price: Its machine time; what it says of tokens and calls is in ``token_usd``.
        volume: Acceptable summaries a day.
        token_usd: US dollars for tokens and calls, per acceptable summary.
        seconds: Machine time per acceptable summary.

    The arrays broadcast against each other.
    """
    total = volume * token_usd
    for part in price.parts:
        if isinstance(part, Hourly):
            total = total + _rented(part, volume, seconds)
        elif isinstance(part, Owned):
            total = total + _owned(part, volume, seconds)
    return total


def _rented(part: Hourly, volume: Floats, seconds: Floats) -> Floats:
    count = machines(volume, seconds)
    always_on = count * DAY
    if part.idle is None:
        up = always_on
    else:
        gap = DAY / volume
        load = np.minimum((seconds + part.idle) / gap, _MOST)
        session = part.cold_start + np.expm1(load) * gap
        # A started interval is billed whole: half of one more, on average.
        billed = np.maximum(session, part.minimum) + part.granularity / 2
        up = np.where(count > 1, always_on, np.minimum(1.0, billed / (session + gap)) * DAY)
    return up * part.usd_per_hour / 3600


def _owned(part: Owned, volume: Floats, seconds: Floats) -> Floats:
    count = machines(volume, seconds)
    busy = volume * seconds
    idle = np.maximum(0.0, count * DAY - busy)
    return (
        count * DAY * part.capital_per_second
        + busy * part.energy(part.watts)
        + idle * part.energy(part.idle_watts or 0.0)
    )
