"""Addresses at which something is wrong before any request is made."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

__all__ = ["places"]

_NOBODY = ".".join(["nobody" * 10] * 5) + ".invalid"
"""No host has this name, and no resolver has to ask around to know: it is too long for one."""


@contextmanager
def places(folder: Path) -> Iterator[dict[str, str]]:
    """A base URL for each place of the matrix; they hold while the block runs."""
    with ExitStack() as stack:
        yield {
            "refused": f"http://127.0.0.1:{_closed_port()}",
            "unknown": f"https://{_NOBODY}",
            "untrusted": f"https://127.0.0.1:{stack.enter_context(_tls(folder))}",
            "not tls": f"https://127.0.0.1:{stack.enter_context(_serving(None))}",
            "full": f"http://127.0.0.1:{stack.enter_context(_full())}",
        }


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


@contextmanager
def _full() -> Iterator[int]:
    """A listener whose queue is full: the kernel drops what knocks, and nobody answers."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port


@contextmanager
def _tls(folder: Path) -> Iterator[int]:
    certificate = folder / "certificate.pem"
    certificate.write_bytes(_self_signed())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with _serving(context) as port:
        yield port


@contextmanager
def _serving(context: ssl.SSLContext | None) -> Iterator[int]:
    """Start a server on another thread that closes every connection; return its port."""
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    stop = asyncio.Event()
    ports: list[int] = []

    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    async def main() -> None:
        # What a client that mistrusts us does to the handshake is no news here.
        loop.set_exception_handler(lambda _loop, _context: None)
        async with await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=context) as server:
            ports.append(server.sockets[0].getsockname()[1])
            ready.set()
            await stop.wait()

    def run() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(main())

    thread = threading.Thread(target=run, name="place")
    thread.start()
    ready.wait()
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _self_signed() -> bytes:
    """Return a self-signed certificate for 127.0.0.1 with its key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
