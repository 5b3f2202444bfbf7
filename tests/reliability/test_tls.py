"""A certificate that has expired, or that is another host's, is refused before the key is sent.

The authority is trusted, so that nothing but the date or the name can be what is wrong; the same
authority's valid certificate is the proof. Trust is set by the environment, once a process, so the
client has a process of its own.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from tests.reliability.authority import DAY, ELSEWHERE, HERE, Authority, Pair
from tests.reliability.matrix import KEY

REPLY = b'{"choices":[{"text":" Both guide.","finish_reason":"stop"}],"model":"phi-2"}'

# Sends a request to each address and prints the outcome.
CLIENT = """
import os, sys
from phi2sdk import Phi2Client
from phi2sdk.errors import Phi2Error

for backend, url in zip(sys.argv[1::2], sys.argv[2::2]):
    where = {"base_url": url} if backend == "openai" else {"base": url}
    with Phi2Client(backend, attempts=2, **where, api_key=os.environ["KEY"]) as phi:
        try:
            print(phi.generate("x").text)
        except Phi2Error as error:
            assert os.environ["KEY"] not in str(error)
            print(type(error).__name__, error.attempts)
"""


@dataclass
class Heard:
    """The requests that reached a server through TLS."""

    requests: list[bytes] = field(default_factory=list)


@contextmanager
def https(folder: Path, pair: Pair) -> Iterator[tuple[str, Heard]]:
    """An OpenAI-compatible server that answers everything alike, on a thread of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    file = folder / f"{id(pair)}.pem"
    file.write_bytes(pair.certificate + pair.key)
    context.load_cert_chain(file)
    heard, ports, ready = Heard(), list[int](), threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.requests.append(await reader.readuntil(b"\r\n\r\n"))
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
        writer.write(head + b"Content-Length: %d\r\n\r\n" % len(REPLY) + REPLY)
        await writer.drain()
        writer.close()

    async def main() -> None:
        # A client that refuses the certificate breaks the handshake off: no news here.
        loop.set_exception_handler(lambda _loop, _context: None)
        async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
            ports.append(server.sockets[0].getsockname()[1])
            ready.set()
            await stop.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, name="https")
    thread.start()
    ready.wait()
    try:
        yield f"https://127.0.0.1:{ports[0]}/v1", heard
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


@contextmanager
def grpcs(pair: Pair) -> Iterator[tuple[str, Heard]]:
    """A gRPC server without any service: behind its TLS it says UNIMPLEMENTED."""
    heard = Heard()

    class Listening(grpc.GenericRpcHandler):  # type: ignore[type-arg]
        def service(self, details: grpc.HandlerCallDetails) -> None:
            heard.requests.append(details.method.encode())

    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool, [Listening()])
        credentials = grpc.ssl_server_credentials([(pair.key, pair.certificate)])
        port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield f"https://127.0.0.1:{port}", heard
        finally:
            server.stop(None).wait()


def asked(authority: Path, *addresses: str) -> list[str]:
    environ = os.environ | {
        "SSL_CERT_FILE": str(authority),
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH": str(authority),
        "KEY": KEY,
    }
    done = subprocess.run(
        [sys.executable, "-c", CLIENT, *addresses],
        env=environ, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert KEY not in done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("wrong", ["expired", "another host's"])
def test_a_wrong_certificate_of_a_trusted_authority_is_refused(wrong: str, tmp_path: Path) -> None:
    authority = Authority()
    trusted = tmp_path / "authority.pem"
    trusted.write_bytes(authority.pem)
    good = authority.issue(HERE)
    bad = authority.issue(HERE, ends=-DAY) if wrong == "expired" else authority.issue(ELSEWHERE)
    with (
        https(tmp_path, good) as (right, answered),
        https(tmp_path, bad) as (wrong_http, unheard),
        grpcs(good) as (right_grpc, called),
        grpcs(bad) as (wrong_grpc, uncalled),
    ):
        said = asked(
            trusted,
            *("openai", right, "openai", wrong_http),
            *("clarifai", right_grpc, "clarifai", wrong_grpc),
        )
    assert said == [
        "Both guide.",
        "ConfigurationError 1",
        "ModelNotFound 1",
        # gRPC says UNAVAILABLE, like any failed connection: it is tried again, and refused again.
        "ConnectionFailed 2",
    ]
    *detecting, asking = answered.requests
    assert all(KEY.encode() not in said for said in detecting)
    assert KEY.encode() in asking
    assert len(called.requests) == 1
    assert unheard.requests == uncalled.requests == [], "nothing is said before trust"
