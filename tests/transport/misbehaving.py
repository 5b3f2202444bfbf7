"""Servers on loopback that do what a test says, and calls to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from phi2sdk.secret import Secret
from phi2sdk.transport.http import HttpTransport

KEY = "sk-0123456789abcdef"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


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


def wire_to(url: str, **settings: Any) -> HttpTransport:
    headers = {"Authorization": Secret(f"Bearer {KEY}")}
    return HttpTransport(url, **{"provider": "p", "headers": headers, **settings})


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
