"""The price book has a source and a date for each price, and user entries override it."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

import phi2sdk
from phi2sdk.config import load_book, load_config
from phi2sdk.errors import ConfigurationError
from phi2sdk.pricing import Bill, resolve
from phi2sdk.pricing import genai_prices as genai_source
from phi2sdk.pricing.book import STALE_AFTER, Entries, price_book, stale

PACKAGE = Path(phi2sdk.__file__).parent
MINE = """
[[prices]]
id = "together/phi-2/output"
value = 0.2
currency = "USD"
unit = "1M tokens"
source = "my invoice"
date = "2026-10-01"

[[prices]]
id = "mine/box"
value = 2.0
currency = "USD"
unit = "hour"
source = "my invoice"
date = "2026-10-01"

[[assumptions]]
field = "usd_per_kwh"
value = 0.3
unit = "USD per kWh"
date = "2026-10-01"

[targets.hosted]
backend = "openai"
base_url = "http://127.0.0.1:1/v1"
model = "phi-2"
price = { book = "together/phi-2" }

[targets.boxed]
backend = "openai"
base_url = "http://127.0.0.1:1/v1"
model = "phi-2"
price = { book = "mine/box" }

[targets.at_home]
backend = "openai"
base_url = "http://127.0.0.1:1/v1"
model = "phi-2"
price = { model = "owned", device = "H200" }
"""


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "phi2.toml"
    path.write_text(MINE, encoding="utf-8")
    return path


def test_ones_own_entries_replace_and_extend_the_book(mine: Path) -> None:
    targets = load_config(mine)
    hosted, boxed, at_home = (targets[name].price for name in ("hosted", "boxed", "at_home"))
    assert hosted is not None
    assert hosted.usd(Bill(1_000_000, 1_000_000)) == pytest.approx(0.1 + 0.2)
    assert "my invoice" in hosted.source
    assert hosted.date == "2026-10-01"  # the older of the two
    assert boxed is not None
    assert boxed.usd(Bill(seconds=1800)) == pytest.approx(1.0)
    assert at_home is not None
    assert "usd_per_kwh 0.3" in at_home.source
    assert len(load_book(mine).prices) == len(price_book().prices) + 1


def test_a_user_entry_in_another_currency_is_refused_with_its_position(mine: Path) -> None:
    mine.write_text(MINE.replace('currency = "USD"', 'currency = "EUR"', 1), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"prices\.0\.currency"):
        load_config(mine)


def test_a_price_in_another_currency_is_never_added_to_one_in_dollars() -> None:
    euro = {"model": "hourly", "usd": 3, "currency": "EUR", "source": "s", "date": "2026-11-01"}
    tables: list[list[dict[str, Any]]] = [[euro], [{"book": "together/phi-2"}, euro]]
    for table in tables:
        with pytest.raises(ConfigurationError, match="currency is 'EUR'"):
            resolve(table)


def test_an_own_entry_that_stands_twice_is_refused() -> None:
    quote = price_book().prices[0]
    with pytest.raises(ConfigurationError, match=r"phi2\.toml has .* twice"):
        price_book().with_entries(Entries(prices=(quote, quote)))


def test_what_is_older_than_180_days_is_stale() -> None:
    today = date(2026, 11, 20)
    assert not stale(today - STALE_AFTER, today)
    assert stale(today - STALE_AFTER - timedelta(days=1), today)
    assert resolve({"book": "hf/aws-t4"}).stale(today)
    assert not resolve({"book": "openai/gpt-4"}).stale(today)
    old = price_book().quote("anyscale/llama-2-70b/input", "1M tokens")
    assert old is not None
    assert not old.stale(today)  # kept as it was: it cannot go stale


def test_genai_prices_names_its_version_and_agrees_with_the_book() -> None:
    theirs, ours = resolve({"book": "genai-prices:openai/gpt-4"}), resolve({"book": "openai/gpt-4"})
    bill = Bill(200, 60)
    assert theirs.usd(bill) == ours.usd(bill) == pytest.approx(0.0096)
    assert f"genai-prices {genai_source.version()}" in theirs.source
    with pytest.raises(ConfigurationError, match="has no"):
        resolve({"book": "genai-prices:nobody/nothing"})


def test_genai_prices_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(genai_source, "version", lambda: None)
    with pytest.raises(ConfigurationError, match=r"phi2sdk\[prices\]"):
        resolve({"book": "genai-prices:openai/gpt-4"})


# --------------------------------------------------------------------------- no price in code


def _numbers(tree: ast.AST) -> Iterator[tuple[str, float]]:
    """``(the name that it is given, the number)`` for each literal number."""
    for node in ast.walk(tree):
        pairs: list[tuple[str, ast.expr | None]] = []
        if isinstance(node, ast.keyword):
            pairs = [(node.arg or "", node.value)]
        elif isinstance(node, ast.Assign):
            pairs = [(ast.unparse(target), node.value) for target in node.targets]
        elif isinstance(node, ast.AnnAssign):
            pairs = [(ast.unparse(node.target), node.value)]
        elif isinstance(node, ast.Dict):
            pairs = [
                (ast.unparse(k) if k else "", v)
                for k, v in zip(node.keys, node.values, strict=True)
            ]
        elif isinstance(node, ast.Constant):
            pairs = [("", node)]
        for name, value in pairs:
            number = value.value if isinstance(value, ast.Constant) else None
            if isinstance(number, int | float) and not isinstance(number, bool):
                yield name, float(number)


def test_the_code_contains_no_price() -> None:
    book = tomllib.loads((PACKAGE / "pricing" / "prices.toml").read_text(encoding="utf-8"))
    # Numbers such as 0.5 or 30 have a hundred meanings; these have one.
    telling = {one["value"] for one in book["prices"] if len(f"{one['value']:g}".strip("0.")) > 2}
    telling |= {one["value"] for one in book["prices"] if one["unit"] == "device"}
    assert {0.526, 3.673, 3.06, 15000.0, 32000.0} <= telling
    named = re.compile(r"usd|price|dollar|watts|kwh|pue", re.IGNORECASE)
    found = [
        f"{path.relative_to(PACKAGE)}: {name} = {value:g}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for name, value in _numbers(ast.parse(path.read_text(encoding="utf-8")))
        if value in telling or (named.search(name) and value != 0)
    ]
    # Joules in a kilowatt-hour, a room without overhead, a temperature and an inverse one.
    assert found == [
        "identity/call_table.py:  = 2.5",
        "identity/likelihood_tests.py:  = 1.25",
        "pricing/models.py: _JOULE_PER_KWH = 3.6e+06",
        "pricing/models.py: pue = 1",
    ]


def test_every_entry_of_the_book_is_sourced_dated_and_used_in_one_unit() -> None:
    book = price_book()
    sourced = [(quote.source, quote.date) for quote in book.prices]
    sourced += [(device.source, device.date) for device in book.devices]
    sourced += [(claim.source, claim.date) for claim in book.claims]
    assert all(source and on <= date.today() for source, on in sourced)
    assert all(assumption.date <= date.today() for assumption in book.assumptions)
    assert {quote.currency for quote in book.prices} == {"USD"}
