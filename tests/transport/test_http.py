"""The HTTP stack, against servers that behave and servers that do not."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
from typing import Any

import pytest
from aiohttp import web

from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    ConnectionFailed,
    InvalidRequest,
    ProviderFault,
    Timeout,
)
from phi2sdk.transport.http import Timeouts
from tests.transport.misbehaving import KEY, answers, post, raw, serving, stream, wire_to

# ------------------------------------------------------------------------- a good call


async def test_a_call_carries_json_the_key_and_nothing_of_its_own() -> None:
    seen: list[web.Request] = []

    async def handler(asked: web.Request) -> web.StreamResponse:
        seen.append(asked)
        return web.json_response(await asked.json())

    async with serving(handler) as url:
        assert await post(url + "/base/", {"text": "Ünïcode 🙂"}) == {"text": "Ünïcode 🙂"}
    (asked,) = seen
    assert asked.path == "/base/x"
    assert asked.headers["Authorization"] == f"Bearer {KEY}"
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.headers["Accept-Encoding"] == "identity"
    assert "Cookie" not in asked.headers


async def test_cookies_are_not_kept() -> None:
    async def handler(asked: web.Request) -> web.StreamResponse:
        reply = web.json_response(dict(asked.cookies))
        reply.set_cookie("session", "s")
        return reply

    async with serving(handler) as url:
        wire = wire_to(url)
        for _ in range(2):
            async with wire.get("/x") as reply:
                assert (await reply.json())[1] == {}
        await wire.close()


async def test_clock_readings_are_taken_as_bytes_arrive() -> None:
    asked = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        await reply.write(b"data: 1\n\n")
        await asked.wait()
        await reply.write(b"data: 2\n\ndata: 3\n\n")
        return reply

    async with serving(handler) as url:
        wire = wire_to(url)
        times = []
        async with wire.post("/x", {}) as reply:
            async for t_ns, _ in reply.events():
                times.append(t_ns)
                asked.set()
        await wire.close()
    assert reply.t_headers_ns < times[0] < times[1] == times[2]


async def test_a_connection_serves_the_next_call_also_after_a_stream() -> None:
    peers = set()

    async def handler(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        await reply.write(b"data: 1\n\ndata: [DONE]\n\n")
        return reply

    async with serving(handler) as url:
        wire = wire_to(url)
        for _ in range(4):
            async with wire.post("/x", {}) as reply:
                async for _, event in reply.events():
                    if event.data == b"[DONE]":
                        break
                await reply.drain()
        await wire.close()
    assert len(peers) == 1


async def test_a_body_that_does_not_end_after_done_delays_no_caller() -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        writer.write(b"data: [DONE]\n\n")
        await asyncio.get_running_loop().create_future()

    async with raw(script) as url:
        wire = wire_to(url)
        async with wire.post("/x", {}) as reply:
            async for _ in reply.events():
                break
            await reply.drain()
        await wire.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()


async def test_leaving_early_ends_the_call_at_the_server() -> None:
    left = asyncio.Event()

    async def handler(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        try:
            while True:
                await reply.write(b"data: 1\n\n")
                await asyncio.sleep(0)
        finally:
            left.set()

    async with serving(handler) as url:
        wire = wire_to(url)
        async with wire.post("/x", {}) as reply:
            async for _ in reply.events():
                break
        async with asyncio.timeout(5):
            await left.wait()
        await wire.close()


# --------------------------------------------------------------------------- bad calls


@pytest.mark.parametrize("limits", [Timeouts(idle=0.05), Timeouts(attempt=0.05)])
async def test_silence_is_a_timeout(limits: Timeouts) -> None:
    done = asyncio.Event()

    async def script(*_: Any) -> None:
        await done.wait()

    async with raw(script) as url:
        with pytest.raises(Timeout, match=r"127\.0\.0\.1"):
            await post(url, timeouts=limits)
        done.set()


async def test_silence_in_the_middle_of_a_stream_is_a_timeout() -> None:
    done = asyncio.Event()

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
        await done.wait()

    async with raw(script) as url:
        with pytest.raises(Timeout):
            await stream(url, timeouts=Timeouts(idle=0.05))
        done.set()


async def test_a_calls_own_timeout_only_shortens() -> None:
    done = asyncio.Event()

    async def script(*_: Any) -> None:
        await done.wait()

    async with raw(script) as url:
        wire = wire_to(url)
        for seconds in (0.05, 0.0, -1.0):
            with pytest.raises(Timeout):
                async with wire.post("/x", {}, timeout=seconds):
                    pass
        done.set()
        await wire.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n",
    ],
)
async def test_a_connection_that_breaks_is_a_failed_connection(sent: bytes) -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()

    async with raw(script) as url:
        with pytest.raises(ConnectionFailed):
            await post(url)


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
async def test_a_reply_that_is_not_http_is_named(sent: bytes) -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()

    async with raw(script) as url:
        with pytest.raises((BadResponse, ConnectionFailed)):
            await post(url)


async def test_an_absent_server_is_a_failed_connection(unused_tcp_port: int) -> None:
    said = f"127.0.0.1:{unused_tcp_port} refused the connection: no server listens at this port"
    with pytest.raises(ConnectionFailed, match=said) as raised:
        await post(f"http://127.0.0.1:{unused_tcp_port}")
    assert raised.value.provider == "p"


async def test_an_unknown_host_is_a_failed_connection() -> None:
    said = "host not found: nowhere.invalid has no address. Check the name and the region"
    with pytest.raises(ConnectionFailed, match=said):
        await post("https://nowhere.invalid")


async def test_https_to_a_server_without_tls_is_named() -> None:
    async def never(_: web.Request) -> web.StreamResponse:
        raise AssertionError("no request arrives")

    async with serving(never) as url:
        with pytest.raises(
            ConnectionFailed, match=r"the TLS connection to .* failed\. Check whether"
        ):
            await post(url.replace("http://", "https://"))


async def test_a_proxy_that_is_not_there_is_named_without_its_address(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:canary-word@127.0.0.1:{unused_tcp_port}")
    said = "the proxy for example.com cannot be reached. Check HTTPS_PROXY"
    with pytest.raises(ConnectionFailed, match=said) as caught:
        await post("https://example.com")
    assert "canary-word" not in str(caught.value)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused_and_the_key_does_not_follow(status: int) -> None:
    followed: list[web.Request] = []

    async def elsewhere(asked: web.Request) -> web.StreamResponse:
        followed.append(asked)
        return web.json_response({})

    async with serving(elsewhere) as other:
        headers = {"Location": other + "/stolen"}
        async with serving(answers(status=status, headers=headers)) as url:
            with pytest.raises(BadResponse, match="redirect"):
                await post(url)
    assert followed == []


@pytest.mark.parametrize("body", ["", " \n", "<html>", "{", "\x00", '{"a":1}{"b":2}'])
async def test_a_reply_that_is_not_json_is_a_bad_response(body: str) -> None:
    async with serving(answers(text=body)) as url:
        with pytest.raises(BadResponse) as raised:
            await post(url)
    assert raised.value.status == 200


async def test_json_too_deep_to_read_is_a_bad_response() -> None:
    async with serving(answers(text="[" * 200_000)) as url:
        with pytest.raises(BadResponse, match="begins"):
            await post(url)


async def test_a_stream_of_another_kind_is_a_bad_response() -> None:
    async with serving(answers(text="{}", content_type="application/json")) as url:
        with pytest.raises(BadResponse, match="application/json"):
            await stream(url)


async def test_half_a_character_is_an_invalid_request() -> None:
    with pytest.raises(InvalidRequest, match="surrogate"):
        await post("http://127.0.0.1:9", {"prompt": "\ud800"})


# ------------------------------------------------------------------------- bounded size


async def test_a_reply_is_read_up_to_its_limit() -> None:
    async with serving(answers(text=json.dumps("x" * 5000))) as url:
        assert len(await post(url, max_response_bytes=5002)) == 5000
        with pytest.raises(BadResponse, match="longer than 5001 bytes"):
            await post(url, max_response_bytes=5001)


async def test_an_endless_stream_is_read_up_to_its_limit() -> None:
    async def handler(request: web.Request) -> web.StreamResponse:
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(request)
        while True:
            await reply.write(b"data: 1\n\n" * 100)

    async with serving(handler) as url:
        with pytest.raises(BadResponse, match="longer than 10000 bytes"):
            await stream(url, max_response_bytes=10_000)


@pytest.mark.parametrize("status", [200, 500])
async def test_a_gzip_bomb_is_not_unpacked(status: int) -> None:
    bomb = gzip.compress(b" " * (128 << 20), 9)
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    async with serving(answers(body=bomb, status=status, headers=headers)) as url:
        tracemalloc.start()
        try:
            with pytest.raises((BadResponse, ProviderFault)):
                await post(url, max_response_bytes=1 << 20)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < 32 << 20


async def test_a_compressed_reply_is_read_though_none_was_asked_for() -> None:
    body = gzip.compress(b'{"a":1}')
    async with serving(answers(body=body, headers={"Content-Encoding": "gzip"})) as url:
        assert await post(url) == {"a": 1}


async def test_a_long_error_is_read_up_to_its_limit() -> None:
    async with serving(answers(status=500, text="x" * (8 << 20))) as url:
        with pytest.raises(ProviderFault) as raised:
            await post(url)
    assert len(raised.value.message) < 400


async def test_the_status_counts_even_if_its_explanation_breaks_off() -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 99\r\n\r\nno")
        await writer.drain()

    async with raw(script) as url:
        with pytest.raises(AuthenticationFailed):
            await post(url)
