"""Tokens leave when the schedule says, and the record says when that was."""

from __future__ import annotations

import time

import aiohttp
import pytest

from phi2sdk.emulator import Emulator, Schedule, ScriptedEngine

from .conftest import ANSWER

pytestmark = pytest.mark.timed


def test_due_times_follow_the_definition() -> None:
    schedule = Schedule(first=0.5, per_token=0.1, stall=(3, 2.0))
    assert [round(schedule.due(index), 3) for index in range(5)] == [0.5, 0.6, 0.7, 2.8, 2.9]


@pytest.mark.parametrize("wrong", [{"first": -1.0}, {"per_token": -1.0}, {"tokens_per_write": 0}])
def test_impossible_schedules_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"negative|at least"):
        Schedule(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("per_write", [1, 3])
async def test_a_stream_is_sent_no_earlier_than_due(
    emulator: Emulator, http: aiohttp.ClientSession, per_write: int
) -> None:
    schedule = Schedule(0.03, 0.004, tokens_per_write=per_write, stall=(4, 0.02))
    emulator.schedule = schedule
    body = {"model": "microsoft/phi-2", "prompt": "Hello", "stream": True}
    async with http.post(f"{emulator.openai.url}/v1/completions", json=body) as reply:
        text = await reply.text()
    finished_ns = time.perf_counter_ns()
    call = emulator.openai.calls[0]
    assert sum(characters for _, characters in call.sent) == len(ANSWER)
    last_tokens = [min(8, per_write * (write + 1) - 1) for write in range(len(call.sent))]
    late = [
        (sent_ns - call.t_received_ns) / 1e9 - schedule.due(index)
        for (sent_ns, _), index in zip(call.sent, last_tokens, strict=True)
    ]
    assert min(late) >= 0
    assert call.sent[-1][0] <= finished_ns
    assert text.count("data: {") == len(call.sent) + 1


async def test_an_unstreamed_reply_leaves_when_its_last_token_is_due(
    emulator: Emulator, http: aiohttp.ClientSession
) -> None:
    emulator.schedule = Schedule(0.02, 0.005)
    async with http.post(f"{emulator.hf.url}/generate", json={"inputs": "Hello"}) as reply:
        await reply.read()
    call = emulator.hf.calls[0]
    [(sent_ns, characters)] = call.sent
    assert characters == len(ANSWER)
    assert (sent_ns - call.t_received_ns) / 1e9 >= 0.02 + 8 * 0.005


async def test_the_meter_adds_up_what_the_calls_were_billed(
    emulator: Emulator, http: aiohttp.ClientSession
) -> None:
    for stream in (False, True):
        body = {"model": "microsoft/phi-2", "prompt": "Hello there", "stream": stream}
        async with http.post(f"{emulator.openai.url}/v1/completions", json=body) as reply:
            await reply.read()
    meter, calls = emulator.openai.meter, emulator.openai.calls
    assert (meter.requests, meter.prompt_tokens, meter.completion_tokens) == (2, 4, 18)
    assert sum(call.prompt_tokens for call in calls) == meter.prompt_tokens
    assert sum(call.completion_tokens for call in calls) == meter.completion_tokens
    assert [call.finish for call in calls] == ["stop", "stop"]


def test_engines_and_schedules_can_differ_by_provider() -> None:
    emulator = Emulator(providers=("azure", "hf"))
    emulator.azure.engine = ScriptedEngine("other")
    emulator.azure.schedule = Schedule(first=1.0)
    assert emulator.hf.engine is not emulator.azure.engine
    assert emulator.hf.schedule == Schedule()
