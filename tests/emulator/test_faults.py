"""Each scripted fault is what a client sees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from phi2sdk.emulator import Decoding, Emulator, Fault, ScriptedEngine, Token
from phi2sdk.emulator.server import HttpServer
from tests.emulator.conftest import ANSWER

Session = aiohttp.ClientSession
BODY = {"inputs": "Hello"}


def plain(emulator: Emulator) -> str:
    return f"{emulator.hf.url}/generate"


def stream(emulator: Emulator) -> str:
    return f"{emulator.hf.url}/generate_stream"


async def read(http: Session, url: str, **options: Any) -> bytes:
    async with http.post(url, json=BODY, **options) as reply:
        return await reply.read()


async def test_faults_are_used_up_one_a_call(emulator: Emulator, http: Session) -> None:
    emulator.hf.faults.push(Fault("status", status=503), times=2)
    emulator.hf.faults.push(Fault("status", status=429, body={"error": "busy"}))
    seen = []
    for _ in range(4):
        async with http.post(plain(emulator), json=BODY) as reply:
            seen.append(reply.status)
    assert seen == [503, 503, 429, 200]
    assert [call.fault for call in emulator.hf.calls] == ["status"] * 3 + [None]
    assert emulator.hf.meter.requests == 4
    emulator.hf.faults.push(Fault("hang"))
    emulator.hf.faults.clear()
    assert len(emulator.hf.faults) == 0


async def test_a_status_carries_its_headers_and_body(emulator: Emulator, http: Session) -> None:
    emulator.hf.faults.push(
        Fault("status", status=424, headers={"X-Thing": "1"}, body=b"<html>", path="/health")
    )
    await read(http, plain(emulator))
    async with http.get(f"{emulator.hf.url}/health") as reply:
        assert (reply.status, reply.headers["X-Thing"]) == (424, "1")
        assert await reply.read() == b"<html>"


@pytest.mark.parametrize("where", ["before_headers", "in_headers", "in_body", "between_events"])
@pytest.mark.parametrize("route", [plain, stream])
async def test_resets_reach_the_client(
    emulator: Emulator, http: Session, where: Any, route: Any
) -> None:
    emulator.hf.faults.push(Fault("reset", where=where, after=2))
    with pytest.raises((aiohttp.ClientConnectionError, aiohttp.ClientPayloadError)):
        await read(http, route(emulator))
    assert emulator.hf.calls[0].ended.is_set()


async def test_a_cut_stream_ends_properly_without_its_end(
    emulator: Emulator, http: Session
) -> None:
    emulator.hf.faults.push(Fault("cut", after=3))
    events = await read(http, stream(emulator))
    assert events.count(b"data:") == 3
    assert b"finish_reason" not in events
    emulator.hf.faults.push(Fault("cut"))
    with pytest.raises(aiohttp.ClientPayloadError):
        await read(http, plain(emulator))


@pytest.mark.parametrize(
    ("form", "body"), [("object", b"{}"), ("null", b"null"), ("empty", b""), ("html", b"<!doc")]
)
async def test_garbage_comes_with_status_200(
    emulator: Emulator, http: Session, form: Any, body: bytes
) -> None:
    emulator.hf.faults.push(Fault("garbage", form=form))
    async with http.post(plain(emulator), json=BODY) as reply:
        assert reply.status == 200
        assert (await reply.read()).startswith(body)


async def test_garbage_and_errors_come_in_the_middle_of_a_stream(
    emulator: Emulator, http: Session
) -> None:
    emulator.hf.faults.push(Fault("garbage", form="truncated", after=1))
    events = (await read(http, stream(emulator))).split(b"\n\n")
    assert events[1].startswith(b'data: {"id":"x"')
    assert b"generated_text" in events[-2]
    emulator.hf.faults.push(Fault("error_event", after=1))
    events = (await read(http, stream(emulator))).split(b"\n\n")
    assert len(events) == 3
    assert b"error_type" in events[1]


async def test_a_client_that_gives_up_on_a_hang_is_seen(emulator: Emulator, http: Session) -> None:
    short = aiohttp.ClientTimeout(total=0.05)
    for fault in (Fault("hang"), Fault("hang", after=2)):
        emulator.hf.faults.push(fault)
        with pytest.raises(TimeoutError):
            await read(http, stream(emulator), timeout=short)
        call = emulator.hf.calls[-1]
        await asyncio.to_thread(call.ended.wait, 5)
        assert call.cancelled


@pytest.mark.parametrize("route", [plain, stream])
async def test_an_endless_reply_lasts_until_the_client_leaves(
    emulator: Emulator, http: Session, route: Any
) -> None:
    emulator.hf.faults.push(Fault("endless"))
    async with http.post(route(emulator), json=BODY) as reply:
        received = 0
        while received < 300_000 and not reply.content.at_eof():
            received += len(await reply.content.readany())
        assert received >= 300_000
        reply.close()
    call = emulator.hf.calls[0]
    await asyncio.to_thread(call.ended.wait, 5)
    assert call.cancelled


async def test_drip_and_delay_bring_the_right_reply_late(emulator: Emulator, http: Session) -> None:
    right = await read(http, plain(emulator))
    for fault in (Fault("drip", seconds=0.0), Fault("delay", seconds=0.05)):
        emulator.hf.faults.push(fault)
        assert await read(http, plain(emulator)) == right


async def test_a_script_without_an_answer_is_the_providers_500(
    emulator: Emulator, http: Session
) -> None:
    emulator.engine = ScriptedEngine({"something else": "x"})
    async with http.post(plain(emulator), json=BODY) as reply:
        assert reply.status == 500
    assert b"error" in await read(http, stream(emulator))


def test_an_unknown_kind_is_named() -> None:
    with pytest.raises(ValueError, match="tornado"):
        Fault("tornado")  # type: ignore[arg-type]


class _Leaving(ScriptedEngine):
    """Its client's connection breaks while the second token is made, before the server is told."""

    server: HttpServer

    async def tokens(self, prompt: str, decoding: Decoding) -> AsyncIterator[Token]:
        async for number, token in aenumerate(super().tokens(prompt, decoding)):
            if number:
                assert self.server._runner is not None
                assert self.server._runner.server is not None
                for connection in self.server._runner.server.connections:
                    assert connection.transport is not None
                    connection.transport.abort()
            yield token


async def aenumerate(items: AsyncIterator[Token]) -> AsyncIterator[tuple[int, Token]]:
    number = 0
    async for item in items:
        yield number, item
        number += 1


@pytest.mark.parametrize("provider", ["hf", "azure", "openai"])
async def test_a_client_that_leaves_a_stream_early_is_recorded_and_no_error_of_the_server(
    provider: str, http: Session, caplog: pytest.LogCaptureFixture
) -> None:
    engine = _Leaving(ANSWER)
    async with Emulator(engine, providers=("azure", "hf", "openai")) as emulator:
        engine.server = getattr(emulator, provider)
        path = {
            "hf": "/generate_stream",
            "azure": "/openai/v1/completions",
            "openai": "/v1/completions",
        }[provider]
        url = f"{engine.server.url}{path}"
        asked = BODY if provider == "hf" else {"prompt": "x", "model": engine.model, "stream": True}
        reply = await http.post(url, json=asked)
        assert reply.status == 200
        with pytest.raises(aiohttp.ClientError):
            await reply.read()
        call = engine.server.calls[0]
        await asyncio.to_thread(call.ended.wait, 5)
        assert call.cancelled
    assert [record.getMessage() for record in caplog.records] == []
