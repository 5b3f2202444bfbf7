"""``phi2 prices``: the price book with one's own entries, and whether it can be relied on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date as Date  # noqa: N812 - a field is called `date`
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from phi2sdk.cli.errors import DONE, REQUIREMENT_FAILS
from phi2sdk.cli.output import print_json
from phi2sdk.config.lookup import load_book, own_prices
from phi2sdk.errors import ConfigurationError
from phi2sdk.pricing import genai_prices as genai_source
from phi2sdk.pricing.book import STALE_AFTER, PriceBook, Quote
from phi2sdk.text import for_terminal

__all__ = ["against_genai_prices", "prices"]


def prices(
    pattern: Annotated[
        str, typer.Argument(help="Only entries whose id holds this.", show_default=False)
    ] = "",
    config: Annotated[
        Path | None,
        typer.Option("--config", help="The configuration; phi2.toml here by default."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Status 1 if an entry is too old, or differs from genai-prices."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the prices as JSON.")] = False,
) -> None:
    """List the prices that this package knows, yours over its own, and check them.

    Exit status:

    - 0: listed

    - 1: with --check, a price is old or differs

    - 2: bad usage or configuration
    """
    book, own = load_book(config), {quote.id for quote in own_prices(config).prices}
    shown = [quote for quote in book.prices if pattern in quote.id]
    if not shown:
        raise ConfigurationError(f"the price book has nothing with {pattern!r} in its id")
    today = Date.today()
    old = [quote.id for quote in shown if quote.stale(today)]
    if json:
        differences = _print_json(shown, own, old, list(against_genai_prices(book, pattern)))
        raise typer.Exit(REQUIREMENT_FAILS if check and (old or differences) else DONE)
    console = Console(highlight=False)
    console.print(_table(shown, own, today))
    console.print(
        Text(
            f"{len(shown)} prices, {len(own)} of them yours; {len(old)} older than "
            f"{STALE_AFTER.days} days{': check their sources' if old else ''}."
        )
    )
    differences = _tell_genai_prices(console, book, pattern)
    if check and (old or differences):
        raise typer.Exit(REQUIREMENT_FAILS)


def against_genai_prices(book: PriceBook, pattern: str = "") -> Iterator[tuple[str, float, float]]:
    """``(id, our value, its value)`` for each token price that genai-prices has too."""
    for quote in book.prices:
        if quote.unit != "1M tokens" or pattern not in quote.id:
            continue
        model, _, direction = quote.id.rpartition("/")
        try:
            table = genai_source.token_price(f"{genai_source.PREFIX}{_their_name(model)}")
        except ConfigurationError:
            continue  # it does not know the model
        if table is not None and direction in table:
            yield quote.id, quote.value, table[direction]


def _their_name(model: str) -> str:
    """A host's copy of a model goes by its maker's name there."""
    return {"together/phi-2": "together/microsoft/phi-2"}.get(model, model)


def _print_json(
    quotes: list[Quote], own: set[str], old: list[str], genai: list[tuple[str, float, float]]
) -> int:
    """Print the prices; how many differ from genai-prices."""
    theirs = {id: value for id, _, value in genai}
    prices = [
        {
            **quote.model_dump(mode="json"),
            "yours": quote.id in own,
            "old": quote.id in old,
            "genai_prices": theirs.get(quote.id),
        }
        for quote in quotes
    ]
    print_json({"prices": prices, "genai_prices_version": genai_source.version()})
    return sum(ours != value for _, ours, value in genai)


def _tell_genai_prices(console: Console, book: PriceBook, pattern: str) -> int:
    version = genai_source.version()
    if version is None:
        console.print(
            Text("genai-prices is not installed (phi2sdk[prices]): nothing to compare with.")
        )
        return 0
    found = list(against_genai_prices(book, pattern))
    if not found:
        return 0
    other = [(id, ours, theirs) for id, ours, theirs in found if ours != theirs]
    console.print(
        Text(f"genai-prices {version}: {len(found) - len(other)} agree, {len(other)} differ.")
    )
    for id, ours, theirs in other:
        console.print(Text(for_terminal(f"{id}: {ours:g} here, {theirs:g} there")))
    return len(other)


def _table(quotes: list[Quote], own: set[str], today: Date) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("id", "USD", "per", "date", "", "source"):
        table.add_column(
            title,
            justify="right" if title == "USD" else "left",
            overflow="fold",
            no_wrap=title in ("USD", "per", "date", ""),
        )
    for quote in quotes:
        marks = ["yours"] * (quote.id in own) + ["old"] * quote.stale(today)
        cells = (
            quote.id,
            f"{quote.value:g}",
            quote.unit,
            quote.date.isoformat(),
            " ".join(marks),
            f"{quote.source}; {quote.note}" if quote.note else quote.source,
        )
        table.add_row(*(Text(for_terminal(cell)) for cell in cells))
    return table
