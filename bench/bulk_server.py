"""The provider of bench/bulk.py: a scripted server that counts the calls for each row.

    python bench/bulk_server.py [--delay SECONDS] [--core N]

It prints its URL, and serves until its standard input ends. ``/v1/completions`` and
``/v1/chat/completions`` answer after ``--delay`` (half to three halves of it). The row of a call is
the number after ``Paragraph``. ``GET /counts`` returns the calls for each row, the tokens, and the
largest number of calls that arrived within one second; ``GET /reset`` forgets all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import sys
from collections import Counter
from time import monotonic
from typing import Any

from client_server import ANSWER, LENGTH
from common import prefer_this_process

ROW = re.compile(rb"Paragraph (\d+)")
OUTPUT_TOKENS = 56


def reply(document: Any) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def answers(prompt_tokens: int) -> dict[bytes, bytes]:
    head = {"id": "cmpl-1", "created": 1700000000, "model": "microsoft/phi-2"}
    usage = {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": OUTPUT_TOKENS,
        "total_tokens": prompt_tokens + OUTPUT_TOKENS,
    }
    choice = {"index": 0, "logprobs": None, "finish_reason": "stop"}
    message = {"role": "assistant", "content": ANSWER}
    return {
        b"completion": reply(
            {
                "object": "text_completion",
                **head,
                "choices": [{**choice, "text": ANSWER}],
                "usage": usage,
            }
        ),
        b"chat": reply(
            {
                "object": "chat.completion",
                **head,
                "choices": [{**choice, "message": message}],
                "usage": usage,
            }
        ),
    }


class Provider:
    """The calls of all connections."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self.dice = random.Random(0)
        self.replies: dict[int, dict[bytes, bytes]] = {}
        self.reset()

    def reset(self) -> None:
        self.rows: Counter[int] = Counter()
        self.times: list[float] = []
        self.answered: Counter[int] = Counter()
        self.prompt_tokens = 0

    def call(self, body: bytes) -> tuple[int, int]:
        found = ROW.search(body)
        row = int(found.group(1)) if found else -1
        self.rows[row] += 1
        self.times.append(monotonic())
        tokens = len(body) // 4
        self.prompt_tokens += tokens
        return row, tokens

    def counts(self) -> dict[str, Any]:
        busiest, first = 0, 0
        for last, time in enumerate(self.times):
            while self.times[first] <= time - 1.0:
                first += 1
            busiest = max(busiest, last - first + 1)
        return {
            "rows": self.rows,
            "calls": sum(self.rows.values()),
            "answered": sum(self.answered.values()),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": OUTPUT_TOKENS * sum(self.rows.values()),
            "busiest_second": busiest,
            "seconds": self.times[-1] - self.times[0] if self.times else 0.0,
        }


class Http(asyncio.Protocol):
    """One connection."""

    def __init__(self, provider: Provider) -> None:
        self._provider = provider
        self._data = b""
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            found = LENGTH.search(self._data, 0, end + 2)
            size = int(found.group(1)) if found else 0
            if len(self._data) < end + 4 + size:
                return
            path = self._data[:end].split(b" ", 2)[1]
            body = self._data[end + 4 : end + 4 + size]
            self._data = self._data[end + 4 + size :]
            self._take(path, body)

    def _take(self, path: bytes, body: bytes) -> None:
        provider = self._provider
        if not path.endswith(b"/completions"):
            if path == b"/reset":
                provider.reset()
            counted = path == b"/counts"
            self._transport.write(reply(provider.counts() if counted else {"data": []}))
            return
        row, tokens = provider.call(body)
        if tokens not in provider.replies:
            provider.replies[tokens] = answers(tokens)
        kind = b"chat" if b"/chat/" in path else b"completion"
        whole = provider.replies[tokens][kind]
        if not provider.delay:
            self._send(row, whole)
            return
        wait = provider.delay * provider.dice.uniform(0.5, 1.5)
        asyncio.get_running_loop().call_later(wait, self._send, row, whole)

    def _send(self, row: int, whole: bytes) -> None:
        if self._transport is not None:
            self._provider.answered[row] += 1
            self._transport.write(whole)


async def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=0.0)
    parser.add_argument("--core", type=int)
    given = parser.parse_args()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    prefer_this_process()
    loop = asyncio.get_running_loop()
    provider = Provider(given.delay)
    server = await loop.create_server(lambda: Http(provider), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
