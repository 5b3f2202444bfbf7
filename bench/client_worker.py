"""Measures one client in the process that it runs in; bench/client.py starts one for each.

    python bench/client_worker.py PEER HTTP GRPC CORE

Takes commands as lines of JSON and answers each with one:

- ``{"do": "load", "requests": N, "concurrency": C}``: requests/s, CPU seconds a request
- ``{"do": "stream", "streams": N}``: lag of each chunk from its sending to its reader, in ms
- ``{"do": "sync", "requests": N}``: latency of the synchronous client, in ms
- ``{"do": "first"}``: seconds and memory until the client stands (what it imports included), and
  until its first answer; before all others
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
    """``concurrency`` loops that ask until all requests are done."""
    left = iter(range(requests))

    async def ask(numbers: Iterator[int]) -> None:
        for _ in numbers:
            if len(await peer.ask()) < 100:
                raise RuntimeError("the answer is not the server's")

    wall, cpu = time.perf_counter(), time.process_time()
    await asyncio.gather(*(ask(left) for _ in range(concurrency)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"rps": requests / wall, "cpu": cpu / requests, "seconds": wall}


async def stream(peer: Any, streams: int) -> dict[str, Any]:
    """Streams at the same time; how old each chunk is when its reader has it."""
    lags: list[float] = []

    async def read() -> None:
        async for text in peer.stream():
            lags.append((time.perf_counter_ns() - int(text)) / 1e6)

    cpu = time.process_time()
    await asyncio.gather(*(read() for _ in range(streams)))
    return {"lags": lags, "cpu": (time.process_time() - cpu) / len(lags)}


def sync(peer: Any, requests: int) -> dict[str, Any]:
    """One request after the other."""
    taken = []
    for _ in range(requests):
        start = time.perf_counter()
        peer.ask_sync()
        taken.append((time.perf_counter() - start) * 1000)
    return {"ms": taken}


async def first(peer: Any) -> dict[str, float]:
    """From the start of this process's work to the first client, and to its first answer."""
    start = time.perf_counter()
    await peer.open()
    client = time.perf_counter() - start
    mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    await peer.ask()
    answer = time.perf_counter() - start
    return {"client": client, "mib": mib, "answer": answer}


def main() -> None:
    """Answer commands until there are no more."""
    name, http, grpc, core = sys.argv[1:5]
    os.sched_setaffinity(0, {int(core)})
    # Clients that print would spoil the answers: what they say goes to standard error.
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
                said = runner.run(
                    load(peer, **command) if kind == "load" else stream(peer, **command)
                )
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
