"""The rules of trying again, at their edges."""

from __future__ import annotations

from contextlib import aclosing, suppress

import pytest

from phi2sdk import prompts
from phi2sdk.client.policies import Retry, RetryBudget, _within
from phi2sdk.completion import Chunk, Request, Retrying
from phi2sdk.errors import ConfigurationError, Overloaded, Phi2Error, RateLimited, Timeout
from phi2sdk.sampling import Sampling
from tests.scripted import ScriptedBackend

REQUEST = Request(prompts.raw("x"), Sampling(), timeout=60.0)


def spent(budget: RetryBudget) -> int:
    """Return the number of retries that are allowed now."""
    count = 0
    while budget.withdraw():
        count += 1
    return count


def test_the_budget_begins_with_its_reserve_and_ends_at_nothing() -> None:
    assert spent(RetryBudget(reserve=3)) == 3
    assert spent(RetryBudget(reserve=3.9)) == 3
    assert spent(RetryBudget(reserve=0.5)) == 0


def test_requests_earn_retries_by_the_ratio() -> None:
    budget = RetryBudget(ratio=0.25, reserve=2)
    assert spent(budget) == 2
    earned = []
    for _ in range(8):
        budget.deposit()
        earned.append(budget.withdraw())
    assert earned == [False, False, False, True] * 2


def test_no_more_is_saved_than_the_reserve() -> None:
    budget = RetryBudget(ratio=1.0, reserve=3)
    for _ in range(50):
        budget.deposit()
    assert spent(budget) == 3


def test_by_default_a_fifth_and_ten() -> None:
    budget = RetryBudget()
    assert spent(budget) == 10
    for _ in range(11):
        budget.deposit()
    assert spent(budget) == 2
    for _ in range(51):
        budget.deposit()
    assert spent(budget) == 10


async def retries(retry: Retry) -> tuple[int, Phi2Error | None]:
    count = 0
    try:
        async for event in retry.stream(REQUEST):
            count += isinstance(event, Retrying)
            assert not isinstance(event, Chunk) or event.text == "yes"
    except Phi2Error as error:
        return count, error
    return count, None


@pytest.mark.parametrize("attempts", [1, 2, 4])
async def test_as_many_calls_as_allowed_and_not_one_more(attempts: int) -> None:
    backend = ScriptedBackend([Overloaded("busy")])
    count, error = await retries(Retry(backend, attempts=attempts, base=0.0))
    assert (count, len(backend.requests)) == (attempts - 1, attempts)
    assert error is not None
    assert error.attempts == attempts


async def test_four_calls_by_default() -> None:
    backend = ScriptedBackend([Overloaded("busy")])
    retry = Retry(backend)
    retry._backoff = lambda state: 0.0  # type: ignore[assignment]
    assert (await retries(retry))[0] == 3


def test_waits_begin_at_half_a_second_and_end_at_a_minute_by_default() -> None:
    backoff = Retry(ScriptedBackend(["x"]))._backoff
    assert (backoff.multiplier, backoff.max) == (0.5, 60.0)


@pytest.mark.parametrize(("seconds", "tried_again"), [(60.0, False), (60.5, True)])
async def test_a_wait_up_to_the_deadline_itself_is_not_begun(
    seconds: float, tried_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("phi2sdk.client.policies.monotonic", lambda: 100.0)
    retry = Retry(ScriptedBackend([RateLimited("slow", retry_after=60.0)]), base=0.0)
    request = Request(prompts.raw("x"), Sampling(), timeout=seconds)
    waits = []
    async with aclosing(retry.stream(request)) as events:
        with suppress(RateLimited):
            async for event in events:
                if isinstance(event, Retrying):
                    waits.append(event.wait)
                    break
    assert bool(waits) == tried_again


def test_no_attempt_begins_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("phi2sdk.client.policies.monotonic", lambda: 100.0)
    assert _within(REQUEST, 100.5).timeout == 0.5
    with pytest.raises(Timeout):
        _within(REQUEST, 100.0)


def test_the_most_calls_are_those_of_all_layers() -> None:
    inner = Retry(ScriptedBackend(["x"]), attempts=2)
    assert Retry(inner, attempts=3).most_calls == 6


def test_less_than_one_call_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="attempts=0"):
        Retry(ScriptedBackend(["x"]), attempts=0)


async def test_a_wait_as_long_as_the_longest_is_kept_and_a_longer_one_is_not() -> None:
    for asked, count in ((0.02, 1), (0.021, 0)):
        backend = ScriptedBackend([RateLimited("slow", retry_after=asked)], ["yes"])
        assert (await retries(Retry(backend, base=0.0, longest_wait=0.02)))[0] == count


async def test_jitter_is_added_to_what_the_provider_asks() -> None:
    retry = Retry(ScriptedBackend(["x"]), base=2.0)
    waits = [retry._wait(RateLimited("slow", retry_after=5.0), 1) or 0 for _ in range(300)]
    assert 5.0 <= min(waits) < 5.2
    assert 6.8 < max(waits) <= 7.0


async def test_a_request_without_limit_is_tried_again_too() -> None:
    backend = ScriptedBackend([Overloaded("busy")], ["yes"])
    request = Request(prompts.raw("x"), Sampling(), timeout=None)
    events = [event async for event in Retry(backend, base=0.0).stream(request)]
    assert sum(isinstance(event, Retrying) for event in events) == 1
    assert [r.timeout for r in backend.requests] == [None, None]


async def test_a_closed_policy_tries_nothing_again() -> None:
    backend = ScriptedBackend([Overloaded("busy")], ["never"])
    retry = Retry(backend, base=0.0)
    events = retry.stream(REQUEST)
    async for event in events:
        if isinstance(event, Retrying):
            await retry.close()
            with pytest.raises(Overloaded):
                await anext(events)
            break
    assert len(backend.requests) == 1
    assert backend.closed == 1
