"""The command line of ``phi2 prices``, which lists the price book and checks it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date as Date  # noqa: N812 - a field is called `date`
from typing import TYPE_CHECKING, Annotated

import typer

from phi2sdk.cli.errors import DONE, REQUIREMENT_FAILS
from phi2sdk.cli.options import Config, flag, panel
from phi2sdk.cli.output import console, print_json, print_lines, print_table
from phi2sdk.config.lookup import load_book, own_prices
from phi2sdk.errors import ConfigurationError
from phi2sdk.pricing import genai_prices as genai_source
from phi2sdk.pricing.book import STALE_AFTER, PriceBook, Quote

if TYPE_CHECKING:
    from rich.console import Console

_option = panel()


def prices(
    pattern: Annotated[
        str,
        typer.Argument(
            metavar="PATTERN",
            help="List only prices whose id contains PATTERN.",
            show_default=False,
        ),
    ] = "",
    config: Config = None,
    check: Annotated[
        bool,
        flag(
            _option,
            "--check",
            help=f"Exit with status 1 if a price is older than {STALE_AFTER.days} days, or differs "
            "from the package genai-prices.",
        ),
    ] = False,
    json: Annotated[bool, flag(_option, "--json", help="Print the prices as JSON.")] = False,
) -> None:
    """List the known prices, each with its unit, date and source.

    Prices of phi2.toml replace prices of the package with the same id.

    Exit status:
      0  The prices were listed.
      1  With --check: a price is too old, or differs from genai-prices.
      2  The usage or the configuration is wrong.
    """
    book, own = load_book(config), {quote.id for quote in own_prices(config).prices}
    shown = [quote for quote in book.prices if pattern in quote.id]
    if not shown:
        raise ConfigurationError(
            f"no id of the price book contains {pattern!r}: run phi2 prices to list all prices"
        )
    today = Date.today()
    old = [quote.id for quote in shown if quote.stale(today)]
    if json:
        differences = _print_json(shown, own, old, list(against_genai_prices(book, pattern)))
        raise typer.Exit(REQUIREMENT_FAILS if check and (old or differences) else DONE)
    to = console()
    print_table(
        ("id", "USD", "per", "date", "source"),
        (_row(quote, own, old) for quote in shown),
        to,
        right=("USD",),
        fold=("per", "source"),
    )
    print_lines(to, *_summary(shown, own, old))
    differences = _compare_with_genai_prices(to, book, pattern)
    if check and (old or differences):
        raise typer.Exit(REQUIREMENT_FAILS)


def against_genai_prices(book: PriceBook, pattern: str = "") -> Iterator[tuple[str, float, float]]:
    """Yield the id, our value and the value of genai-prices for each price in both."""
    for quote in book.prices:
        if quote.unit != "1M tokens" or pattern not in quote.id:
            continue
        model, _, direction = quote.id.rpartition("/")
        try:
            table = genai_source.token_price(f"{genai_source.PREFIX}{_their_name(model)}")
        except ConfigurationError:
            continue  # genai-prices does not have the model
        if table is not None and direction in table:
            yield quote.id, quote.value, table[direction]


def _their_name(model: str) -> str:
    """Return the name of a model in genai-prices, which includes the model's author."""
    return {"together/phi-2": "together/microsoft/phi-2"}.get(model, model)


def _print_json(
    quotes: list[Quote], own: set[str], old: list[str], genai: list[tuple[str, float, float]]
) -> int:
    """Print the prices as JSON; return how many of them differ from genai-prices."""
    theirs = {id: value for id, _, value in genai}
    prices = [
        {
            **quote.model_dump(mode="json"),
            "applies_to": applies_to(quote),
            "yours": quote.id in own,
            "old": quote.id in old,
            "genai_prices": theirs.get(quote.id),
        }
        for quote in quotes
    ]
    print_json({"prices": prices, "genai_prices_version": genai_source.version()})
    return sum(ours != value for _, ours, value in genai)


def _compare_with_genai_prices(to: Console, book: PriceBook, pattern: str) -> int:
    """Print how the prices compare with genai-prices; return how many differ."""
    version = genai_source.version()
    if version is None:
        print_lines(
            to,
            "The prices were not compared with genai-prices, which is not installed: "
            "python -m pip install 'phi2sdk[prices]'",
        )
        return 0
    found = list(against_genai_prices(book, pattern))
    if not found:
        return 0
    other = [(id, ours, theirs) for id, ours, theirs in found if ours != theirs]
    print_lines(
        to,
        f"{len(found) - len(other)} prices agree with genai-prices {version}, and {len(other)} "
        "differ.",
        *(f"{id}: {ours:g} here, {theirs:g} in genai-prices" for id, ours, theirs in other),
    )
    return len(other)


def applies_to(quote: Quote) -> str:
    """Return what a price is for, such as ``1M input tokens`` or ``machine hour``."""
    if quote.unit == "1M tokens":
        kind = quote.id.rpartition("/")[2]
        return f"1M {kind} tokens" if kind in ("input", "output", "cached") else quote.unit
    return {"hour": "machine hour", "device": "device bought"}.get(quote.unit, quote.unit)


def _row(quote: Quote, own: set[str], old: list[str]) -> tuple[str, ...]:
    marks = ["yours"] * (quote.id in own) + ["old"] * (quote.id in old)
    notes = [quote.note] * bool(quote.note)
    return (
        quote.id,
        f"{quote.value:g}",
        applies_to(quote),
        quote.date.isoformat(),
        "; ".join([*marks, quote.source, *notes]),
    )


def _summary(shown: list[Quote], own: set[str], old: list[str]) -> Iterator[str]:
    mine = sum(quote.id in own for quote in shown)
    check = ": check their sources" if old else ""
    yield (
        f"{len(shown)} prices, {mine} of them from your phi2.toml; {len(old)} older than "
        f"{STALE_AFTER.days} days{check}."
    )
    yield (
        "A target has one of these prices only if its table in phi2.toml names the price, as in "
        'price = { book = "hf/aws-t4" } for a machine hour, price = { book = "together/phi-2" } '
        'for tokens, or price = { model = "owned", device = "H200" } for a device that runs the '
        "target and that you own."
    )
