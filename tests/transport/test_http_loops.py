"""One wire over several event loops and processes, opened and closed in any order."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from typing import Any

from aiohttp import web

from phi2sdk.transport.http import HttpTransport
from tests.transport.misbehaving import answers, serving, wire_to


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
        kept: list[HttpTransport] = []

        async def call() -> None:
            kept.append(wire_to(url))
            async with kept[0].get("/x") as reply:
                await reply.json()

        await asyncio.to_thread(asyncio.run, call())
        kept.clear()
        gc.collect()  # an unclosed socket would be a warning, and so an error


_FORK = """
import asyncio, json, os, sys
from phi2sdk.transport.http import HttpTransport

wire = HttpTransport(sys.argv[1], provider="p")

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
