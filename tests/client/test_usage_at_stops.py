"""Billed usage is kept if the client cuts at a stop; usage of a closed stream is estimated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest
from aiohttp import web

from phi2sdk import prompts
from phi2sdk.backends.base import Backend
from phi2sdk.backends.hf import HFBackend
from phi2sdk.backends.openai import OpenAIBackend
from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.client.budget import Budget, Spending
from phi2sdk.completion import Count
from phi2sdk.config import Target
from phi2sdk.emulator import Emulator, ScriptedEngine
from phi2sdk.pricing import resolve
from phi2sdk.secret import Secret
from phi2sdk.stops import ACCOUNT_SECONDS
from tests.metering import SOURCED, target_of
from tests.transport.misbehaving import serving

ANSWER = "Tides follow the moon. STOP And then some more words of no use."
STOPS = ("one", "two", "three", "four", "STOP")
"""The route takes four of them: the fifth is cut on our side only."""
PRICE = resolve({"model": "per-token", "input": 1000, "output": 2000, **SOURCED})
PROVIDERS = ("azure", "clarifai", "hf", "openai")


@pytest.fixture
async def running() -> AsyncIterator[Emulator]:
    async with Emulator(ScriptedEngine(ANSWER)) as emulator:
        yield emulator


def priced(emulator: Emulator, provider: str) -> Target:
    return target_of(emulator, provider, PRICE)


@pytest.mark.parametrize("provider", ["clarifai", "hf", "openai"])
async def test_a_reply_that_is_cut_at_our_stop_keeps_usage_cost_and_settlement(
    running: Emulator, provider: str
) -> None:
    spending = Spending(100.0)
    async with AsyncPhi2Client(priced(running, provider), budget=spending) as phi:
        answer = await phi.generate(prompts.raw("Explain tides."), max_tokens=64, stop=STOPS)
    meter = getattr(running, provider).meter
    assert (answer.text, answer.finish_reason) == ("Tides follow the moon.", "stop")
    assert answer.usage.input == Count(meter.prompt_tokens)
    assert answer.usage.output_billed == Count(meter.completion_tokens)
    assert answer.usage.output_kept is not None
    assert answer.usage.output_kept.value < meter.completion_tokens
    owed = (meter.prompt_tokens * 1000 + meter.completion_tokens * 2000) / 1e6
    assert answer.cost is not None
    assert answer.cost.usd == pytest.approx(owed)
    assert not answer.cost.estimated
    one_token = 2000 / 1e6  # a count may lack the end-of-text token
    assert owed <= spending.spent <= owed + one_token + 1e-12


async def test_tgis_completions_keep_their_usage_at_the_end_of_text(running: Emulator) -> None:
    """Its stream shows the end-of-text token as text, which is also a stop."""
    running.hf.engine = ScriptedEngine("Tides follow the moon.")
    made = HFBackend(
        endpoint=running.hf.url, token=Secret(running.hf.key), route="completions", server="tgi"
    )
    async with AsyncPhi2Client(made) as phi:
        stream = phi.stream(prompts.raw("Explain tides."), max_tokens=64, temperature=0.5)
        async with stream as chunks:
            text = "".join([chunk.text async for chunk in chunks])
            answer = stream.completion
    call = running.hf.calls[-1]
    assert (text, answer.finish_reason) == ("Tides follow the moon.", "stop")
    assert answer.usage.input == Count(call.prompt_tokens)
    assert answer.usage.output_billed == Count(call.completion_tokens)
    assert not call.cancelled


@pytest.mark.parametrize("provider", ["clarifai", "hf", "openai"])
async def test_a_stream_that_we_end_is_estimated_and_settled_at_its_bound(
    running: Emulator, provider: str
) -> None:
    spending = Spending(100.0)
    prompt = prompts.raw("Explain tides.")
    async with AsyncPhi2Client(priced(running, provider), budget=spending) as phi:
        stream = phi.stream(prompt, max_tokens=64, stop=STOPS)
        async with stream as chunks:
            assert "".join([chunk.text async for chunk in chunks]).strip() == ANSWER[:22]
            answer = stream.completion
    for count in (answer.usage.output_billed, answer.usage.output_kept):
        assert count is not None
        assert count.estimated
        assert 0 < count.value < 64
    assert answer.usage.input is not None
    assert answer.cost is not None
    assert answer.cost.estimated
    bytes_and_extra = len(prompt.text.encode()) + 8
    assert spending.spent == pytest.approx((bytes_and_extra * 1000 + 64 * 2000) / 1e6)
    assert spending.held == 0


async def test_a_prompt_that_was_counted_at_the_start_is_settled_at_that_count() -> None:
    """TGI's header tells the prompt's tokens before the stream begins."""

    async def handler(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "x-prompt-tokens": "3"}
        )
        await reply.prepare(request)
        token = {"id": 1, "text": "Tides STOP", "logprob": -0.1, "special": False}
        for _ in range(64):
            await reply.write(f"data: {json.dumps({'token': token})}\n\n".encode())
        return reply

    spending = Spending(100.0)
    async with serving(handler) as url:
        inner: Backend = HFBackend(endpoint=url)
        async with AsyncPhi2Client(Budget(inner, price=PRICE, spending=spending)) as phi:
            stream = phi.stream(prompts.raw("Explain tides."), max_tokens=64, stop=STOPS)
            async with stream as chunks:
                assert [chunk.text async for chunk in chunks]
    assert stream.completion.usage.input == Count(3)
    assert spending.spent == pytest.approx((3 * 1000 + 64 * 2000) / 1e6)


@pytest.mark.parametrize("ending", ["silence", "error", "cut"])
async def test_counts_that_do_not_come_cost_no_answer(ending: str) -> None:
    """The text is complete at our stop, whatever happens to the counts behind it."""

    async def handler(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        choice: dict[str, Any] = {"text": "Tides.<|endoftext|>", "finish_reason": "stop"}
        await reply.write(f"data: {json.dumps({'choices': [choice]})}\n\n".encode())
        if ending == "silence":
            await gone.wait()
        if ending == "error":
            await reply.write(b'data: {"error": {"message": "no"}}\n\n')
        return reply

    gone = asyncio.Event()
    async with serving(handler) as url:
        async with AsyncPhi2Client(OpenAIBackend(base_url=f"{url}/v1")) as phi:
            began = monotonic()
            stream = phi.stream(prompts.raw("Explain tides."), max_tokens=64)
            async with stream as chunks:
                assert "".join([chunk.text async for chunk in chunks]) == "Tides."
            assert monotonic() - began < ACCOUNT_SECONDS + 10
        gone.set()
    assert stream.completion.finish_reason == "stop"
