"""Four small cost models, each a price with its source and date.

::

    per-token     input, output, cached; USD per 1M tokens
    per-request   USD per call
    hourly        USD per hour of a rented machine
    owned         price / (life x utilisation) + watts x PUE x USD/kWh, per second

Each answers one question, :meth:`usd` of a :class:`Bill`, with ``None`` where the bill lacks what
it charges for. :class:`phi2sdk.pricing.price.Price` adds several up.
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
    """What is charged for: tokens, calls, seconds. ``None`` where nothing is known.

    Attributes:
        input, output, cached: Tokens; ``cached`` are those of ``input`` from a cache.
        requests: Calls over the wire.
        seconds: Machine time.
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
    """USD per 1M tokens. ``cached`` input costs as other input where it has no price."""

    model: Literal["per-token"] = "per-token"
    input: NonNegative
    output: NonNegative
    cached: NonNegative | None = None

    def usd(self, bill: Bill) -> float | None:
        """US dollars for a bill; ``None`` where its tokens are not known."""
        if bill.input is None or bill.output is None:
            return None
        cached = min(bill.cached, bill.input)
        cached_price = self.input if self.cached is None else self.cached
        fresh = (bill.input - cached) * self.input
        return (fresh + cached * cached_price + bill.output * self.output) / 1e6

    def ceiling(self, bill: Bill) -> float | None:
        """The same with every input token at the dearer of its two prices."""
        dearest = self.model_copy(update={"input": max(self.input, self.cached or 0.0)})
        return dearest.model_copy(update={"cached": None}).usd(bill)


class PerRequest(_Sourced):
    """USD per call, failed ones included."""

    model: Literal["per-request"] = "per-request"
    usd_per_request: NonNegative = Field(validation_alias=AliasChoices("usd_per_request", "usd"))

    def usd(self, bill: Bill) -> float | None:
        """US dollars for a bill."""
        return bill.requests * self.usd_per_request


class Hourly(_Sourced):
    """USD per hour of a rented machine.

    Attributes:
        usd_per_hour: The price of an hour.
        granularity: A started interval of so many seconds is billed whole; 0 bills exactly.
        minimum: At least so many seconds are billed for a rental.
        idle: Seconds without a request after which it scales to zero; they are billed.
            ``None``: it is never let go.
        cold_start: Seconds until it answers after it was let go; they are billed.
        utilisation: The share of its hours in which it is thought to work. 1 charges a request
            for the seconds it used and nothing else.
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
        """US dollars for a second of work, idle time at the stated utilisation included."""
        return self.usd_per_hour / 3600 / self.utilisation

    def usd(self, bill: Bill) -> float | None:
        """US dollars for the seconds used, pro rata: the machine's time is shared by requests."""
        return None if bill.seconds is None else bill.seconds * self.usd_per_second

    def billed_seconds(self, seconds: float) -> float:
        """What one rental is billed for, when it had work for ``seconds``.

        Its cold start comes before, its idle time after them where it scales to zero; then the
        minimum holds, and what is started is billed whole.
        """
        billed = max(self.cold_start + seconds + (self.idle or 0.0), self.minimum)
        started = billed / self.granularity if self.granularity else 0.0
        # Intervals so short that a float cannot count them round nothing.
        if 0 < started < 2**53:
            billed = max(billed, math.ceil(started * (1 - 1e-12)) * self.granularity)
        return billed

    def rental(self, seconds: float) -> float:
        """US dollars for one rental with work for ``seconds``; see :meth:`billed_seconds`."""
        return self.billed_seconds(seconds) * self.usd_per_hour / 3600


class Owned(_Sourced):
    """A machine of one's own: its price over its useful life, and its energy.

    ``USD per second = price / (life x utilisation) + watts x PUE x USD_per_kWh / 3.6e6``

    Attributes:
        device_usd: What it cost.
        life_years: How long it is used.
        utilisation: The share of that time in which it does useful work.
        watts: Power while it works.
        watts_measured: The device told its power while it worked; else it is stated.
        idle_watts: Power while it waits; ``None``: not counted.
        pue: Power usage effectiveness of the room: total energy over the device's.
        usd_per_kwh: The price of energy.
    """

    model: Literal["owned"] = "owned"
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
        """US dollars for a second of its life, whatever it does in it."""
        return self.device_usd / (self.life_years * SECONDS_PER_YEAR)

    def energy(self, watts: float) -> float:
        """US dollars for a second at so many watts."""
        return watts * self.pue * self.usd_per_kwh / _JOULE_PER_KWH

    @property
    def usd_per_second(self) -> float:
        """US dollars for a second of useful work, idle time at the stated utilisation included."""
        idle_per_busy = (1 - self.utilisation) / self.utilisation
        return (
            self.capital_per_second / self.utilisation
            + self.energy(self.watts)
            + self.energy(self.idle_watts or 0.0) * idle_per_busy
        )

    def usd(self, bill: Bill) -> float | None:
        """US dollars for the seconds of useful work."""
        return None if bill.seconds is None else bill.seconds * self.usd_per_second

    def measured(self, watts: float) -> Self:
        """The same with the power that the device told while it worked."""
        return self.model_copy(
            update={
                "watts": watts,
                "watts_measured": True,
                "source": f"{self.source}; {watts:.0f} W measured",
            }
        )


Model = Annotated[PerToken | PerRequest | Hourly | Owned, Field(discriminator="model")]
"""Any of the four, told apart by ``model``."""
