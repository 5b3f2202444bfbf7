"""The cost of requests: prices are sums of cost models, with their sources and dates.

:mod:`phi2sdk.pricing.models` defines the cost models. An unknown price is ``None`` and is never
treated as 0. Each cost carries the source and the date of its prices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date as Date  # noqa: N812 - a field is called `date`
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from phi2sdk.completion import Cost, Usage
from phi2sdk.errors import ConfigurationError
from phi2sdk.parsing import first_mistake
from phi2sdk.pricing import genai_prices as genai_source
from phi2sdk.pricing.book import PriceBook, Strict, price_book, stale
from phi2sdk.pricing.models import Bill, Hourly, Model, Owned, PerRequest, PerToken

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

_Part = PerToken | PerRequest | Hourly | Owned
_MODEL: TypeAdapter[_Part] = TypeAdapter(Model)


class Price(Strict):
    """The sum of one or several cost models.

    >>> resolve({"book": "together/phi-2"}).usd(Bill(input=200, output=60))
    2.6e-05
    """

    parts: Annotated[tuple[Model, ...], Field(min_length=1)]

    def usd(self, bill: Bill) -> float | None:
        """Return the cost of a bill in US dollars; ``None`` if one part of it is unknown.

        Machine time is charged per second of work, with its share of idle time.
        """
        return self._sum(self.parts, lambda part: part.usd(bill))

    def token_priced(self, bill: Bill) -> float | None:
        """Return the cost of tokens and calls alone; ``None`` if the price has neither."""
        chosen = [part for part in self.parts if isinstance(part, PerToken | PerRequest)]
        return self._sum(chosen, lambda part: part.usd(bill)) if chosen else None

    def busy(self, bill: Bill) -> float | None:
        """Return the cost without idle time of machines; ``None`` without a price for time."""
        working = self.working()
        return None if working is None else working.usd(bill)

    def working(self) -> Price | None:
        """Return the price without idle time of machines; ``None`` without a price for time."""
        if not self.by_time:
            return None
        full = tuple(
            part.model_copy(update={"utilisation": 1.0})
            if isinstance(part, Hourly | Owned)
            else part
            for part in self.parts
        )
        return self.model_copy(update={"parts": full})

    def reserved(self, bill: Bill, window: float | None) -> float | None:
        """Return the cost with the idle time of machines; ``None`` without a price for time.

        A rented machine is paid for the whole ``window`` in seconds, as one rental. A rented
        machine with a utilization below 1, and an owned machine, are paid for their share of idle
        time. The result is also ``None`` if a window is needed and unknown.
        """
        if not self.by_time:
            return None

        def one(part: _Part) -> float | None:
            if not isinstance(part, Hourly) or part.utilisation < 1:
                return part.usd(bill)
            return None if window is None else part.rental(window)

        return self._sum(self.parts, one)

    def ceiling(self, bill: Bill) -> float | None:
        """Return the maximum cost of a bill, with no token at the price of cached tokens."""
        return self._sum(
            self.parts,
            lambda part: part.ceiling(bill) if isinstance(part, PerToken) else part.usd(bill),
        )

    @staticmethod
    def _sum(parts: Iterable[_Part], usd: Callable[[_Part], float | None]) -> float | None:
        total = 0.0
        for part in parts:
            if (one := usd(part)) is None:
                return None
            total += one
        return total

    def cost(self, usage: Usage, seconds: float | None) -> Cost | None:
        """Return the cost of one request; ``None`` if a charged quantity is unknown.

        Args:
            usage: The tokens of the request.
            seconds: The machine time of the request in seconds.
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

    @property
    def by_time(self) -> bool:
        """Return whether machine time is part of the price."""
        return any(isinstance(part, Hourly | Owned) for part in self.parts)

    @property
    def by_token(self) -> bool:
        """Return whether tokens are part of the price."""
        return any(isinstance(part, PerToken) for part in self.parts)

    @property
    def name(self) -> str:
        """Return the names of the cost models, joined by ``+``."""
        return " + ".join(part.model for part in self.parts)

    @property
    def source(self) -> str:
        """Return the sources of the prices."""
        return "; ".join(dict.fromkeys(part.source for part in self.parts))

    @property
    def date(self) -> str:
        """Return the date of the oldest price in ISO format."""
        return min(part.date for part in self.parts).isoformat()

    def stale(self, today: Date) -> bool:
        """Return whether one of the prices is too old to rely on (see the price book)."""
        return any(stale(part.date, today) for part in self.parts)

    def measured(self, watts: float) -> Price:
        """Return the price with the measured power of an owned device."""
        parts = (p.measured(watts) if isinstance(p, Owned) else p for p in self.parts)
        return Price(parts=tuple(parts))


