"""Four cost models, each a price with its source and date.

::

    per-token     input, output, cached; USD per 1M tokens
    per-request   USD per call
    hourly        USD per hour of a rented machine
    owned         price / (life x utilization) + watts x PUE x USD/kWh, per second

:meth:`usd` of each model returns the cost of a :class:`Bill`, or ``None`` if the bill lacks a
quantity that the model charges for. :class:`phi2sdk.pricing.price.Price` adds several models up.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - a field is called `date`
from typing import Annotated, Literal, Self

from pydantic import AliasChoices, Field

from phi2sdk.pricing.book import NonNegative, Positive, Strict, Text

__all__ = ["SECONDS_PER_YEAR", "Bill", "Hourly", "Model", "Owned", "PerRequest", "PerToken"]

SECONDS_PER_YEAR = 365.25 * 24 * 3600
_JOULE_PER_KWH = 3.6e6
_Share = Annotated[float, Field(gt=0, le=1)]


@dataclass(frozen=True, slots=True)
class Bill:
    """The quantities that a price charges for; ``None`` for unknown quantities.

    Attributes:
        input, output, cached: Tokens; ``cached`` are the tokens of ``input`` from a cache.
        requests: Calls to the provider.
        seconds: Machine time in seconds.
        estimated: Whether a token count is an estimate.
    """

    input: float | None = None
    output: float | None = None
    cached: float = 0.0
    requests: float = 1.0
    seconds: float | None = None
    estimated: bool = False


class _Sourced(Strict):
    source: Text
    date: Date


class PerToken(_Sourced):
    """USD per 1M tokens. Without a price for ``cached`` input, it costs the same as other input."""

    model: Literal["per-token"] = "per-token"
    input: NonNegative
    output: NonNegative
    cached: NonNegative | None = None

    def usd(self, bill: Bill) -> float | None:
        """Return the cost of a bill in US dollars; ``None`` if its tokens are unknown."""
        if bill.input is None or bill.output is None:
            return None
        cached = min(bill.cached, bill.input)
        cached_price = self.input if self.cached is None else self.cached
        fresh = (bill.input - cached) * self.input
        return (fresh + cached * cached_price + bill.output * self.output) / 1e6

    def ceiling(self, bill: Bill) -> float | None:
        """Return the cost with every input token at the higher of its two prices."""
        dearest = self.model_copy(update={"input": max(self.input, self.cached or 0.0)})
        return dearest.model_copy(update={"cached": None}).usd(bill)


class PerRequest(_Sourced):
    """USD per call. Failed calls are charged too."""

    model: Literal["per-request"] = "per-request"
    usd_per_request: NonNegative = Field(validation_alias=AliasChoices("usd_per_request", "usd"))

    def usd(self, bill: Bill) -> float | None:
        """Return the cost of a bill in US dollars."""
        return bill.requests * self.usd_per_request


class Hourly(_Sourced):
    """USD per hour of a rented machine.

    Attributes:
        usd_per_hour: The price of an hour.
        granularity: Each started interval of this many seconds is billed completely; 0 bills
            exactly.
        minimum: Minimum number of seconds that are billed for a rental.
        idle: Seconds without a request until the machine scales to zero; they are billed.
            ``None`` if it never scales to zero.
        cold_start: Seconds until the machine answers after it scaled to zero; they are billed.
        utilisation: The share of its hours in which the machine works. With 1, a request is charged
            only for the seconds that it used.
    """

    model: Literal["hourly"] = "hourly"
    usd_per_hour: NonNegative = Field(validation_alias=AliasChoices("usd_per_hour", "usd"))
    granularity: NonNegative = 0.0
    minimum: NonNegative = 0.0
    idle: NonNegative | None = None
    cold_start: NonNegative = 0.0
    utilisation: _Share = 1.0

    @property
    def usd_per_second(self) -> float:
        """Return the cost of a second of work in US dollars, with its share of idle time."""
        return self.usd_per_hour / 3600 / self.utilisation

    def usd(self, bill: Bill) -> float | None:
        """Return the cost of the seconds that were used, since requests share the machine."""
        return None if bill.seconds is None else bill.seconds * self.usd_per_second

    def billed_seconds(self, seconds: float) -> float:
        """Return the seconds that are billed for a rental with work for ``seconds``.

        They include the cold start and, if the machine scales to zero, the idle time. The minimum
        applies next, and the last started interval is billed completely.
        """
        billed = max(self.cold_start + seconds + (self.idle or 0.0), self.minimum)
        started = billed / self.granularity if self.granularity else 0.0
        # Intervals that are too short for a float to count are not rounded.
        if 0 < started < 2**53:
            billed = max(billed, math.ceil(started * (1 - 1e-12)) * self.granularity)
        return billed

    def rental(self, seconds: float) -> float:
        """Return the cost of a rental with work for ``seconds``; see :meth:`billed_seconds`."""
        return self.billed_seconds(seconds) * self.usd_per_hour / 3600


class Owned(_Sourced):
    """An owned machine: its purchase price over its useful life, and its energy.

    ``USD per second = price / (life x utilization) + watts x PUE x USD_per_kWh / 3.6e6``

    Attributes:
        device: The name of the device in the price book; ``None`` if none is named.
        device_usd: The purchase price.
        life_years: The useful life in years.
        utilisation: The share of the useful life in which the machine works.
        watts: Power during work.
        watts_measured: Whether the power was measured by the device; otherwise it is stated.
        idle_watts: Power while idle; ``None`` if it is not counted.
        pue: Power usage effectiveness of the data center: total energy over device energy.
        usd_per_kwh: The price of energy.
    """

    model: Literal["owned"] = "owned"
    device: Text | None = None
    device_usd: NonNegative = Field(validation_alias=AliasChoices("device_usd", "usd"))
    life_years: Positive
    utilisation: _Share
    watts: NonNegative
    watts_measured: bool = False
    idle_watts: NonNegative | None = None
    pue: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    usd_per_kwh: NonNegative

    @property
    def capital_per_second(self) -> float:
        """Return the share of the purchase price for one second, in US dollars."""
        return self.device_usd / (self.life_years * SECONDS_PER_YEAR)

    def energy(self, watts: float) -> float:
        """Return the cost of the energy for one second at ``watts``, in US dollars."""
        return watts * self.pue * self.usd_per_kwh / _JOULE_PER_KWH

    @property
    def usd_per_second(self) -> float:
        """Return the cost of a second of work in US dollars, with its share of idle time."""
        idle_per_busy = (1 - self.utilisation) / self.utilisation
        return (
            self.capital_per_second / self.utilisation
            + self.energy(self.watts)
            + self.energy(self.idle_watts or 0.0) * idle_per_busy
        )

    def usd(self, bill: Bill) -> float | None:
        """Return the cost of the seconds of work in US dollars; ``None`` if they are unknown."""
        return None if bill.seconds is None else bill.seconds * self.usd_per_second

    def measured(self, watts: float) -> Self:
        """Return the same price with the power that the device measured during work."""
        return self.model_copy(
            update={
                "watts": watts,
                "watts_measured": True,
                "source": f"{self.source}; {watts:.0f} W measured",
            }
        )


Model = Annotated[PerToken | PerRequest | Hourly | Owned, Field(discriminator="model")]
"""Any of the four models; the field ``model`` distinguishes them."""
