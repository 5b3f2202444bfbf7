"""The price book: what has been published, by whom, and when it was read.

The bundled ``prices.toml`` is a record, not an oracle: prices go stale, and your own are always
better. Entries of your own stand in ``phi2.toml`` under ``[[prices]]`` (and ``[[devices]]``,
``[[assumptions]]``), in the same form; one with an id of the book takes its place.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date as Date  # noqa: N812 - a field is called `date`
from datetime import timedelta
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phi2sdk.errors import ConfigurationError
from phi2sdk.parsing import first_mistake, parse_toml

__all__ = [
    "STALE_AFTER",
    "Assumption",
    "Claim",
    "Device",
    "Entries",
    "PriceBook",
    "Quote",
    "price_book",
    "read_book",
    "stale",
]

STALE_AFTER = timedelta(days=180)
"""A price that was read longer ago than this is marked wherever it is used."""

Currency = Literal["USD"]
Unit = Literal["hour", "1M tokens", "request", "device", "kWh"]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class Strict(BaseModel):
    """Frozen, and nothing in it that is not declared."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Quote(Strict):
    """One price as somebody published it.

    Attributes:
        id: What it is for, ``provider/what[/direction]``.
        value: How much, in ``currency`` per ``unit``.
        source: Where it was read; date: when.
        note: What else there is to know.
        granularity: A machine is billed in started intervals of so many seconds; 0: exactly.
        historical: It is kept as it was, for what it was compared with; it cannot go stale.
    """

    id: Text
    value: NonNegative
    currency: Currency
    unit: Unit
    granularity: NonNegative = 0.0
    source: Text
    date: Date
    note: str = ""
    historical: bool = False

    def stale(self, today: Date) -> bool:
        """Whether it was read too long ago to rely on."""
        return not self.historical and stale(self.date, today)


class Device(Strict):
    """A device's board power in watts."""

    id: Text
    watts: Positive
    source: Text
    date: Date
    note: str = ""


class Assumption(Strict):
    """What is assumed about owning a device where the user does not say it. No quotation."""

    field: Literal["life_years", "utilisation", "pue", "usd_per_kwh"]
    value: NonNegative
    unit: Text
    date: Date


class Claim(Strict):
    """A published statement about cost that a report is held against. No price.

    Attributes:
        id: What it is about.
        value: The number that was published, in ``unit``.
        source: Where; date: when.
        note: What it can be traced to.
    """

    id: Text
    value: Positive
    unit: Text
    source: Text
    date: Date
    note: str = ""


def stale(date: Date, today: Date) -> bool:
    """Whether something that was read on ``date`` is too old on ``today`` to rely on.

    >>> stale(Date(2026, 5, 19), Date(2026, 11, 20)), stale(Date(2026, 6, 1), Date(2026, 11, 20))
    (True, False)
    """
    return today - date > STALE_AFTER


class Entries(Strict):
    """Entries of one's own, as they stand in ``phi2.toml``."""

    prices: tuple[Quote, ...] = ()
    devices: tuple[Device, ...] = ()
    assumptions: tuple[Assumption, ...] = ()


class PriceBook(Strict):
    """All recorded prices and devices, each id once."""

    prices: tuple[Quote, ...]
    devices: tuple[Device, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    claims: tuple[Claim, ...] = ()

    def with_entries(self, own: Entries) -> Self:
        """This book with one's own entries in place of its own, or after them.

        Raises:
            ConfigurationError: An id stands twice among one's own.
        """
        _refuse_doubles(own.prices, own.devices, whose="phi2.toml")
        prices = {quote.id: quote for quote in (*self.prices, *own.prices)}
        devices = {device.id: device for device in (*self.devices, *own.devices)}
        assumptions = {one.field: one for one in (*self.assumptions, *own.assumptions)}
        return self.model_copy(
            update={
                "prices": tuple(prices.values()),
                "devices": tuple(devices.values()),
                "assumptions": tuple(assumptions.values()),
            }
        )

    def models(self) -> list[str]:
        """What has a price per token, without its direction."""
        names = (q.id.rpartition("/")[0] for q in self.prices if q.unit == "1M tokens")
        return list(dict.fromkeys(names))

    def claim(self, id: str) -> Claim:
        """The claim called ``id``, which must be recorded."""
        return next(claim for claim in self.claims if claim.id == id)

    def quote(self, id: str, unit: Unit) -> Quote | None:
        """The price of ``id`` per ``unit``, ``None`` if it is not recorded."""
        return next((q for q in self.prices if q.id == id and q.unit == unit), None)

    def device(self, id: str) -> Device | None:
        """The device called ``id``, ``None`` if it is not recorded."""
        return next((device for device in self.devices if device.id == id), None)


@lru_cache(maxsize=1)
def price_book() -> PriceBook:
    """The bundled ``prices.toml``, validated.

    Raises:
        ConfigurationError: An entry is wrong, or an id stands there twice.
    """
    return read_book(files("phi2sdk.pricing").joinpath("prices.toml").read_text(encoding="utf-8"))


def read_book(text: str) -> PriceBook:
    """A price book from TOML.

    Raises:
        ConfigurationError: It is no TOML, an entry is wrong, or an id stands there twice.
    """
    try:
        book = PriceBook.model_validate(parse_toml(text))
    except ValidationError as error:
        raise ConfigurationError(f"the price book is wrong: {first_mistake(error)}") from error
    except ValueError as error:
        raise ConfigurationError(f"the price book is no TOML: {error}") from error
    _refuse_doubles(book.prices, book.devices, whose="the price book")
    return book


def _refuse_doubles(*kinds: Sequence[Quote | Device], whose: str) -> None:
    for entries in kinds:
        ids = [entry.id for entry in entries]
        if double := sorted({id for id in ids if ids.count(id) > 1}):
            raise ConfigurationError(f"{whose} has {double[0]} twice")
