"""What requests cost: small cost models, and a book of prices with source and date.

Four models, which add up when several are given::

    per-token     input, output, cached; USD per 1M tokens
    per-request   USD per call
    hourly        USD per hour of a rented machine, by billing granularity
    owned         price / (life x utilisation) + watts x PUE x USD/kWh, per second

A price that is not known is ``None`` and stays ``None``: it never becomes 0. Each model names the
source and the date of its price, and both travel with every cost that it computes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - a field is called `date`
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, TypeAdapter, ValidationError

from phi2sdk.completion import Cost, Usage
from phi2sdk.errors import ConfigurationError
from phi2sdk.pricebook import (
    NonNegative,
    Positive,
    PriceBook,
    Strict,
    Text,
    first_mistake,
    price_book,
)

__all__ = [
    "Bill",
    "Hourly",
    "Owned",
    "PerRequest",
    "PerToken",
    "Price",
    "PriceTable",
    "cost_of",
    "resolve",
]

SECONDS_PER_YEAR = 365.25 * 24 * 3600


# --------------------------------------------------------------------------- the models


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
        minimum: At least so many seconds are billed.
    """

    model: Literal["hourly"] = "hourly"
    usd_per_hour: NonNegative = Field(validation_alias=AliasChoices("usd_per_hour", "usd"))
    granularity: NonNegative = 0.0
    minimum: NonNegative = 0.0

    def usd(self, bill: Bill) -> float | None:
        """US dollars for the seconds used, pro rata: the machine's time is shared by requests."""
        return None if bill.seconds is None else bill.seconds * self.usd_per_hour / 3600

    def rental(self, seconds: float) -> float:
        """US dollars for one rental of ``seconds``, rounded up to what is billed."""
        billed = max(seconds, self.minimum)
        if self.granularity:
            billed = math.ceil(billed / self.granularity * (1 - 1e-12)) * self.granularity
        return billed * self.usd_per_hour / 3600


class Owned(_Sourced):
    """A machine of one's own: its price over its useful life, and its energy.

    ``USD per second = price / (life x utilisation) + watts x PUE x USD_per_kWh / 3.6e6``

    Attributes:
        device_usd: What it cost.
        life_years: How long it is used.
        utilisation: The share of that time in which it does useful work.
        watts: Power while it works.
        pue: Power usage effectiveness of the room: total energy over the device's.
        usd_per_kwh: The price of energy.
    """

    model: Literal["owned"] = "owned"
    device_usd: NonNegative = Field(validation_alias=AliasChoices("device_usd", "usd"))
    life_years: Positive
    utilisation: Annotated[float, Field(gt=0, le=1)]
    watts: NonNegative
    pue: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1.0
    usd_per_kwh: NonNegative

    @property
    def usd_per_second(self) -> float:
        """US dollars for a second of useful work."""
        capital = self.device_usd / (self.life_years * SECONDS_PER_YEAR * self.utilisation)
        return capital + self.watts * self.pue * self.usd_per_kwh / 3.6e6

    def usd(self, bill: Bill) -> float | None:
        """US dollars for the seconds of useful work."""
        return None if bill.seconds is None else bill.seconds * self.usd_per_second


_Model = Annotated[PerToken | PerRequest | Hourly | Owned, Field(discriminator="model")]
_MODEL: TypeAdapter[PerToken | PerRequest | Hourly | Owned] = TypeAdapter(_Model)


class Price(Strict):
    """One or several models that add up.

    >>> resolve({"book": "together/phi-2"}).usd(Bill(input=200, output=60))
    2.6e-05
    """

    parts: Annotated[tuple[_Model, ...], Field(min_length=1)]

    def usd(self, bill: Bill) -> float | None:
        """US dollars for a bill; ``None`` as soon as one part cannot tell."""
        total = 0.0
        for part in self.parts:
            if (usd := part.usd(bill)) is None:
                return None
            total += usd
        return total

    def cost(self, usage: Usage, seconds: float | None) -> Cost | None:
        """The cost of one request; ``None`` where tokens or time that are charged are unknown.

        Args:
            usage: The tokens of the request.
            seconds: Machine time that it took.
        """
        counts = [c for c in (usage.input, usage.output_billed) if c is not None]
        bill = Bill(
            input=usage.input.value if usage.input else None,
            output=usage.output_billed.value if usage.output_billed else None,
            cached=usage.cached.value if usage.cached else 0,
            seconds=seconds,
            estimated=any(count.estimated for count in counts),
        )
        if (usd := self.usd(bill)) is None:
            return None
        return Cost(usd, self.source, self.date, self.name, bill.estimated and self.by_token)

    def reserved(self, bill: Bill, window: float) -> float | None:
        """The same with the machine paid for the whole ``window`` (seconds), idle or not.

        ``None`` where no part is paid by time. An owned machine's idle time is in its stated
        utilisation already.
        """
        if not any(isinstance(part, Hourly) for part in self.parts):
            return None
        others = tuple(part for part in self.parts if not isinstance(part, Hourly))
        usd = Price(parts=others).usd(bill) if others else 0.0
        if usd is None:
            return None
        return usd + sum(part.rental(window) for part in self.parts if isinstance(part, Hourly))

    @property
    def by_time(self) -> bool:
        """Whether machine time is part of the price."""
        return any(isinstance(part, Hourly | Owned) for part in self.parts)

    @property
    def by_token(self) -> bool:
        """Whether tokens are part of the price."""
        return any(isinstance(part, PerToken) for part in self.parts)

    @property
    def name(self) -> str:
        """The models' names, joined."""
        return " + ".join(part.model for part in self.parts)

    @property
    def source(self) -> str:
        """Where the prices were read."""
        return "; ".join(dict.fromkeys(part.source for part in self.parts))

    @property
    def date(self) -> str:
        """The date of the oldest price (ISO)."""
        return min(part.date for part in self.parts).isoformat()


