"""Measure the CPU time per request that each layer of the client adds, in one process.

    python bench/client_layers.py HTTP CORE ROUNDS

The command prints the CPU microseconds of each layer and round as JSON. bench/client.py runs it.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from client_base import BODY
from client_ours import Ours
from client_peers import Aiohttp
from common import prefer_this_process

REQUESTS, IN_FLIGHT = 600, 64

LAYERS = {
    "aiohttp": "a POST request of a session, with JSON in both directions",
    "wire": "+ timeouts per phase, limited response size, typed errors, redaction of keys",
    "backend": "+ dialect, receipt, events with clock readings",
    "retry": "+ retry policy, deadline",
    "stops": "+ cutting at stop sequences",
    "client": "+ the completion: text, timing, usage, cost",
}


async def measure(http: str, rounds: int) -> dict[str, list[float]]:
    """Return CPU microseconds per request by layer, reversing the order in every round."""
    bare, ours = Aiohttp(http, ""), Ours(http, "")
    await bare.open()
    await ours.open()
    client = ours._client
    retry: Any = client.backend
    backend = retry.inner
    request = client.request(ours._prompt, ours._sampling, stream=False)

    async def wire() -> None:
        async with backend._wire.post("/chat/completions", BODY) as reply:
            await reply.json()

    def drain(events: Callable[[], Any]) -> Callable[[], Awaitable[None]]:
        async def ask() -> None:
            async with aclosing(events()) as stream:
                async for _ in stream:
                    pass

        return ask

    layers: dict[str, Callable[[], Awaitable[Any]]] = {
        "aiohttp": bare.ask,
        "wire": wire,
        "backend": drain(lambda: backend.stream(request)),
        "retry": drain(lambda: retry.stream(request)),
        "stops": drain(lambda: client.events(request)),
        "client": ours.ask,
    }
    found: dict[str, list[float]] = {name: [] for name in layers}
    for ask in layers.values():
        await _load(ask)
    for number in range(rounds):
        for name in list(layers)[:: 1 if number % 2 == 0 else -1]:
            found[name].append(await _load(layers[name]))
    await bare.close()
    await ours.close()
    return found


async def _load(ask: Callable[[], Awaitable[Any]]) -> float:
    left = iter(range(REQUESTS))

    async def one() -> None:
        for _ in left:
            await ask()

    cpu = time.process_time()
    await asyncio.gather(*(one() for _ in range(IN_FLIGHT)))
    return (time.process_time() - cpu) / REQUESTS * 1e6


if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[2])})
    prefer_this_process()
    print(json.dumps(asyncio.run(measure(sys.argv[1], int(sys.argv[3])))))
