"""Apply scripted faults to gRPC calls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
from clarifai_grpc.grpc.api import resources_pb2, service_pb2
from clarifai_grpc.grpc.api.status import status_code_pb2

from phi2sdk.emulator.clarifai_exchange import ClarifaiExchange, status
from phi2sdk.emulator.faults import Fault
from phi2sdk.emulator.http_faults import hang

_ENDING = frozenset({"cut", "hang", "grpc", "reset", "clarifai", "error_event", "status", "huge"})


async def play_before(exchange: ClarifaiExchange, reply_type: Any) -> Any:
    """Apply a fault before generation; return its response, or ``None`` to continue."""
    fault = exchange.fault
    if fault is None:
        return None
    if fault.kind == "delay":
        await asyncio.sleep(fault.seconds)
    elif fault.kind == "hang" and fault.after is None:
        await hang()
    elif fault.kind in ("grpc", "reset") and fault.after is None:
        await _abort(exchange, fault)
    elif fault.kind in ("clarifai", "status") and fault.after is None:
        return _with_status(exchange, fault, reply_type)
    elif fault.kind == "garbage" and fault.after is None:
        return _garbage(exchange, fault, reply_type)
    elif fault.kind in ("huge", "gzip") and fault.after is None:
        return _huge(exchange, fault)
    return None


async def play_in_stream(
    exchange: ClarifaiExchange, messages: AsyncGenerator[tuple[Any, int], None]
) -> AsyncGenerator[tuple[Any, int], None]:
    """Yield the messages, and apply the fault that is due between two of them."""
    fault, count = exchange.fault, 0
    last: tuple[Any, int] | None = None
    held: tuple[Any, int] | None = None
    async with aclosing(messages):
        async for message in messages:
            if fault is not None and count == (1 if fault.after is None else fault.after):
                shown = message if fault.kind == "twice" else last or message
                async for played in _play(exchange, fault, shown):
                    yield played
                if fault.kind in _ENDING:
                    return
            count += 1
            last = message
            if fault is not None and fault.kind == "swapped" and count == (fault.after or 0) + 1:
                held = message
                continue
            yield message
            if held is not None:
                yield held
                held = None


async def _play(
    exchange: ClarifaiExchange, fault: Fault, message: tuple[Any, int]
) -> AsyncGenerator[tuple[Any, int], None]:
    if fault.kind == "hang":
        await hang()
    elif fault.kind in ("grpc", "reset"):
        await _abort(exchange, fault)
    elif fault.kind in ("clarifai", "error_event", "status"):
        yield _with_status(exchange, fault, service_pb2.MultiOutputResponse), 0
    elif fault.kind == "garbage":
        yield _garbage(exchange, fault, service_pb2.MultiOutputResponse), 0
    elif fault.kind == "huge":
        yield _huge(exchange, fault), 0
    elif fault.kind == "twice":
        yield message
    while fault.kind == "endless":
        yield message
        await asyncio.sleep(0)


async def _abort(exchange: ClarifaiExchange, fault: Fault) -> None:
    exchange.call.status = fault.code
    details = fault.body if isinstance(fault.body, str) else "scripted fault"
    await exchange.context.abort(grpc.StatusCode[fault.code], details)


def _with_status(exchange: ClarifaiExchange, fault: Fault, reply_type: Any) -> Any:
    details = fault.body if isinstance(fault.body, str) else "scripted fault"
    code = fault.status if fault.kind == "clarifai" else status_code_pb2.MODEL_PREDICTION_FAILED
    if fault.where == "output" and reply_type is service_pb2.MultiOutputResponse:
        output = resources_pb2.Output(status=status(code, details))
        top = exchange.answered(status_code_pb2.FAILURE, details)
        return service_pb2.MultiOutputResponse(status=top, outputs=[output])
    return reply_type(status=exchange.answered(code, details))


def _huge(exchange: ClarifaiExchange, fault: Fault) -> Any:
    """Return one message of ``fault.size`` bytes, compressed if the fault is ``gzip``."""
    if fault.kind == "gzip":
        exchange.context.set_compression(grpc.Compression.Gzip)
    output = resources_pb2.Output()
    output.data.text.raw = "a" * fault.size
    ok = exchange.answered(status_code_pb2.SUCCESS)
    return service_pb2.MultiOutputResponse(status=ok, outputs=[output])


def _garbage(exchange: ClarifaiExchange, fault: Fault, reply_type: Any) -> Any:
    """Return a success without an output, or with an output without text."""
    ok = exchange.answered(status_code_pb2.SUCCESS)
    if reply_type is not service_pb2.MultiOutputResponse or fault.form == "empty":
        return reply_type()
    if fault.form in ("object", "null"):
        return service_pb2.MultiOutputResponse(status=ok)
    return service_pb2.MultiOutputResponse(status=ok, outputs=[resources_pb2.Output()])
