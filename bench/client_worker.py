"""Measure one client in this process; bench/client.py starts a process for each client.

    python bench/client_worker.py PEER HTTP GRPC CORE

The worker reads commands as lines of JSON, and answers each with a line of JSON:

- ``{"do": "load", "requests": N, "concurrency": C}``: requests/s, CPU seconds per request
- ``{"do": "stream", "streams": N}``: delay of each chunk from sending to reading, in ms
- ``{"do": "each", "requests": N}``: latency of requests one after another, in ms
- ``{"do": "sync", "requests": N}``: latency of the synchronous client, in ms
- ``{"do": "first"}``: seconds and memory until the client is built (imports included), and
  seconds until its first answer; must be the first command
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from typing import Any


async def load(peer: Any, requests: int, concurrency: int) -> dict[str, float]:
    """Send requests with a concurrency, and measure throughput and CPU."""
    left = iter(range(requests))

    async def ask(numbers: Iterator[int]) -> None:
        for _ in numbers:
            if len(await peer.ask()) < 100:
                raise RuntimeError("the answer is not that of the server")

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(ask(left) for _ in range(concurrency)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"rps": requests / wall, "cpu": cpu / requests, "seconds": wall}


async def stream(peer: Any, streams: int) -> dict[str, Any]:
    """Read several streams at the same time, and measure the delay of each chunk."""
    lags: list[float] = []

    async def read() -> None:
        async for text in peer.stream():
            lags.append((time.perf_counter_ns() - int(text)) / 1e6)

    cpu = time.process_time()
    await asyncio.gather(*(read() for _ in range(streams)))
    return {"lags": lags, "cpu": (time.process_time() - cpu) / len(lags)}


async def each(peer: Any, requests: int) -> dict[str, Any]:
    """Measure sequential requests of the asynchronous client."""
    taken = []
    for _ in range(requests):
        start = time.perf_counter()
        await peer.ask()
        taken.append((time.perf_counter() - start) * 1000)
    return {"ms": taken}


def sync(peer: Any, requests: int) -> dict[str, Any]:
    """Measure sequential requests."""
    taken = []
    for _ in range(requests):
        start = time.perf_counter()
        peer.ask_sync()
        taken.append((time.perf_counter() - start) * 1000)
    return {"ms": taken}


async def first(peer: Any) -> dict[str, float]:
    """Measure the time from the start until the client is built, and until its first answer."""
    start = time.perf_counter()
    await peer.open()
    client = time.perf_counter() - start
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    await peer.ask()
    answer = time.perf_counter() - start
    return {"client": client, "mib": mib, "answer": answer}


def main() -> None:
    """Answer commands until standard input ends."""
    name, http, grpc, core = sys.argv[1:5]
    os.sched_setaffinity(0, {int(core)})
    # Output of the clients goes to standard error, because it must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    from client_peers import PEERS
    from common import prefer_this_process

    prefer_this_process()

    peer = PEERS[name](http, grpc)
    state: dict[str, bool] = {}
    runner = asyncio.Runner()
    for line in sys.stdin:
        command = json.loads(line)
        kind = command.pop("do")
        try:
            if kind == "first":
                state["open"] = True
                said = runner.run(first(peer))
            elif kind == "sync":
                if not state.setdefault("sync", False):
                    peer.open_sync()
                    sync(peer, 20)
                    state["sync"] = True
                said = sync(peer, **command)
            else:
                if not state.setdefault("open", False):
                    runner.run(peer.open())
                    state["open"] = True
                measure = {"load": load, "each": each, "stream": stream}[kind]
                said = runner.run(measure(peer, **command))
        except Exception as error:
            said = {"failed": f"{type(error).__name__}: {error}"[:300]}
        answers.write(json.dumps(said) + "\n")
    if state.get("open"):
        runner.run(peer.close())
    if state.get("sync"):
        peer.close_sync()
    runner.close()


if __name__ == "__main__":
    main()
