"""The price book: what has been published, by whom, and when it was read."""

from __future__ import annotations

import tomllib
from datetime import date as Date  # noqa: N812 - a field is called `date`
from functools import lru_cache
from importlib.resources import files
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from phi2sdk.errors import ConfigurationError

__all__ = ["Assumption", "Device", "PriceBook", "Quote", "first_mistake", "price_book", "read_book"]

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
    """

    id: Text
    value: NonNegative
    currency: Currency
    unit: Unit
    granularity: NonNegative = 0.0
    source: Text
    date: Date
    note: str = ""


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


class PriceBook(Strict):
    """All recorded prices and devices, each id once."""

    prices: tuple[Quote, ...]
    devices: tuple[Device, ...] = ()
    assumptions: tuple[Assumption, ...] = ()

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
    return read_book(files("phi2sdk").joinpath("prices.toml").read_text(encoding="utf-8"))


def read_book(text: str) -> PriceBook:
    """A price book from TOML.

    Raises:
        ConfigurationError: It is no TOML, an entry is wrong, or an id stands there twice.
    """
    try:
        book = PriceBook.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the price book is no TOML: {error}") from error
    except ValidationError as error:
        raise ConfigurationError(f"the price book is wrong: {first_mistake(error)}") from error
    for ids in ([q.id for q in book.prices], [d.id for d in book.devices]):
        if double := sorted({id for id in ids if ids.count(id) > 1}):
            raise ConfigurationError(f"the price book has {double[0]} twice")
    return book


def first_mistake(error: ValidationError) -> str:
    """The first mistake, in one line."""
    detail = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(str(step) for step in detail["loc"])
    return f"{where}: {detail['msg']}" if where else str(detail["msg"])
