"""A server whose times are known: it streams on a schedule, and records the time of each write.

``python -m phi2sdk.measure.reference_server SCENARIO`` serves the OpenAI protocol (completions and
chat) on a free loopback port, in another process, with only the standard library. It prints the
port. ``GET /log`` returns, for each request, the time at which it was read and the time of each
write, in nanoseconds of the server's clock. Only differences of these times are meaningful.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass, field
from time import perf_counter_ns
from typing import Any


@dataclass(frozen=True, slots=True)
class Scenario:
    """The times of the writes of an answer, in seconds after its request was read.

    Attributes:
        first: Time of the first write with content.
        gap: Time between two writes.
        writes: Number of writes.
        tokens: Number of tokens (words) in each write.
        role_at: Time of a frame without content, before the first write; ``None`` for no frame.
        stall: ``(write, seconds)``: that write and all later ones are delayed by these seconds.
        burst: Number of writes that are sent together, ``burst`` gaps after the preceding ones.
    """

    first: float = 0.02
    gap: float = 0.005
    writes: int = 20
    tokens: int = 1
    role_at: float | None = None
    stall: tuple[int, float] | None = None
    burst: int = 1

    def due(self, write: int) -> float:
        """Seconds until a write (from 0) is due."""
        late = self.stall[1] if self.stall and write >= self.stall[0] else 0.0
        return self.first + (write // self.burst) * self.burst * self.gap + late


@dataclass(slots=True)
class Answered:
    """One request as the server saw it.

    Attributes:
        prompt: What was asked.
        read_ns: When it had been read.
        write_ns: When each write with content was handed to the socket.
    """

    prompt: str
    read_ns: int
    write_ns: list[int] = field(default_factory=list)


class Served:
    """The connections and the log."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.log: list[Answered] = []

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests on one connection until it is closed."""
        try:
            while (head := await reader.readuntil(b"\r\n\r\n")) != b"":
                now = perf_counter_ns()
                method, path = head.split(b" ", 2)[:2]
                if method == b"POST":
                    body = await reader.readexactly(_length(head))
                    await self._stream(json.loads(body), perf_counter_ns(), path, writer)
                else:
                    _reply(writer, self._get(path.decode(), now))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _get(self, path: str, now: int) -> Any:
        if path == "/log":
            log, self.log = self.log, []
            return [asdict(answered) for answered in log]
        if path.startswith("/scenario/"):
            from urllib.parse import unquote

            self.scenario = _scenario(unquote(path.removeprefix("/scenario/")))
            return {"now": now}
        return {"object": "list", "data": [{"id": "reference", "object": "model"}]}

    async def _stream(
        self, body: Any, read_ns: int, path: bytes, writer: asyncio.StreamWriter
    ) -> None:
        scenario, chat = self.scenario, path.endswith(b"/chat/completions")
        answered = Answered(_prompt(body), read_ns)
        self.log.append(answered)
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        if scenario.role_at is not None:
            await _until(read_ns, scenario.role_at)
            _event(writer, {"choices": [_choice("", chat, role=True)]})
        for write in range(scenario.writes):
            await _until(read_ns, scenario.due(write))
            text = "".join(f" w{write * scenario.tokens + i:03d}" for i in range(scenario.tokens))
            last = write == scenario.writes - 1
            answered.write_ns.append(perf_counter_ns())
            _event(writer, {"choices": [_choice(text, chat, finish="length" if last else None)]})
        total = scenario.writes * scenario.tokens
        usage = {"prompt_tokens": 8, "completion_tokens": total, "total_tokens": total + 8}
        _event(writer, {"choices": [], "usage": usage})
        _chunk(writer, b"data: [DONE]\n\n")
        writer.write(b"0\r\n\r\n")


async def serve(scenario: Scenario) -> tuple[asyncio.Server, int]:
    """Listen on a free port of the loopback: the server and its port."""
    served = Served(scenario)
    server = await asyncio.start_server(served.connected, "127.0.0.1", 0, backlog=1024)
    port: int = server.sockets[0].getsockname()[1]
    return server, port


async def _until(since_ns: int, seconds: float) -> None:
    left_ns = since_ns + round(seconds * 1e9) - perf_counter_ns()
    if left_ns > 0:
        await asyncio.sleep(left_ns / 1e9)


def _choice(
    text: str, chat: bool, *, role: bool = False, finish: str | None = None
) -> dict[str, Any]:
    said: dict[str, Any] = {"text": text}
    if chat:
        said = {"delta": {"role": "assistant"} if role else {"content": text}}
    return {"index": 0, "finish_reason": finish, **said}


def _event(writer: asyncio.StreamWriter, document: dict[str, Any]) -> None:
    whole = {"id": "reference", "object": "text_completion", "model": "reference", "created": 0}
    _chunk(writer, b"data: " + json.dumps(whole | document).encode() + b"\n\n")


def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(b"%x\r\n%b\r\n" % (len(data), data))


def _reply(writer: asyncio.StreamWriter, document: Any) -> None:
    data = json.dumps(document).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(data) + data)


def _length(head: bytes) -> int:
    for line in _lines(head):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def _lines(head: bytes) -> Iterator[bytes]:
    yield from head.split(b"\r\n")[1:]


def _prompt(body: Any) -> str:
    if "messages" not in body:
        prompt = body.get("prompt", "")
        return prompt if isinstance(prompt, str) else json.dumps(prompt)
    content = body["messages"][-1].get("content", "")
    if isinstance(content, str):
        return content
    return "".join(str(part.get("text", "")) for part in content)


def _scenario(text: str) -> Scenario:
    plain = json.loads(text)
    if plain.get("stall"):
        plain["stall"] = tuple(plain["stall"])
    return Scenario(**plain)


async def main(serve: Callable[[Scenario], Awaitable[tuple[Any, int]]]) -> None:
    """Serve the scenario of the command line and print the port, until the parent has ended."""
    _server, port = await serve(_scenario(sys.argv[1] if len(sys.argv) > 1 else "{}"))
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    # The parent closes our standard input when it is done with us, however it ends.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(serve))
