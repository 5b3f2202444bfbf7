"""Retry and fallback: what is tried again, and above all what is not."""

from __future__ import annotations

import pytest

from phi2sdk import prompts
from phi2sdk.backends.base import Backend
from phi2sdk.client.policies import Fallback, Retry, RetryBudget
from phi2sdk.completion import Chunk, Event, Request, Retrying, Sent
from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    Phi2Error,
    RateLimited,
    Timeout,
)
from phi2sdk.sampling import Sampling
from tests.scripted import ScriptedBackend

REQUEST = Request(prompts.instruct("x"), Sampling())


async def play(backend: Backend, request: Request = REQUEST) -> list[Event]:
    return [event async for event in backend.stream(request)]


def texts(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Chunk)]


async def test_a_transient_failure_is_tried_again_and_told() -> None:
    inner = ScriptedBackend([Overloaded("busy")], [RateLimited("slow")], ["yes"])
    events = await play(Retry(inner, base=0.0))
    assert texts(events) == ["yes"]
    told = [type(e.error) for e in events if isinstance(e, Retrying)]
    assert told == [Overloaded, RateLimited]
    assert len(inner.requests) == 3


@pytest.mark.parametrize("kind", [AuthenticationFailed, InvalidRequest, BadResponse])
async def test_what_cannot_get_better_is_raised_at_once(kind: type[Phi2Error]) -> None:
    inner = ScriptedBackend([kind("no")], ["never"])
    with pytest.raises(kind):
        await play(Retry(inner, base=0.0))
    assert len(inner.requests) == 1


async def test_a_stream_is_not_tried_again_after_its_first_chunk() -> None:
    inner = ScriptedBackend(["half", Overloaded("broke")], ["never"])
    with pytest.raises(Overloaded):
        await play(Retry(inner, base=0.0))
    assert len(inner.requests) == 1


async def test_the_last_error_says_how_many_attempts_there_were() -> None:
    inner = ScriptedBackend([Overloaded("busy")])
    with pytest.raises(Overloaded) as caught:
        await play(Retry(inner, attempts=3, base=0.0))
    assert caught.value.attempts == 3
    assert len(inner.requests) == 3


async def test_a_retry_after_is_honored_and_an_absurd_one_ends_the_request() -> None:
    inner = ScriptedBackend([RateLimited("slow", retry_after=0.01)], ["yes"])
    waits = [e.wait for e in await play(Retry(inner, base=0.0)) if isinstance(e, Retrying)]
    assert waits == [0.01]
    inner = ScriptedBackend([RateLimited("slow", retry_after=86_400)], ["never"])
    with pytest.raises(RateLimited):
        await play(Retry(inner))
    assert len(inner.requests) == 1


async def test_no_wait_goes_past_the_deadline() -> None:
    inner = ScriptedBackend([RateLimited("slow", retry_after=5)], ["never"])
    request = Request(prompts.instruct("x"), Sampling(), timeout=1.0)
    with pytest.raises(RateLimited):
        await play(Retry(inner), request)
    assert len(inner.requests) == 1


async def test_each_attempt_gets_what_is_left_of_the_time() -> None:
    inner = ScriptedBackend([Overloaded("busy")], ["yes"])
    request = Request(prompts.instruct("x"), Sampling(), timeout=50.0)
    await play(Retry(inner, base=0.0), request)
    first, second = (r.timeout for r in inner.requests)
    assert first is not None
    assert second is not None
    assert 49 < second < first <= 50


async def test_no_time_left_is_a_timeout_before_any_call() -> None:
    inner = ScriptedBackend(["never"])
    with pytest.raises(Timeout):
        await play(Retry(inner), Request(prompts.instruct("x"), Sampling(), timeout=0.0))
    assert inner.requests == []


async def test_the_budget_stops_a_storm() -> None:
    inner = ScriptedBackend([Overloaded("busy")])
    retry = Retry(inner, attempts=10, base=0.0, budget=RetryBudget(ratio=0.1, reserve=5))
    for _ in range(100):
        with pytest.raises(Overloaded):
            await play(retry)
    retries = len(inner.requests) - 100
    assert retries <= 5 + 0.1 * 100, "the reserve, and a tenth of the requests"


async def test_back_off_is_full_jitter_between_zero_and_a_doubling_bound() -> None:
    retry = Retry(ScriptedBackend([""]), base=1.0, longest_wait=8.0, attempts=99)
    for attempt, bound in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (9, 8.0)):
        waits = [retry._wait(Overloaded("busy"), attempt) or 0.0 for _ in range(300)]
        assert 0 <= min(waits) < 0.1 * bound
        assert 0.9 * bound < max(waits) <= bound


async def test_leaving_early_closes_the_backend_underneath() -> None:
    inner = ScriptedBackend(["one", "two"])
    events = Retry(Fallback([inner])).stream(REQUEST)
    async for event in events:
        if isinstance(event, Chunk):
            break
    await events.aclose()
    assert inner.closed_early == 1


async def test_a_fallback_asks_the_next_one_and_the_receipt_says_who_answered() -> None:
    first = ScriptedBackend([ModelNotFound("gone")], target="first")
    second = ScriptedBackend(["yes"], target="second")
    events = await play(Fallback([first, second]))
    assert texts(events) == ["yes"]
    assert [e.receipt.target for e in events if isinstance(e, Sent)] == ["first", "second"]


async def test_a_fallback_does_not_pass_a_wrong_request_around() -> None:
    first = ScriptedBackend([InvalidRequest("wrong")], target="first")
    second = ScriptedBackend(["never"], target="second")
    with pytest.raises(InvalidRequest):
        await play(Fallback([first, second]))
    assert second.requests == []


async def test_a_fallback_never_mixes_two_answers() -> None:
    first = ScriptedBackend(["half", Overloaded("broke")], target="first")
    second = ScriptedBackend(["whole"], target="second")
    with pytest.raises(Overloaded):
        await play(Fallback([first, second]))
    assert second.requests == []


async def test_the_error_of_a_fallback_names_every_target_with_its_reason() -> None:
    busy = Overloaded("busy", provider="azure", status=503)
    first = ScriptedBackend([busy], target="first")
    second = ScriptedBackend([ModelNotFound("no such model", provider="hf")], target="second")
    third = ScriptedBackend([BadResponse("half", provider="openai", status=200)], target="third")
    with pytest.raises(BadResponse) as caught:
        await play(Fallback([Retry(first, attempts=2, base=0.01), second, third]))
    assert str(caught.value) == (
        "no target answered. first: busy (status 503, attempts 2); second: no such model; "
        "third: half (status 200)"
    )
    assert caught.value.status == 200


async def test_the_error_of_the_only_target_that_was_asked_is_left_as_it_is() -> None:
    first = ScriptedBackend([InvalidRequest("wrong", provider="azure")], target="first")
    with pytest.raises(InvalidRequest, match=r"^azure: wrong$"):
        await play(Fallback([first, ScriptedBackend(["never"], target="second")]))


async def test_closing_closes_all() -> None:
    backends = [ScriptedBackend(["x"]), ScriptedBackend(["x"])]
    await Fallback([Retry(b) for b in backends]).close()
    assert [b.closed for b in backends] == [1, 1]
