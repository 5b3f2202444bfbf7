"""The server of bench/client.py, which sends fixed replies as fast as asyncio can.

It implements only the part of HTTP/1.1 that the clients use, so that the server is never the
bottleneck (the emulators of the package would be, because they check and record every call). The
text of each streamed chunk is the time of its sending in nanoseconds, by a clock that client and
server share.

The command prints ``{"http": URL, "grpc": ADDRESS}``, and serves until its standard input ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
from time import perf_counter_ns
from typing import Any

from common import prefer_this_process

ANSWER = " Light guides ships, and numbers guide minds: both shorten the night." * 4
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
USAGE = {"prompt_tokens": 40, "completion_tokens": 56, "total_tokens": 96}
HEAD = {"id": "cmpl-1", "created": 1700000000, "model": "microsoft/phi-2"}


def _json(document: Any) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


def _choice(content: dict[str, Any], finish: str | None = "stop") -> dict[str, Any]:
    return {"index": 0, **content, "logprobs": None, "finish_reason": finish}


_TOKENS = [{"id": i, "text": " light", "logprob": -0.5, "special": False} for i in range(56)]
_DETAILS = {"finish_reason": "length", "generated_tokens": 56, "seed": None}

CHAT, TEXT, SCORE, TGI = (
    _json(
        {
            "object": "chat.completion",
            **HEAD,
            "choices": [_choice({"message": {"role": "assistant", "content": ANSWER}})],
            "usage": USAGE,
        }
    ),
    _json(
        {
            "object": "text_completion",
            **HEAD,
            "choices": [_choice({"text": ANSWER})],
            "usage": USAGE,
        }
    ),
    _json({"output": [ANSWER]}),
    _json(
        {
            "generated_text": ANSWER,
            "details": {**_DETAILS, "prefill": [], "tokens": _TOKENS},
        }
    ),
)


class Pace:
    """The timing of streams: ``chunks`` chunks at ``interval`` seconds, with different phases."""

    def __init__(self, chunks: int, interval: float, phases: int) -> None:
        self.chunks, self.interval, self._phases = chunks, interval, phases
        self._started = 0

    def first(self) -> float:
        """Return the seconds until the first chunk of a new stream."""
        self._started += 1
        return self.interval * (self._started % self._phases) / self._phases


class Http(asyncio.Protocol):
    """One connection."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
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
            head, body = self._data[:end], self._data[end + 4 : end + 4 + size]
            self._data = self._data[end + 4 + size :]
            self._answer(head.split(b" ", 2)[1].partition(b"?")[0], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        streamed = path.endswith(b"_stream") or b'"stream":true' in body.replace(b" ", b"")
        if path.endswith(b"/chat/completions"):
            whole, kind = CHAT, "chat"
        elif path.endswith(b"/completions"):
            whole, kind = TEXT, "text"
        elif path.endswith(b"/score"):
            whole, kind = SCORE, "score"
        else:
            whole, kind = TGI, "tgi"
        if streamed:
            asyncio.get_running_loop().create_task(self._stream(kind))
        else:
            self._transport.write(whole)

    async def _stream(self, kind: str) -> None:
        loop = asyncio.get_running_loop()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        at = loop.time() + self._pace.first()
        for number in range(self._pace.chunks):
            await asyncio.sleep(at - loop.time())
            if self._transport is None:
                return
            self._send(_event(kind, f"{perf_counter_ns()} ", number))
            at += self._pace.interval
        for last in _ends(kind):
            self._send(last)
        self._transport.write(b"0\r\n\r\n")

    def _send(self, event: bytes) -> None:
        self._transport.write(b"%x\r\n%b\r\n" % (len(event), event))


def _event(kind: str, text: str, number: int) -> bytes:
    document: dict[str, Any]
    if kind == "tgi":
        token = {"id": number, "text": text, "logprob": -0.5, "special": False}
        document = {"index": number, "token": token, "generated_text": None, "details": None}
    elif kind == "chat":
        document = {
            "object": "chat.completion.chunk",
            **HEAD,
            "choices": [_choice({"delta": {"content": text}}, None)],
        }
    else:
        document = {"object": "text_completion", **HEAD, "choices": [_choice({"text": text}, None)]}
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def _ends(kind: str) -> list[bytes]:
    if kind == "tgi":
        token = {"id": 1, "text": ".", "logprob": -0.5, "special": True}
        last = {"index": 99, "token": token, "generated_text": "x", "details": _DETAILS}
        return [b"data: " + json.dumps(last).encode() + b"\n\n"]
    content: dict[str, Any] = {"delta": {}} if kind == "chat" else {"text": ""}
    object_ = "chat.completion.chunk" if kind == "chat" else "text_completion"
    last = {"object": object_, **HEAD, "choices": [_choice(content)]}
    usage = {"object": object_, **HEAD, "choices": [], "usage": USAGE}
    return [b"data: " + json.dumps(end).encode() + b"\n\n" for end in (last, usage)] + [
        b"data: [DONE]\n\n"
    ]


async def _grpc(pace: Pace) -> str:
    """Return the handlers of Clarifai's methods, with bytes in both directions."""
    import grpc
    from clarifai_grpc.grpc.api import resources_pb2, service_pb2
    from clarifai_grpc.grpc.api.status import status_code_pb2, status_pb2

    ok = status_pb2.Status(code=status_code_pb2.SUCCESS)

    def message(text: str, counts: int = 0) -> bytes:
        output = resources_pb2.Output(status=ok, completion_tokens=counts, prompt_tokens=counts)
        output.data.text.raw = text
        data: bytes = service_pb2.MultiOutputResponse(
            status=ok, outputs=[output]
        ).SerializeToString()
        return data

    whole = message(ANSWER, 56)
    named = resources_pb2.Model(id="phi-2", model_type_id="text-to-text")
    model: bytes = service_pb2.SingleModelResponse(status=ok, model=named).SerializeToString()

    async def get_model(body: bytes, context: Any) -> bytes:
        return model

    async def unary(body: bytes, context: Any) -> bytes:
        return whole

    async def stream(body: bytes, context: Any) -> Any:
        loop = asyncio.get_running_loop()
        at = loop.time() + pace.first()
        for _ in range(pace.chunks):
            await asyncio.sleep(at - loop.time())
            yield message(f"{perf_counter_ns()} ")
            at += pace.interval
        yield message("", 56)

    class Handlers(grpc.GenericRpcHandler):
        def service(self, details: Any) -> Any:
            if details.method.endswith("GenerateModelOutputs"):
                return grpc.unary_stream_rpc_method_handler(stream)
            single = get_model if details.method.endswith("GetModel") else unary
            return grpc.unary_unary_rpc_method_handler(single)

    server = grpc.aio.server()
    server.add_generic_rpc_handlers([Handlers()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    _KEPT.append(server)
    return f"127.0.0.1:{port}"


_KEPT: list[Any] = []


async def main() -> None:
    """Serve until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=32)
    parser.add_argument("--interval", type=float, default=0.05)
    parser.add_argument("--phases", type=int, default=64)
    parser.add_argument("--core", type=int)
    parser.add_argument("--grpc", action="store_true")
    given = parser.parse_args()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    prefer_this_process()
    pace = Pace(given.chunks, given.interval, given.phases)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Http(pace), "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    address = await _grpc(pace) if given.grpc else ""
    print(json.dumps({"http": f"http://127.0.0.1:{port}", "grpc": address}), flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    for other in _KEPT:
        await other.stop(None)


if __name__ == "__main__":
    asyncio.run(main())
