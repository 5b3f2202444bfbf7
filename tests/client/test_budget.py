"""A budget is never exceeded, with any failures and any number of requests in flight."""

from __future__ import annotations

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk import prompts
from phi2sdk.backends.base import Backend
from phi2sdk.client import Phi2Client
from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.client.budget import Budget, Spending, worst_case
from phi2sdk.client.policies import Retry
from phi2sdk.completion import Event, Request
from phi2sdk.config import Target
from phi2sdk.emulator import Emulator, ScriptedEngine
from phi2sdk.errors import (
    BudgetExceeded,
    ConfigurationError,
    ConnectionFailed,
    Overloaded,
    Phi2Error,
    RateLimited,
)
from phi2sdk.pricing import Price, resolve
from phi2sdk.sampling import Sampling
from tests.metering import one_run, target_of, text_of
from tests.scripted import ScriptedBackend

SOURCED = {"source": "s", "date": "2026-11-01"}
TOKENS = resolve({"model": "per-token", "input": 1000, "output": 2000, **SOURCED})
CALLS = resolve({"model": "per-request", "usd": 0.25, **SOURCED})
HOURS = resolve({"model": "hourly", "usd": 3600, **SOURCED})  # a dollar a second
REQUEST = Request(prompts.raw("tides"), Sampling(max_tokens=10), timeout=5.0)


async def play(backend: Backend, request: Request = REQUEST) -> list[Event]:
    return [event async for event in backend.stream(request)]


def guarded(inner: ScriptedBackend, cap: float, price: Price = CALLS) -> tuple[Budget, Spending]:
    spending = Spending(cap)
    return Budget(inner, price=price, spending=spending), spending


async def test_a_call_goes_out_while_its_worst_case_fits() -> None:
    inner = ScriptedBackend(["yes"])
    budget, spending = guarded(inner, 0.6)
    await play(budget)
    await play(budget)
    with pytest.raises(BudgetExceeded, match=r"budget of 0\.6 USD"):
        await play(budget)
    assert len(inner.requests) == 2
    assert spending.spent == pytest.approx(0.5)
    assert spending.held == 0


async def test_calls_in_flight_count_at_their_worst_case() -> None:
    budget, spending = guarded(ScriptedBackend(["yes"]), 0.6)
    running = [budget.stream(REQUEST) for _ in range(2)]
    for stream in running:
        await anext(stream)
    assert (spending.spent, spending.held) == (0, 0.5)
    with pytest.raises(BudgetExceeded, match=r"0\.5 reserved"):
        await play(budget)
    for stream in running:
        await stream.aclose()
    assert (spending.spent, spending.held) == (0.5, 0)


async def test_every_attempt_is_charged_and_a_retry_stops_at_the_cap() -> None:
    inner = ScriptedBackend([Overloaded("busy")], ["never"])
    budget, spending = guarded(inner, 0.3)
    with pytest.raises(BudgetExceeded):
        await play(Retry(budget, base=0.0))
    assert len(inner.requests) == 1
    assert spending.spent == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("script", "tokens"),
    [
        ([RateLimited("slow")], 0),  # refused: nothing was generated
        (["half", RateLimited("slow")], 5 + 8 + 2 * 10),  # it had begun: all of it may be billed
        ([ConnectionFailed("gone")], 5 + 8 + 2 * 10),  # unknown
    ],
)
async def test_a_failed_call_is_charged_what_it_may_have_cost(
    script: list[str | Phi2Error | asyncio.Event], tokens: int
) -> None:
    budget, spending = guarded(ScriptedBackend(script), 10, TOKENS)
    with pytest.raises(Phi2Error):
        await play(budget)
    assert spending.spent == pytest.approx(tokens * 1000 / 1e6)


async def test_a_stream_that_we_leave_early_stays_charged_in_full() -> None:
    budget, spending = guarded(ScriptedBackend(["one", "two"]), 10, TOKENS)
    stream = budget.stream(REQUEST)
    async for event in stream:
        if type(event).__name__ == "Chunk":
            break
    await stream.aclose()
    assert spending.spent == pytest.approx(worst_case(TOKENS, REQUEST))
    assert spending.held == 0


async def test_machine_time_needs_a_timeout_and_is_charged_by_the_second() -> None:
    budget, spending = guarded(ScriptedBackend(["yes"]), 10, HOURS)
    with pytest.raises(ConfigurationError, match="timeout"):
        await play(budget, Request(REQUEST.prompt, REQUEST.sampling))
    await play(budget)
    assert 0 < spending.spent < 1
    assert worst_case(HOURS, REQUEST) == pytest.approx(6.0)  # the timeout and a second of grace


def test_a_client_without_a_price_cannot_keep_a_budget() -> None:
    settings = {"base_url": "http://127.0.0.1:1/v1", "model": "m"}
    with pytest.raises(ConfigurationError, match="needs a price for the target unpriced"):
        Phi2Client(Target("unpriced", "openai", settings), budget=1.0)
    with pytest.raises(ConfigurationError, match="above 0"):
        Spending(0.0)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=50), st.floats(0.01, 5))
def test_no_order_of_holds_and_settlements_exceeds_the_cap(
    calls: list[tuple[float, float]], cap: float
) -> None:
    spending, open_ = Spending(cap), []
    for number, (usd, share) in enumerate(calls):
        try:
            open_.append((spending.hold(usd), usd * share))
        except BudgetExceeded:
            assert spending.spent + spending.held + usd > cap
        if number % 3 == 0 and open_:
            hold, cost = open_.pop(0)
            hold.settle(cost)
            hold.settle(cost)  # only once
        assert spending.spent + spending.held <= cap * (1 + 1e-9)


# --------------------------------------------------------------------------- the provider's meter


@pytest.mark.parametrize("provider", ["openai", "hf", "azure", "clarifai"])
async def test_the_provider_never_meters_more_than_the_cap(provider: str) -> None:
    """200 runs in total."""
    rng = random.Random(provider)
    engine = ScriptedEngine(text_of(rng))
    async with Emulator(engine, providers=[provider]) as emulator:  # type: ignore[list-item]
        runs = [await one_run(emulator, provider, rng) for _ in range(50)]
    shares = [share for share, _ in runs]
    assert max(shares) <= 1
    assert sum(away for _, away in runs) > 20  # the cap was met, and not by doing nothing
    assert max(shares) > 0.3


async def test_a_client_with_a_budget_answers_until_it_is_spent() -> None:
    async with Emulator(ScriptedEngine("one two three"), providers=["openai"]) as emulator:
        target = target_of(emulator, "openai", TOKENS)
        async with AsyncPhi2Client(target, budget=0.2, timeout=5) as phi:
            asked = phi.generate_many([prompts.raw("tides")] * 99, max_tokens=8, return_errors=True)
            said = [answer async for _, answer in asked]
            answers = sum(not isinstance(answer, Phi2Error) for answer in said)
            assert {type(a) for a in said if isinstance(a, Phi2Error)} == {BudgetExceeded}
            assert answers > 5
            assert phi.spending is not None
            assert 0.1 < phi.spending.spent <= 0.2
            assert len([c for c in emulator.openai.calls if c.method == "POST"]) == answers