def cost_of(price: Price | None, usage: Usage, seconds: float | None) -> Cost | None:
    """:meth:`Price.cost`, or ``None`` where the price is unknown."""
    return None if price is None else price.cost(usage, seconds)


# --------------------------------------------------------------------------- from configuration


PriceTable = dict[str, Any] | list[dict[str, Any]]
"""``price`` as it stands in ``phi2.toml``: one table, or several that add up."""


def resolve(
    table: Mapping[str, Any] | Sequence[Mapping[str, Any]], book: PriceBook | None = None
) -> Price:
    """A price as it stands under ``price`` in ``phi2.toml``.

    ::

        price = { book = "together/phi-2" }
        price = { model = "hourly", usd = 3.673, source = "...", date = "2026-11-01" }
        price = { model = "owned", device = "H200", utilisation = 0.3, usd_per_kwh = 0.2 }

    A list of such tables adds up. ``book`` takes value, source and date from ``prices.toml``.
    An owned device takes from there what is not given; the source then says what was assumed.

    Raises:
        ConfigurationError: Something is missing or wrong, or the book has no such entry.
    """
    tables: Iterable[Mapping[str, Any]] = [table] if isinstance(table, Mapping) else table
    book = book or price_book()
    parts = []
    for one in tables:
        try:
            parts.append(_MODEL.validate_python(_complete(dict(one), book)))
        except ValidationError as error:
            raise ConfigurationError(f"price: {first_mistake(error)}") from error
    if not parts:
        raise ConfigurationError("price: the list is empty; leave it out if the price is unknown")
    return Price(parts=tuple(parts))


def _complete(table: dict[str, Any], book: PriceBook) -> dict[str, Any]:
    """A table with what the book knows filled in."""
    if (currency := table.pop("currency", "USD")) != "USD":
        raise ConfigurationError(
            f"price: currency {currency!r}: costs are added up and compared in USD only; "
            "convert it, and say so in the source"
        )
    if (id := table.pop("book", None)) is not None:
        return {**_from_book(str(id), book), **table}
    if table.get("model") == "owned":
        return _owned_from_book(table, book)
    return table


def _from_book(id: str, book: PriceBook) -> dict[str, Any]:
    if hour := book.quote(id, "hour"):
        return {
            "model": "hourly",
            "usd_per_hour": hour.value,
            "granularity": hour.granularity,
            "source": f"{hour.source} ({id})",
            "date": hour.date,
        }
    input, output = book.quote(f"{id}/input", "1M tokens"), book.quote(f"{id}/output", "1M tokens")
    if input is None or output is None:
        known = sorted({q.id.removesuffix("/input").removesuffix("/output") for q in book.prices})
        raise ConfigurationError(f"the price book has no {id!r}; it has {', '.join(known)}")
    return {
        "model": "per-token",
        "input": input.value,
        "output": output.value,
        "source": f"{input.source} ({id})",
        "date": min(input.date, output.date),
    }


def _owned_from_book(table: dict[str, Any], book: PriceBook) -> dict[str, Any]:
    """What a user does not say about an owned device, from the book; assumptions are named."""
    sources = [str(table["source"])] if "source" in table else []
    dates = []
    filled = dict(table)
    if (name := filled.pop("device", None)) is not None:
        device, quote = book.device(str(name)), book.quote(f"device/{name}", "device")
        if device is None:
            known = ", ".join(d.id for d in book.devices)
            raise ConfigurationError(f"the price book has no device {name!r}; it has {known}")
        filled.setdefault("watts", device.watts)
        if quote is not None and "usd" not in filled:
            filled["usd"] = quote.value
            sources.append(f"{quote.source} ({name})")
        dates.append(quote.date if quote else device.date)
    assumed = []
    for assumption in book.assumptions:
        if assumption.field not in filled:
            filled[assumption.field] = assumption.value
            assumed.append(f"{assumption.field} {assumption.value:g}")
            dates.append(assumption.date)
    if assumed:
        sources.append(f"assumed: {', '.join(assumed)}")
    if dates:
        filled.setdefault("date", min(dates))
    return {**filled, "source": "; ".join(sources)} if sources else filled
