from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.completion import Count, Usage
from phi2sdk.errors import ConfigurationError
from phi2sdk.pricing import Bill, Hourly, Owned, Price, cost_of, resolve
from phi2sdk.pricing.book import price_book, read_book

SOURCED = {"source": "a price list", "date": "2026-11-01"}
TOKENS = {"model": "per-token", "input": 30, "output": 60, **SOURCED}
HOURLY = {"model": "hourly", "usd": 3.6, **SOURCED}
amounts = st.floats(0, 1e6)


def test_tokens_cost_by_the_million() -> None:
    assert resolve(TOKENS).usd(Bill(input=200, output=60)) == pytest.approx(0.0096)


def test_cached_tokens_cost_their_own_price_where_there_is_one() -> None:
    bill = Bill(input=1_000_000, output=0, cached=400_000)
    assert resolve(TOKENS).usd(bill) == pytest.approx(30)
    assert resolve({**TOKENS, "cached": 10}).usd(bill) == pytest.approx(0.6 * 30 + 0.4 * 10)


def test_a_rented_machine_costs_its_seconds_or_its_whole_window() -> None:
    price = resolve({**HOURLY, "granularity": 60, "minimum": 90})
    assert price.usd(Bill(seconds=10)) == pytest.approx(0.01)
    assert price.reserved(Bill(seconds=10), window=3600) == pytest.approx(3.6)
    assert price.reserved(Bill(seconds=10), window=1) == pytest.approx(0.12)  # 90 s, so 2 min
    assert resolve(TOKENS).reserved(Bill(input=1, output=1), 10) is None


def test_an_owned_machine_costs_its_life_and_its_energy() -> None:
    price = resolve(
        {
            "model": "owned",
            "usd": 31_557_600,  # a dollar a second of one year
            "life_years": 1,
            "utilisation": 0.5,
            "watts": 1000,
            "pue": 1.2,
            "usd_per_kwh": 0.3,
            **SOURCED,
        }
    )
    part = price.parts[0]
    assert isinstance(part, Owned)
    assert part.usd_per_second == pytest.approx(2 + 1.2 * 0.3 / 3600)


def test_what_is_assumed_about_an_owned_device_is_named() -> None:
    price = resolve({"model": "owned", "device": "H200", "usd_per_kwh": 0.2})
    assert "assumed: life_years 4, utilisation 0.5, pue 1.3" in price.source
    assert "usd_per_kwh" not in price.source
    part = price.parts[0]
    assert isinstance(part, Owned)
    assert (part.device_usd, part.watts, part.usd_per_kwh) == (32000, 700, 0.2)


def test_a_device_without_a_list_price_needs_one() -> None:
    with pytest.raises(ConfigurationError, match="usd"):
        resolve({"model": "owned", "device": "T4"})
    assert resolve({"model": "owned", "device": "T4", "usd": 900, **SOURCED}).usd(Bill(seconds=1))


def test_models_add_up() -> None:
    price = resolve([TOKENS, {"model": "per-request", "usd": 0.5, **SOURCED}])
    bill = Bill(input=1_000_000, output=0, requests=3)
    assert price.usd(bill) == pytest.approx(30 + 1.5)
    assert price.name == "per-token + per-request"


def test_what_is_not_known_never_becomes_zero() -> None:
    assert resolve(TOKENS).usd(Bill(input=5)) is None
    assert resolve(HOURLY).usd(Bill(input=5, output=5)) is None
    assert resolve([TOKENS, HOURLY]).usd(Bill(input=5, output=5)) is None
    assert cost_of(None, Usage(Count(5), Count(5)), 1.0) is None
    assert resolve(TOKENS).cost(Usage(), 1.0) is None


def test_a_cost_carries_source_date_and_whether_it_was_estimated() -> None:
    cost = resolve(TOKENS).cost(Usage(Count(5), Count(5, estimated=True)), None)
    assert cost is not None
    assert (cost.source, cost.date, cost.model) == ("a price list", "2026-11-01", "per-token")
    assert cost.estimated
    by_time = resolve(HOURLY).cost(Usage(Count(5, estimated=True)), 2.0)
    assert by_time is not None
    assert not by_time.estimated


@given(amounts, amounts, amounts, amounts)
def test_more_never_costs_less(tokens: float, more: float, seconds: float, longer: float) -> None:
    price = resolve([TOKENS, HOURLY, {"model": "per-request", "usd": 0.1, **SOURCED}])
    less = price.usd(Bill(input=tokens, output=tokens, seconds=seconds))
    dear = price.usd(Bill(input=tokens + more, output=tokens, seconds=seconds + longer))
    assert less is not None
    assert dear is not None
    assert dear >= less


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.sampled_from([0.0, 1.0, 60.0, 3600.0]))
def test_a_longer_rental_never_costs_less_nor_a_rounded_one_less_than_exact(
    seconds: float, longer: float, granularity: float
) -> None:
    rented = Hourly(usd_per_hour=3.6, granularity=granularity, source="s", date=date(2026, 1, 1))
    assert rented.rental(seconds + longer) >= rented.rental(seconds)
    assert rented.rental(seconds) >= seconds * 3.6 / 3600 * (1 - 1e-9)


@pytest.mark.parametrize(
    "wrong",
    [
        {**TOKENS, "currency": "EUR"},
        {**TOKENS, "input": -1},
        {**TOKENS, "input": float("nan")},
        {"model": "per-token", "input": 1, "output": 1, "source": "s"},
        {"model": "per-token", "input": 1, "output": 1, "date": "2026-01-01"},
        {**TOKENS, "source": ""},
        {**TOKENS, "surprise": 1},
        {"model": "free"},
        {"book": "nobody/nothing"},
        {"model": "owned", "device": "abacus"},
        [],
    ],
)
def test_a_wrong_price_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError):
        resolve(wrong)  # type: ignore[arg-type]


def test_the_book_is_valid_and_every_entry_has_source_and_date() -> None:
    book = price_book()
    assert len(book.prices) == 41
    assert all(quote.source and quote.date <= date.today() for quote in book.prices)
    gpt4 = resolve({"book": "openai/gpt-4"}).usd(Bill(input=200, output=60))
    phi2 = resolve({"book": "together/phi-2"}).usd(Bill(input=200, output=60))
    assert gpt4 == pytest.approx(0.0096)
    assert phi2 == pytest.approx(0.000026)
    assert resolve({"book": "hf/aws-t4"}).parts[0].model_dump()["granularity"] == 60


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prices = [", "not TOML"),
        ("prices = [{ id = 'a' }]", "value"),
        (
            "prices = [{id='a',value=1,currency='USD',unit='hour',source='s',date='2026-01-01'},"
            "{id='a',value=2,currency='USD',unit='hour',source='s',date='2026-01-01'}]",
            "a twice",
        ),
        (
            "prices = [{id='a',value=1,currency='EUR',unit='hour',source='s',date='2026-01-01'}]",
            "currency",
        ),
    ],
)
def test_a_wrong_book_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read_book(text)


def test_a_price_survives_json() -> None:
    price = resolve([TOKENS, HOURLY, {"model": "owned", "device": "H200"}])
    assert Price.model_validate(price.model_dump(mode="json")) == price
