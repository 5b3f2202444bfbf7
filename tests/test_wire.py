"""The HTTP stack, against servers that behave and servers that do not."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import ssl
import subprocess
import sys
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    ConfigurationError,
    ConnectionFailed,
    InvalidRequest,
    Phi2Error,
    ProviderFault,
    Timeout,
)
from phi2sdk.secret import Secret
from phi2sdk.wire import Timeouts, Wire

KEY = "sk-0123456789abcdef"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture(autouse=True)
def _no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def serving(handler: Handler, **options: Any) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    server = TestServer(app, **options)
    await server.start_server(**({"ssl": options["ssl"]} if "ssl" in options else {}))
    try:
        yield str(server.make_url("")).rstrip("/")
    finally:
        await server.close()


@asynccontextmanager
async def raw(script: Script) -> AsyncIterator[str]:
    """A server that reads a request's head and then does what its script says."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await script(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


def wire_to(url: str, **settings: Any) -> Wire:
    headers = {"Authorization": Secret(f"Bearer {KEY}")}
    return Wire(url, **{"provider": "p", "headers": headers, **settings})


async def post(url: str, body: dict[str, Any] | None = None, **settings: Any) -> Any:
    wire = wire_to(url, **settings)
    try:
        async with wire.post("/x", body or {}) as reply:
            return (await reply.json())[1]
    finally:
        await wire.close()


async def stream(url: str, **settings: Any) -> list[bytes]:
    wire = wire_to(url, **settings)
    try:
        async with wire.post("/x", {}) as reply:
            return [event.data async for _, event in reply.events()]
    finally:
        await wire.close()


def answers(*args: Any, **settings: Any) -> Handler:
    async def handler(_: web.Request) -> web.StreamResponse:
        return web.Response(*args, **settings)

    return handler


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


async def test_a_body_that_does_not_end_after_done_holds_nobody_up() -> None:
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
async def test_what_is_no_http_is_named(sent: bytes) -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()

    async with raw(script) as url:
        with pytest.raises((BadResponse, ConnectionFailed)):
            await post(url)


async def test_nobody_there_is_a_failed_connection(unused_tcp_port: int) -> None:
    with pytest.raises(ConnectionFailed, match=str(unused_tcp_port)) as raised:
        await post(f"http://127.0.0.1:{unused_tcp_port}")
    assert raised.value.provider == "p"


async def test_an_unknown_host_is_a_failed_connection() -> None:
    with pytest.raises(ConnectionFailed):
        await post("https://nowhere.invalid")


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
async def test_a_reply_that_is_no_json_is_a_bad_response(body: str) -> None:
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
    bomb = gzip.compress(b" " * (256 << 20), 9)
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


# --------------------------------------------------------------------------------- keys


@pytest.mark.parametrize(
    "body",
    [
        f"the key {KEY} is wrong",
        f"the header 'Bearer {KEY}' is wrong",
        json.dumps({"error": {"message": f"wrong: {KEY}", "code": KEY}}),
        " " * 280 + KEY,  # cut off in its middle if it were cut first
    ],
)
@pytest.mark.parametrize("status", [200, 401])
async def test_a_key_that_the_server_quotes_is_not_shown(body: str, status: int) -> None:
    headers = {"x-request-id": KEY}
    async with serving(answers(text=body + "{", status=status, headers=headers)) as url:
        with pytest.raises(Phi2Error) as raised:
            await post(url)
    shown = f"{raised.value!r} {raised.value} {raised.value.__dict__}"
    assert KEY[:8] not in shown
    assert status == 200 or "***" in shown


async def test_a_key_of_one_call_is_not_shown_either() -> None:
    async with serving(answers(text="wrong: token-of-this-call", status=401)) as url:
        wire = Wire(url, provider="p")
        headers = {"Authorization": Secret("Bearer token-of-this-call")}
        with pytest.raises(AuthenticationFailed, match=r"\*\*\*"):
            async with wire.post("/x", {}, headers=headers):
                pass
        await wire.close()


@pytest.mark.parametrize("key", ["two\nlines", "two\r\nX-Injected: 1", "tab\tbed", "smart’quote"])
def test_a_key_that_no_header_can_carry_is_a_configuration_error(key: str) -> None:
    with pytest.raises(ConfigurationError, match="X-Key") as raised:
        Wire("https://example.com", provider="p", headers={"X-Key": Secret(key)})
    assert key not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://10.0.0.7:8000",
        "http://0.0.0.0",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "ftp://127.0.0.1",
        "127.0.0.1:80",
        "https://",
        "https://host:port",
        "https://host:99999",
        "http://[::1",
        "https://a b.example",
        "https://user:word@example.com",
        "https://@example.com",
        "https://example.com/score?key=secret-word",
        "https://example.com/#part",
        "",
        7,
        None,
    ],
)
def test_an_endpoint_that_no_key_may_go_to_is_a_configuration_error(url: Any) -> None:
    with pytest.raises(ConfigurationError) as raised:
        Wire(url, provider="p")
    assert "word" not in raised.value.message.replace("password", "")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "http://127.0.0.1:8000/v1",
        "http://127.8.9.1",
        "http://[::1]:80",
        "http://localhost",
        "http://my.localhost",
        " https://example.com \n",
    ],
)
def test_an_endpoint_that_is_safe_is_taken(url: str) -> None:
    assert Wire(url, provider="p").base_url == url.strip().rstrip("/")