def cost_of(price: Price | None, usage: Usage, seconds: float | None) -> Cost | None:
    """Return the cost of one request (:meth:`Price.cost`); ``None`` if the price is unknown."""
    return None if price is None else price.cost(usage, seconds)


# --------------------------------------------------------------------------- from configuration


PriceTable = dict[str, Any] | list[dict[str, Any]]
"""The value of ``price`` in ``phi2.toml``: one table, or several tables that add up."""


def resolve(
    table: Mapping[str, Any] | Sequence[Mapping[str, Any]], book: PriceBook | None = None
) -> Price:
    """Return the price of a ``price`` table of ``phi2.toml``.

    ::

        price = { book = "together/phi-2" }
        price = { model = "hourly", usd = 3.673, source = "...", date = "2026-11-01" }
        price = { model = "owned", device = "H200", utilisation = 0.3, usd_per_kwh = 0.2 }
        price = { book = "hf/aws-t4", idle = 900, cold_start = 60 }
        price = { book = "genai-prices:openai/gpt-4o" }

    The prices of a list of tables add up. ``book`` takes value, source and date from the price book
    or from the package genai-prices; other keys of the table replace them. The missing values of an
    owned device come from the price book, and the source names the assumptions.

    Raises:
        ConfigurationError: A value is missing or wrong, or the book has no such entry.
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
    """Return a table with the values of the price book filled in."""
    if (currency := table.pop("currency", "USD")) != "USD":
        raise ConfigurationError(
            f"price: the currency is {currency!r}, and costs are computed in USD only: convert the "
            "price to USD, and name the exchange rate in the source"
        )
    if (id := table.pop("book", None)) is not None:
        found = genai_source.token_price(str(id)) or _from_book(str(id), book)
        return {**found, **table}
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
        known = [*(q.id for q in book.prices if q.unit == "hour"), *book.models()]
        near = ", ".join(get_close_matches(id, known, n=2))
        similar = f" Similar entries: {near}." if near else ""
        raise ConfigurationError(
            f"the price book has no {id!r}.{similar} Run `phi2 prices` to list its entries"
        )
    quotes = [input, output]
    found: dict[str, Any] = {"model": "per-token", "input": input.value, "output": output.value}
    if cached := book.quote(f"{id}/cached", "1M tokens"):
        found["cached"] = cached.value
        quotes.append(cached)
    sources = "; ".join(dict.fromkeys(quote.source for quote in quotes))
    return {**found, "source": f"{sources} ({id})", "date": min(q.date for q in quotes)}


def _owned_from_book(table: dict[str, Any], book: PriceBook) -> dict[str, Any]:
    """Return the table of an owned device with missing values from the book, and their source."""
    sources = [str(table["source"])] if "source" in table else []
    dates = []
    filled = dict(table)
    if (name := filled.get("device")) is not None:
        device, quote = book.device(str(name)), book.quote(f"device/{name}", "device")
        if device is None:
            known = ", ".join(d.id for d in book.devices)
            raise ConfigurationError(f"the price book has no device {name!r}. Use one of {known}")
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
