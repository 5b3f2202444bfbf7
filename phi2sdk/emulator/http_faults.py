"""Apply scripted faults to HTTP connections."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from aiohttp import web

from phi2sdk.emulator.exchange import Refusal

if TYPE_CHECKING:
    from phi2sdk.emulator.faults import Fault
    from phi2sdk.emulator.http_exchange import HttpExchange

_PIECE_BYTES = 1 << 20


_IN_A_BODY = frozenset({"reset", "cut", "drip", "hang", "endless", "huge", "gzip"})


class ConnectionAborted(Exception):
    """A fault ended the connection; ``response`` is the response for aiohttp."""

    def __init__(self, response: web.StreamResponse) -> None:
        super().__init__("the connection was ended by a scripted fault")
        self.response = response


def garbage(form: str) -> tuple[bytes, str]:
    """Return a body that violates the protocol, and its content type."""
    json_type = "application/json"
    return {
        "bytes": (bytes(range(128, 256)), json_type),
        "truncated": (b'{"id":"x","choices":[{"index":0,"te', json_type),
        "wrong_shape": (b'{"choices":"none","output":{"a":1},"generated_text":7}', json_type),
        "empty": (b"", json_type),
        "object": (b"{}", json_type),
        "null": (b"null", json_type),
        "html": (b"<!doctype html><html><body><h1>It works</h1></body></html>", "text/html"),
        "invalid_utf8": (b'{"output":["\xff\xfe"],"generated_text":"\xc3\x28"}', json_type),
        "control": (b'{"choices":[{"text":"a\x00\x1b[2J"}],"output":["a\x00"]}', json_type),
    }[form]


async def play_before(exchange: HttpExchange) -> web.StreamResponse | None:
    """Apply a fault before the handler; return its response, or ``None`` to continue."""
    fault = exchange.fault
    if fault is None:
        return None
    if fault.kind == "delay":
        await asyncio.sleep(fault.seconds)
    elif fault.kind == "hang" and fault.after is None:
        await hang()
    elif fault.kind == "status":
        return _status(exchange, fault)
    elif fault.kind == "garbage" and fault.after is None:
        body, content_type = garbage(fault.form)
        return web.Response(body=body, content_type=content_type)
    elif fault.kind == "reset" and fault.where == "before_headers":
        reset(exchange, web.Response())
    elif fault.kind == "reset" and fault.where == "in_headers":
        if exchange.request.transport is not None:
            exchange.request.transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: applica")
        reset(exchange, web.Response())
    return None


async def deliver(exchange: HttpExchange, response: web.Response) -> web.StreamResponse:
    """Send a whole body, and apply the fault of the call, if there is one."""
    fault = exchange.fault
    if fault is None or fault.kind not in _IN_A_BODY:
        return response
    body = response.body
    if not isinstance(body, bytes):
        return response
    partial = web.StreamResponse(status=response.status, headers=response.headers)
    if fault.kind == "endless":
        partial.headers.popall("Content-Length", None)
        await partial.prepare(exchange.request)
        while True:
            await partial.write(body)
            await asyncio.sleep(0)
    if fault.kind in ("huge", "gzip"):
        partial.headers.popall("Content-Length", None)
        if fault.kind == "gzip":
            partial.headers["Content-Encoding"] = "gzip"
        await partial.prepare(exchange.request)
        await flood(exchange, partial, b'{"text":"')
        return partial
    partial.content_length = len(body)
    await partial.prepare(exchange.request)
    if fault.kind == "drip":
        for at in range(len(body)):
            await partial.write(body[at : at + 1])
            await asyncio.sleep(fault.seconds)
        return partial
    await partial.write(body[: len(body) // 2])
    if fault.kind == "hang":
        await hang()
    if fault.kind == "reset":
        reset(exchange, partial)
    if exchange.request.transport is not None:
        exchange.request.transport.close()
    raise ConnectionAborted(partial)


async def flood(exchange: HttpExchange, response: web.StreamResponse, head: bytes) -> None:
    """Send ``head`` and then the letter a, ``fault.size`` bytes in total."""
    fault = exchange.fault
    assert fault is not None
    pieces = _packed if fault.kind == "gzip" else _plain
    for piece in pieces(head, fault.size):
        await response.write(piece)
        exchange.call.mark_sent(len(piece))


def _plain(head: bytes, size: int) -> Iterator[bytes]:
    yield head
    piece = b"a" * _PIECE_BYTES
    for _ in range(size // _PIECE_BYTES):
        yield piece


def _packed(head: bytes, size: int) -> Iterator[bytes]:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield packer.compress(head) + packer.flush(zlib.Z_FULL_FLUSH)
    # After a full flush, a piece is always compressed to the same bytes, so compress it once.
    piece = packer.compress(b"a" * _PIECE_BYTES) + packer.flush(zlib.Z_FULL_FLUSH)
    for _ in range(size // _PIECE_BYTES):
        yield piece


async def hang() -> NoReturn:
    """Send nothing until the client disconnects or the server stops."""
    await asyncio.get_running_loop().create_future()
    raise AssertionError("nothing sets this future")


def reset(exchange: HttpExchange, response: web.StreamResponse) -> NoReturn:
    """Send a TCP reset."""
    transport = exchange.request.transport
    if transport is not None:
        connection = transport.get_extra_info("socket")
        if connection is not None:
            # With a linger time of zero, the kernel sends RST instead of FIN.
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
    raise ConnectionAborted(response)


def _status(exchange: HttpExchange, fault: Fault) -> web.Response:
    if fault.body is None:
        response = exchange.server.error(
            exchange, Refusal(fault.status, f"scripted status {fault.status}")
        )
        response.headers.update(fault.headers)
        return response
    body, content_type = fault.body, "text/plain"
    if not isinstance(body, (str, bytes)):
        body, content_type = json.dumps(body), "application/json"
    headers = dict(fault.headers)
    if not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = content_type
    data = body.encode() if isinstance(body, str) else body
    return web.Response(body=data, status=fault.status, headers=headers)
