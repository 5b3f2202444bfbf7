"""The limits of a bulk run: leases of calls, grants of dollars, and the gate of a worker."""

from __future__ import annotations

import asyncio
from time import monotonic

import pytest

from phi2sdk.client.limits import CREDIT_S, LATE_S, LEASE_S, Gate, Limiter, Purse, parse_rate
from phi2sdk.errors import BudgetExceeded, ConfigurationError


@pytest.mark.parametrize(
    ("text", "rate"), [("100", 100), ("100/s", 100), (" 6000 / min", 100), ("0.5/s", 0.5)]
)
def test_a_rate_has_a_unit(text: str, rate: float) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["", "fast", "0", "-1", "5/h", "inf", "nan", "1/s/s"])
def test_a_wrong_rate_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"as in 100/s"):
        parse_rate(text)


async def test_leases_follow_each_other_and_last_no_longer_than_their_limit() -> None:
    limiter = Limiter(rate=100)
    leases = [await limiter.calls(wanted) for wanted in (30, 500, 1, 0)]
    assert [number for _, number, _ in leases] == [30, int(100 * LEASE_S), 1, 1]
    starts = [wait for wait, _, _ in leases]
    for (_, number, between), first, second in zip(leases, starts, starts[1:], strict=False):
        assert second - first == pytest.approx(number * between, abs=0.01)


async def test_two_gates_of_one_limiter_share_the_rate() -> None:
    limiter, sent = Limiter(rate=400), []

    async def send(gate: Gate) -> None:
        await gate.admit(0.0)
        sent.append(monotonic())

    gates = [Gate(calls=limiter.calls) for _ in range(2)]
    await asyncio.gather(*(send(gates[i % 2]) for i in range(80)))
    assert len(sent) == 80
    assert max(sent) - min(sent) >= 79 / 400 - 2 * CREDIT_S


async def test_a_late_call_is_not_made_up_for() -> None:
    granted: list[float] = []

    async def calls(wanted: int) -> tuple[float, int, float]:
        granted.append(-2 * LATE_S if not granted else 0.0)
        return granted[-1], 5, 0.001

    gate = Gate(calls=calls)
    begun = monotonic()
    for _ in range(5):
        await gate.admit(0.0)
    assert granted == [-2 * LATE_S, 0.0]
    assert monotonic() - begun >= 0.004


async def test_a_call_waits_for_the_rest_of_a_call_in_flight() -> None:
    purse = Purse(1.0)
    gate = Gate(purse=purse)
    await gate.admit(0.8)
    in_flight = purse.hold(0.8)
    waiting = asyncio.create_task(gate.admit(0.5))
    await asyncio.sleep(0)
    assert not waiting.done()
    in_flight.settle(0.1)
    await waiting
    assert (purse.spent, purse.held) == (0.1, 0.0)
    purse.hold(0.3)
    last = purse.hold(0.5)
    last.settle(0.5)
    with pytest.raises(BudgetExceeded):
        await asyncio.wait_for(_after_all(gate, purse), 5)


async def _after_all(gate: Gate, purse: Purse) -> None:
    for hold in list(purse._open):
        hold.settle(0.3)
    await gate.admit(0.2)


async def test_grants_are_taken_for_several_calls_and_never_exceed_the_cap() -> None:
    limiter = Limiter(usd=1.0)
    purses = [Purse(0.0) for _ in range(3)]
    gates = [Gate(dollars=limiter.dollars, purse=purse) for purse in purses]

    async def spend(gate: Gate, purse: Purse) -> int:
        sent = 0
        while True:
            try:
                await gate.admit(0.02)
            except BudgetExceeded:
                return sent
            purse.hold(0.02).settle(0.015)
            sent += 1
            await asyncio.sleep(0)

    sent = sum(await asyncio.gather(*map(spend, gates, purses)))
    assert sum(purse.cap for purse in purses) <= 1.0 + 1e-12
    assert sum(purse.spent for purse in purses) == pytest.approx(sent * 0.015)
    assert 0.9 < sent * 0.015 <= 1.0
