"""A day's cost at a volume, by hand and against a simulated queue."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.analysis.cost import DAY, machines, usd_per_day
from phi2sdk.pricing import Price, resolve

SOURCED = {"source": "s", "date": "2026-11-01"}
HOURLY = {"model": "hourly", "usd": 1.0, **SOURCED}
OWNED = {
    "model": "owned",
    "usd": 36_525.0,
    "life_years": 1,
    "utilisation": 0.1,
    "watts": 1000,
    "pue": 1.0,
    "usd_per_kwh": 0.24,
    **SOURCED,
}


def day(price: Price, volume: float, *, tokens: float = 0.0, seconds: float = 1.0) -> float:
    arrays = (np.asarray([value]) for value in (volume, tokens, seconds))
    return float(usd_per_day(price, *arrays)[0])


def test_tokens_cost_by_the_summary() -> None:
    assert day(resolve({"book": "together/phi-2"}), 1000, tokens=0.002) == pytest.approx(2.0)


def test_a_machine_that_is_always_on_costs_24_hours_whatever_it_does() -> None:
    price = resolve(HOURLY)
    assert day(price, 1) == day(price, 86_400) == pytest.approx(24.0)
    assert day(price, 86_401) == pytest.approx(48.0)  # a second one


def test_machines_are_counted_whole() -> None:
    assert machines(np.asarray([1.0, 86_400, 86_401, 10 * 86_400]), np.asarray([1.0])).tolist() == [
        *(1, 1, 2, 10)
    ]


def test_an_owned_machine_costs_its_life_and_the_energy_it_used() -> None:
    # $36,525 over 365.25 days is $100 a day; an hour's work is 1 kWh: 24 cents.
    assert day(resolve(OWNED), 3600) == pytest.approx(100.24)
    assert day(resolve({**OWNED, "idle_watts": 100}), 3600) == pytest.approx(100.24 + 2.3 * 0.24)


def test_a_machine_that_scales_to_zero_costs_little_for_a_few_and_all_day_for_many() -> None:
    price = resolve({**HOURLY, "idle": 600, "cold_start": 60})
    one = day(price, 1, seconds=2)
    assert one == pytest.approx((60 + 2 + 600) / 3600, rel=0.02)
    assert day(price, 50_000, seconds=1) == pytest.approx(24.0, rel=1e-6)


@pytest.mark.parametrize("volume", [10, 60, 200])
def test_a_machine_that_scales_to_zero_agrees_with_a_simulated_queue(volume: int) -> None:
    """Gaps drawn one by one: it stays up while they are shorter than work and wait together."""
    rng = random.Random(volume)
    work, idle, start = 5.0, 900.0, 120.0
    up = now = 0.0
    while now < 4000 * DAY:
        up += start
        while (gap := rng.expovariate(volume / DAY)) < work + idle:
            up, now = up + gap, now + gap
        up, now = up + work + idle, now + gap + start
    price = resolve({**HOURLY, "idle": idle, "cold_start": start})
    simulated = up / now * 24
    assert day(price, volume, seconds=work) == pytest.approx(simulated, rel=0.02)


@given(
    st.floats(1, 1e7),
    st.floats(0.001, 100),
    st.floats(0, 1e4),
    st.floats(0, 1e3),
    st.floats(0, 1e4),
)
def test_a_longer_wait_a_slower_machine_or_a_later_start_never_cost_less(
    volume: float, seconds: float, idle: float, start: float, more: float
) -> None:
    def cost(idle: float, start: float, seconds: float) -> float:
        price = resolve({**HOURLY, "idle": idle, "cold_start": start, "granularity": 60})
        return day(price, volume, seconds=seconds)

    plain = cost(idle, start, seconds) * (1 - 1e-9)
    assert cost(idle + more, start, seconds) >= plain
    assert cost(idle, start, seconds + more) >= plain
    assert plain <= day(resolve(HOURLY), volume, seconds=seconds)
    with_energy = resolve({**OWNED, "watts": 1000 + more})
    assert day(with_energy, volume, seconds=seconds) >= day(resolve(OWNED), volume, seconds=seconds)
