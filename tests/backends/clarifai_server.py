"""Servers on loopback, requests and helpers for the tests of Clarifai."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest
from clarifai_grpc.grpc.api import resources_pb2, service_pb2
from clarifai_grpc.grpc.api.status import status_pb2

from phi2sdk import prompts
from phi2sdk.backends.clarifai import ClarifaiBackend
from phi2sdk.completion import Completion, Request
from phi2sdk.emulator import Emulator, ScriptedEngine
from phi2sdk.errors import Phi2Error
from phi2sdk.fold import fold
from phi2sdk.sampling import Sampling
from phi2sdk.secret import Secret

PAT = "canary-9f31c07be2d84a61"
ANSWER = "Mathematics is a lighthouse: it shows the way."
PROMPT = prompts.instruct("Write a detailed analogy between mathematics and a lighthouse.")
URL = "https://clarifai.com/microsoft/text-generation/models/phi-2"

both_ways = pytest.mark.parametrize("stream", [True, False], ids=["stream", "unary"])


@asynccontextmanager
async def emulator(**settings: Any) -> AsyncIterator[Emulator]:
    engine = settings.pop("engine", None) or ScriptedEngine(ANSWER)
    async with Emulator(engine, key=PAT, providers=["clarifai"], **settings) as running:
        yield running


@asynccontextmanager
async def backend_of(url: str, **settings: Any) -> AsyncIterator[ClarifaiBackend]:
    settings.setdefault("pat", Secret(PAT))
    backend = ClarifaiBackend(base=url, **settings)
    try:
        yield backend
    finally:
        await backend.close()


def request(*, stream: bool = True, timeout: float | None = None, **sampling: Any) -> Request:
    return Request(PROMPT, Sampling(**{"max_tokens": 100} | sampling), stream, timeout)


async def answer(backend: ClarifaiBackend, asked: Request) -> Completion:
    return await fold(backend.stream(asked), asked)


async def failure(backend: ClarifaiBackend, asked: Request) -> Phi2Error:
    with pytest.raises(Phi2Error) as caught:
        await asyncio.wait_for(answer(backend, asked), 10)
    return caught.value


async def ended(provider: Emulator, index: int = -1) -> Any:
    """Return the record of a call when the server has finished with it."""
    calls = await asyncio.to_thread(provider.clarifai.calls.wait_for, 1)
    assert await asyncio.to_thread(calls[index].ended.wait, 10)
    return calls[index]


@dataclass
class RawServer:
    """Answers every method with given bytes, and keeps what it was sent."""

    replies: list[bytes] = field(default_factory=list)
    url: str = ""
    deadlines: list[float] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)

    def service(self, details: Any) -> Any:
        self.methods.append(details.method)
        if details.method.endswith("GenerateModelOutputs"):
            return grpc.unary_stream_rpc_method_handler(self._stream)
        return grpc.unary_unary_rpc_method_handler(self._unary)

    def _note(self, context: Any) -> None:
        self.deadlines.append(context.time_remaining())
        self.metadata.append(dict(context.invocation_metadata()))

    async def _unary(self, body: bytes, context: Any) -> bytes:
        self._note(context)
        return self.replies[0]

    async def _stream(self, body: bytes, context: Any) -> AsyncIterator[bytes]:
        self._note(context)
        for reply in self.replies:
            yield reply


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    def __init__(self, raw: RawServer) -> None:
        self.raw = raw

    def service(self, handler_call_details: Any) -> Any:
        return self.raw.service(handler_call_details)


@asynccontextmanager
async def raw_server() -> AsyncIterator[RawServer]:
    """A server of raw messages, running."""
    served = RawServer()
    server = grpc.aio.server(options=[("grpc.max_send_message_length", -1)])
    server.add_generic_rpc_handlers([_Handlers(served)])
    served.url = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield served
    finally:
        await server.stop(None)


def message(*texts: str | None, code: int = 10000, **fields: Any) -> Any:
    """A reply with one output for each text; ``None`` is an output without text."""
    outputs = []
    for text in texts:
        output = resources_pb2.Output(**fields)
        if text is not None:
            output.data.text.raw = text
            output.data.text.SetInParent()
        outputs.append(output)
    status = status_pb2.Status(code=code)
    return service_pb2.MultiOutputResponse(status=status, outputs=outputs)