def test_plain_http_is_taken_to_a_host_that_was_named() -> None:
    assert Wire("http://gpu.lan:80", provider="p", insecure_hosts=("gpu.lan",)).base_url
    with pytest.raises(ConfigurationError, match="insecure_hosts"):
        Wire("http://gpu2.lan", provider="p", insecure_hosts=("gpu.lan",))


async def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7)
    builder = builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    signed = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(private + signed)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    called: list[web.Request] = []

    async def handler(asked: web.Request) -> web.StreamResponse:
        called.append(asked)
        return web.json_response({})

    async with serving(handler, scheme="https", ssl=context) as url:
        with pytest.raises(ConfigurationError, match="certificate"):
            await post(url)
    assert called == []


# ----------------------------------------------------------------------- the environment


async def test_loopback_takes_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    proxied: list[web.Request] = []

    async def proxy(asked: web.Request) -> web.StreamResponse:
        proxied.append(asked)
        return web.json_response({})

    async with serving(proxy) as proxy_url, serving(answers(text="1")) as url:
        monkeypatch.setenv("HTTP_PROXY", proxy_url)
        monkeypatch.setenv("ALL_PROXY", proxy_url)
        assert await post(url) == 1
    assert proxied == []


async def test_other_hosts_take_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[str] = []

    async def proxy(asked: web.BaseRequest) -> web.StreamResponse:
        asked_for.append(asked.raw_path if isinstance(asked, web.Request) else "")
        return web.json_response({"by": "proxy"})

    server = web.Server(proxy)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        with monkeypatch.context() as patched:
            patched.setenv(name, f"127.0.0.1:{port}")
            url = "http://gpu.lan"
            assert await post(url, insecure_hosts=("gpu.lan",)) == {"by": "proxy"}
            patched.setenv("NO_PROXY", ".lan")
            with pytest.raises(ConnectionFailed):
                await post(url, insecure_hosts=("gpu.lan",))
    await runner.cleanup()
    assert len(asked_for) == 2


def test_a_proxy_that_is_not_spoken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:word@127.0.0.1:1080")
    with pytest.raises(ConfigurationError, match="socks5") as raised:
        Wire("https://example.com", provider="p")
    assert "word" not in str(raised.value)


async def test_netrc_does_not_take_the_place_of_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    async def handler(asked: web.Request) -> web.StreamResponse:
        return web.json_response(asked.headers["Authorization"])

    async with serving(handler) as url:
        assert await post(url) == f"Bearer {KEY}"


# ------------------------------------------------------------------ loops and processes


async def test_closing_twice_is_harmless_and_a_closed_wire_opens_again() -> None:
    async with serving(answers(text="1")) as url:
        wire = wire_to(url)
        await wire.close()
        for _ in range(2):
            async with wire.get("/x") as reply:
                assert (await reply.json())[1] == 1
            await wire.close()
            await wire.close()


async def test_one_wire_serves_several_loops_and_leaves_nothing_open() -> None:
    async with serving(answers(text="1")) as url:
        wire = wire_to(url)

        async def call(*, close: bool = True) -> Any:
            async with wire.get("/x") as reply:
                document = (await reply.json())[1]
            if close:
                await wire.close()
            return document

        assert await call(close=False) == 1
        assert await asyncio.to_thread(asyncio.run, call()) == 1  # closes this loop's too
        assert await call(close=False) == 1
        assert await asyncio.to_thread(asyncio.run, call(close=False)) == 1
        await wire.close()
    gc.collect()


async def test_a_loop_that_ends_takes_its_connections_along() -> None:
    async with serving(answers(text="1")) as url:
        kept: list[Wire] = []

        async def call() -> None:
            kept.append(wire_to(url))
            async with kept[0].get("/x") as reply:
                await reply.json()

        await asyncio.to_thread(asyncio.run, call())
        kept.clear()
        gc.collect()  # an unclosed socket would be a warning, and so an error


_FORK = """
import asyncio, json, os, sys
from phi2sdk.wire import Wire

wire = Wire(sys.argv[1], provider="p")

async def call():
    async with wire.get("/x") as reply:
        return (await reply.json())[1]

async def main():
    first = await call()
    child = os.fork()
    if child == 0:
        asyncio.events._set_running_loop(None)
        async def in_child():
            found = await call()
            await wire.close()
            return found
        os._exit(0 if asyncio.run(in_child()) == first else 1)
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        await asyncio.sleep(0.01)
    assert await call() == first
    await wire.close()
    print(first)

asyncio.run(main())
"""


async def test_a_fork_leaves_the_parents_connections_alone() -> None:
    peers: list[Any] = []

    async def handler(asked: web.Request) -> web.StreamResponse:
        assert asked.transport is not None
        peers.append(asked.transport.get_extra_info("peername"))
        return web.json_response(7)

    async with serving(handler) as url:
        ended = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-W", "error", "-c", _FORK, url],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (ended.returncode, ended.stdout.strip()) == (0, "7"), ended.stderr
    assert peers[0] == peers[2] != peers[1]
