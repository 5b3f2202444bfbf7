"""Each cost model against sums done by hand, and what must hold whatever the numbers are."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.pricing import Price, resolve
from phi2sdk.pricing.models import Bill, Hourly, Owned, PerRequest, PerToken

ON: dict[str, Any] = {"source": "an invoice", "date": date(2026, 11, 1)}
amounts = st.floats(0, 1e6)
shares = st.floats(0.01, 1)


def cents(usd: float | None) -> float:
    assert usd is not None
    return round(usd * 100, 6)


def rented(**about: float | None) -> Hourly:
    return Hourly(usd_per_hour=5.0, **about, **ON)  # type: ignore[arg-type]


def owned(**about: float) -> Owned:
    stated = {"device_usd": 32_000.0, "life_years": 4.0, "utilisation": 0.5, "watts": 700.0}
    energy = {"pue": 1.3, "usd_per_kwh": 0.12}
    return Owned(**{**stated, **energy, **about}, **ON)  # type: ignore[arg-type]


def test_tokens_to_the_cent() -> None:
    # 2M in at $2.50 and 0.5M out at $10 are $5 + $5; half of the input from a cache at $1.25.
    price = PerToken(input=2.5, output=10.0, **ON)
    assert cents(price.usd(Bill(2_000_000, 500_000))) == 1000
    cached = price.model_copy(update={"cached": 1.25})
    assert cents(cached.usd(Bill(2_000_000, 500_000, cached=1_000_000))) == 875


def test_calls_to_the_cent() -> None:
    price = PerRequest(usd_per_request=0.02, **ON)
    assert cents(price.usd(Bill(requests=7))) == 14


def test_a_rental_to_the_cent() -> None:
    # 61 minutes at $5 an hour: $5.083; by started hours $10; at least three hours $15.
    assert cents(rented().rental(61 * 60)) == pytest.approx(508.333333)
    assert cents(rented(granularity=3600).rental(61 * 60)) == 1000
    assert cents(rented(granularity=3600, minimum=3 * 3600).rental(61 * 60)) == 1500


def test_intervals_too_short_to_count_round_nothing() -> None:
    assert rented(granularity=5e-324).rental(3600) == 5.0


def test_a_rental_that_scales_to_zero_pays_its_start_and_its_wait() -> None:
    # 2 min to start, 10 min of work, 15 min until it is released: 27 of them, at $5 / 60 each.
    price = rented(cold_start=120, idle=900, granularity=60)
    assert cents(price.rental(600)) == 225


def test_a_stated_utilization_pays_for_idle_hours() -> None:
    assert cents(rented(utilisation=0.25).usd(Bill(seconds=3600))) == 2000


def test_an_owned_device_to_the_cent() -> None:
    # Of its life: 4 x 365.25 x 24 = 35,064 h; $32,000 / 35,064 / 0.5 = $1.825234 a busy hour.
    # Energy: 0.7 kW x 1.3 x $0.12 = $0.1092 an hour.
    assert cents(owned().usd(Bill(seconds=3600))) == pytest.approx(193.443358, abs=1e-3)
    # 100 W while idle, an idle hour for each busy one: 0.1 x 1.3 x 0.12 = 1.56 cents more.
    assert cents(owned(idle_watts=100.0).usd(Bill(seconds=3600))) == pytest.approx(
        195.003358, abs=1e-3
    )


def test_measured_watts_take_the_place_of_stated_ones_and_say_so() -> None:
    price = Price(parts=(owned(),)).measured(350.0)
    part = price.parts[0]
    assert isinstance(part, Owned)
    assert part.watts_measured
    assert "350 W measured" in price.source
    # 0.35 kW less than stated: 0.35 x 1.3 x 12 = 5.46 cents per hour.
    assert cents(part.usd(Bill(seconds=3600))) == pytest.approx(193.443358 - 5.46, abs=1e-3)


def test_all_costs_are_reported() -> None:
    price = Price(parts=(PerRequest(usd_per_request=0.01, **ON), rented(utilisation=0.5), owned()))
    bill = Bill(seconds=3600)
    assert cents(price.token_priced(bill)) == 1
    # $5 an hour, and an owned one at full use: $32,000 / 35,064 + $0.1092.
    assert cents(price.busy(bill)) == pytest.approx(1 + 500 + 91.2617 + 10.92, abs=1e-3)
    assert price.reserved(bill, None) == price.usd(bill)  # both machines state their utilization
    assert cents(price.usd(bill)) == pytest.approx(1 + 1000 + 193.443358, abs=1e-3)


def test_an_unknown_window_gives_no_number() -> None:
    assert Price(parts=(rented(),)).reserved(Bill(seconds=1), None) is None
    assert Price(parts=(rented(),)).token_priced(Bill(seconds=1)) is None
    assert Price(parts=(PerRequest(usd_per_request=1, **ON),)).busy(Bill(seconds=1)) is None


def test_the_ceiling_gives_no_discount_for_a_cache() -> None:
    price = Price(parts=(PerToken(input=2.0, output=0.0, cached=0.5, **ON),))
    bill = Bill(1_000_000, 0, cached=1_000_000)
    assert price.usd(bill) == 0.5
    assert price.ceiling(bill) == 2.0


@given(amounts, amounts, amounts, amounts, amounts, st.floats(0, 1e3), st.floats(0, 1e3))
def test_more_tokens_never_cost_less(
    read: float, wrote: float, cached: float, more: float, price: float, other: float, third: float
) -> None:
    model = PerToken(input=price, output=other, cached=min(third, price), **ON)
    less = model.usd(Bill(read, wrote, cached))
    assert less is not None
    for bill in (Bill(read + more, wrote, cached), Bill(read, wrote + more, cached)):
        dear = model.usd(bill)
        assert dear is not None
        assert dear >= less * (1 - 1e-12)
    ceiling = model.ceiling(Bill(read, wrote, cached))
    assert ceiling is not None
    assert ceiling >= less * (1 - 1e-12)


@given(amounts, amounts, st.floats(0, 1e4), st.floats(0, 1e4), st.floats(0, 1e4))
def test_more_hours_waits_and_starts_never_cost_less(
    seconds: float, more: float, idle: float, start: float, granularity: float
) -> None:
    price = rented(idle=idle, cold_start=start, granularity=granularity)
    plain = price.rental(seconds)
    assert price.rental(seconds + more) >= plain * (1 - 1e-9)
    assert rented(idle=idle + more, cold_start=start).rental(seconds) >= rented(
        idle=idle, cold_start=start
    ).rental(seconds)
    assert plain >= rented(idle=idle, cold_start=start).rental(seconds) * (1 - 1e-9)
    assert rented(minimum=more).rental(seconds) >= rented().rental(seconds)


@given(st.floats(0, 2000), st.floats(0, 2000), shares, shares, st.floats(1, 3))
def test_more_watts_and_less_use_never_cost_less(
    watts: float, more: float, share: float, other: float, pue: float
) -> None:
    bill = Bill(seconds=1000)
    plain = owned(watts=watts, utilisation=max(share, other), pue=pue).usd(bill)
    hotter = owned(watts=watts + more, utilisation=max(share, other), pue=pue).usd(bill)
    idler = owned(watts=watts, utilisation=min(share, other), pue=pue).usd(bill)
    assert plain is not None
    assert hotter is not None
    assert idler is not None
    assert hotter >= plain
    assert idler >= plain


def test_a_price_from_configuration_has_every_property_of_a_rental() -> None:
    table = {"book": "hf/aws-t4", "idle": 900, "cold_start": 60, "minimum": 120}
    part = resolve(table).parts[0]
    assert isinstance(part, Hourly)
    assert (part.granularity, part.idle, part.cold_start, part.minimum) == (60, 900, 60, 120)
