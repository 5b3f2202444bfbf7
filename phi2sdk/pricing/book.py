"""The price book: published prices, each with its source and date.

The bundled ``prices.toml`` is a record, and prices go stale. Prices of your own are more reliable:
``[[prices]]``, ``[[devices]]`` and ``[[assumptions]]`` in ``phi2.toml`` have the same form, and
replace entries of the book with the same id.
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
"""An older price is marked as old wherever it is used."""

Currency = Literal["USD"]
Unit = Literal["hour", "1M tokens", "request", "device", "kWh"]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]


class Strict(BaseModel):
    """A frozen model that refuses undeclared fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Quote(Strict):
    """A published price.

    Attributes:
        id: What is priced, as ``provider/product[/direction]``.
        value: The price in ``currency`` per ``unit``.
        source: The publication of the price.
        date: The date when it was read.
        note: Further information.
        granularity: A machine is billed in started intervals of this many seconds; 0 bills exactly.
        historical: The price is kept for a published comparison and is never marked as old.
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
        """Return whether the price is too old to rely on."""
        return not self.historical and stale(self.date, today)


class Device(Strict):
    """The board power of a device in watts."""

    id: Text
    watts: Positive
    source: Text
    date: Date
    note: str = ""


class Assumption(Strict):
    """An assumption about owning a device, used if the user does not state the value."""

    field: Literal["life_years", "utilisation", "pue", "usd_per_kwh"]
    value: NonNegative
    unit: Text
    date: Date


class Claim(Strict):
    """A published statement about cost that a report is compared with. It is not a price.

    Attributes:
        id: The subject of the statement.
        value: The published number, in ``unit``.
        source: The publication.
        date: The date of the publication.
        note: The origin of the number.
    """

    id: Text
    value: Positive
    unit: Text
    source: Text
    date: Date
    note: str = ""


def stale(date: Date, today: Date) -> bool:
    """Return whether a price that was read on ``date`` is too old on ``today`` to rely on.

    >>> stale(Date(2026, 5, 19), Date(2026, 11, 20)), stale(Date(2026, 6, 1), Date(2026, 11, 20))
    (True, False)
    """
    return today - date > STALE_AFTER


class Entries(Strict):
    """The price book entries of a ``phi2.toml``."""

    prices: tuple[Quote, ...] = ()
    devices: tuple[Device, ...] = ()
    assumptions: tuple[Assumption, ...] = ()


class PriceBook(Strict):
    """All recorded prices, devices, assumptions and claims. Each id occurs once."""

    prices: tuple[Quote, ...]
    devices: tuple[Device, ...] = ()
    assumptions: tuple[Assumption, ...] = ()
    claims: tuple[Claim, ...] = ()

    def with_entries(self, own: Entries) -> Self:
        """Return this book with the entries of a user, which replace entries with the same id.

        Raises:
            ConfigurationError: An id occurs twice among the entries of the user.
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
        """Return the models with a price per token."""
        names = (q.id.rpartition("/")[0] for q in self.prices if q.unit == "1M tokens")
        return list(dict.fromkeys(names))

    def claim(self, id: str) -> Claim:
        """Return the claim with the id ``id``, which must exist."""
        return next(claim for claim in self.claims if claim.id == id)

    def quote(self, id: str, unit: Unit) -> Quote | None:
        """Return the price of ``id`` per ``unit``; ``None`` if it is not recorded."""
        return next((q for q in self.prices if q.id == id and q.unit == unit), None)

    def device(self, id: str) -> Device | None:
        """Return the device with the id ``id``; ``None`` if it is not recorded."""
        return next((device for device in self.devices if device.id == id), None)


@lru_cache(maxsize=1)
def price_book() -> PriceBook:
    """Return the bundled price book.

    Raises:
        ConfigurationError: An entry is wrong, or an id occurs twice.
    """
    return read_book(files("phi2sdk.pricing").joinpath("prices.toml").read_text(encoding="utf-8"))


def read_book(text: str) -> PriceBook:
    """Return a price book from its TOML.

    Raises:
        ConfigurationError: The text is not TOML, an entry is wrong, or an id occurs twice.
    """
    try:
        book = PriceBook.model_validate(parse_toml(text))
    except ValidationError as error:
        raise ConfigurationError(f"the price book is wrong: {first_mistake(error)}") from error
    except ValueError as error:
        raise ConfigurationError(f"the price book is not TOML: {error}") from error
    _refuse_doubles(book.prices, book.devices, whose="the price book")
    return book


def _refuse_doubles(*kinds: Sequence[Quote | Device], whose: str) -> None:
    for entries in kinds:
        ids = [entry.id for entry in entries]
        if double := sorted({id for id in ids if ids.count(id) > 1}):
            raise ConfigurationError(f"{whose} has {double[0]} twice")
