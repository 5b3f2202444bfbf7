"""Failures of a target, clients that leave, and the end of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import openai
import pytest

from phi2sdk.emulator import Emulator, Fault, Schedule
from tests.serve.serving import Served, served

ASK: dict[str, Any] = {"prompt": "Tides?", "max_tokens": 32}


async def test_a_route_falls_back_until_the_first_text_of_a_stream(gateway: Served) -> None:
    gateway.emulator.azure.faults.push(Fault("status", status=503))
    stream = await gateway.sdk.completions.with_raw_response.create(
        model="safe", **ASK, stream=True
    )
    text = "".join([chunk.choices[0].text async for chunk in stream.parse()])
    assert text == " Tides follow the moon."
    assert (stream.headers["x-phi2-target"], stream.headers["x-phi2-attempts"]) == ("openai", "2")


@pytest.mark.parametrize("kind", ["cut", "error_event", "garbage"])
async def test_a_failure_after_the_first_text_is_an_error_event_without_done(
    kind: Any, gateway: Served
) -> None:
    fault = Fault(kind, after=2)
    gateway.emulator.openai.faults.push(fault, times=2)
    stream = await gateway.sdk.completions.create(model="openai", **ASK, stream=True)
    said: list[str] = []
    with pytest.raises(openai.APIError) as caught:
        await _texts(stream, said)
    assert "".join(said) == " Tides follow"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"].startswith("provider_")
    async with gateway.http.post(
        f"{gateway.root}/v1/completions", json={"model": "openai", **ASK, "stream": True}
    ) as reply:
        raw = await reply.text()
    assert raw.rstrip().split("\n")[-2] == "event: error"
    assert "[DONE]" not in raw


async def test_garbage_is_a_bad_response_and_no_200(gateway: Served) -> None:
    gateway.emulator.openai.faults.push(Fault("garbage"))
    status, document, _ = await gateway.post("/v1/completions", {"model": "openai", **ASK})
    assert (status, document["error"]["code"]) == (502, "provider_bad_response")


async def test_a_target_that_hangs_ends_at_the_deadline(emulator: Emulator, tmp_path: Path) -> None:
    async with served(emulator, tmp_path, timeout=0.3) as gateway:
        for stream in (False, True):
            emulator.openai.faults.push(Fault("hang"))
            ask = {"model": "openai", **ASK, "stream": stream}
            status, document, _ = await gateway.post("/v1/completions", ask)
            assert (status, document["error"]["code"]) == (504, "timeout")
        emulator.openai.faults.push(Fault("hang", after=1))

        async def read() -> None:
            await _texts(await gateway.sdk.completions.create(model="openai", **ASK, stream=True))

        with pytest.raises(openai.APIError, match="did not answer in time"):
            await read()


@pytest.mark.parametrize("stream", [False, True])
async def test_the_call_at_the_provider_ends_within_a_second_when_the_client_leaves(
    stream: bool, gateway: Served
) -> None:
    gateway.emulator.openai.faults.push(Fault("hang", after=1 if stream else None))
    ask = {"model": "openai", **ASK, "stream": stream}
    asking = asyncio.create_task(_read(gateway, ask))
    calls = gateway.emulator.openai.calls
    await asyncio.to_thread(calls.wait_for, 1)
    asking.cancel()
    left = monotonic()
    await asyncio.gather(asking, return_exceptions=True)
    assert await asyncio.to_thread(calls[0].ended.wait, 5)
    assert monotonic() - left < 1
    assert calls[0].cancelled
    await _until(lambda: gateway.gateway.admission.running == 0)


async def test_a_client_that_waits_in_the_queue_and_leaves_frees_its_place(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with served(emulator, tmp_path, concurrency=1, queue=1) as gateway:
        emulator.openai.faults.push(Fault("hang"))
        ask = {"model": "openai", **ASK}
        first = asyncio.create_task(_read(gateway, ask))
        await asyncio.to_thread(emulator.openai.calls.wait_for, 1)
        second = asyncio.create_task(_read(gateway, ask))
        admission = gateway.gateway.admission
        await _until(lambda: admission.waiting == 1)
        status, document, headers = await gateway.post("/v1/completions", ask)
        assert (status, document["error"]["code"]) == (429, "queue_full")
        assert int(headers["Retry-After"]) >= 1
        second.cancel()
        await _until(lambda: admission.waiting == 0)
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        await _until(lambda: admission.running == 0)
        status, _, _ = await gateway.post("/v1/completions", ask)
        assert status == 200


async def test_every_one_of_many_clients_is_answered_or_refused(
    emulator: Emulator, tmp_path: Path
) -> None:
    emulator.schedule = Schedule(first=0.05)
    async with served(emulator, tmp_path, concurrency=4, queue=16) as gateway:
        ask = {"model": "openai", **ASK}
        said = await asyncio.gather(*(gateway.post("/v1/completions", ask) for _ in range(100)))
        statuses = [status for status, _, _ in said]
        assert set(statuses) == {200, 429}
        assert statuses.count(200) == len(emulator.openai.calls) >= 20
        assert gateway.gateway.admission.running == gateway.gateway.admission.waiting == 0


async def test_a_rate_limit_spaces_requests_and_refuses_those_beyond_the_queue(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with served(emulator, tmp_path, rate=20, queue=4) as gateway:
        ask = {"model": "openai", **ASK}
        begun = monotonic()
        said = await asyncio.gather(*(gateway.post("/v1/completions", ask) for _ in range(10)))
        assert sorted(status for status, _, _ in said) == [200] * 5 + [429] * 5
        assert monotonic() - begun > 0.19  # four intervals of 1/20 s


async def test_requests_that_run_end_and_new_ones_are_refused_while_the_gateway_drains(
    gateway: Served,
) -> None:
    gateway.emulator.schedule = Schedule(first=0.1, per_token=0.02)
    ask = {"model": "openai", **ASK}
    await asyncio.gather(gateway.get("/health"), gateway.get("/health"))  # two connections
    stream = await gateway.sdk.completions.create(**ask, stream=True)
    whole = asyncio.create_task(gateway.post("/v1/completions", ask))
    await asyncio.to_thread(gateway.emulator.openai.calls.wait_for, 2)
    draining = asyncio.create_task(gateway.gateway.drain())
    await _until(lambda: gateway.gateway.admission.draining)
    text = "".join([chunk.choices[0].text async for chunk in stream])
    status, _, _ = await whole
    assert (text, status) == (" Tides follow the moon.", 200)
    assert await draining
    status, document, headers = await gateway.post("/v1/completions", ask)  # on the other one
    assert (status, document["error"]["code"]) == (503, "shutting_down")
    assert (headers["Retry-After"], headers["Connection"]) == ("1", "close")
    with pytest.raises(aiohttp.ClientConnectorError):
        await gateway.post("/v1/completions", ask)


async def test_a_drain_that_takes_too_long_ends_and_says_so(gateway: Served) -> None:
    gateway.emulator.openai.faults.push(Fault("hang"))
    asking = asyncio.create_task(_read(gateway, {"model": "openai", **ASK}))
    await asyncio.to_thread(gateway.emulator.openai.calls.wait_for, 1)
    assert await gateway.gateway.drain(0.05) is False
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def _read(gateway: Served, ask: dict[str, Any]) -> str:
    async with gateway.http.post(f"{gateway.root}/v1/completions", json=ask) as reply:
        return await reply.text()


async def _texts(stream: Any, said: list[str] | None = None) -> list[str]:
    """The texts of a stream, also up to a failure."""
    texts = [] if said is None else said
    async for chunk in stream:
        texts.append(chunk.choices[0].text)
    return texts


async def _until(condition: Callable[[], bool]) -> None:
    """Until the loop has made a condition true."""
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - the gateway sets no event
            await asyncio.sleep(0)
