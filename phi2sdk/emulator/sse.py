"""Send server-sent events on schedule, record them, and apply faults."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from aiohttp import web

from phi2sdk.emulator.http_faults import ConnectionAborted, flood, garbage, hang, reset

if TYPE_CHECKING:
    from phi2sdk.emulator.http_exchange import HttpExchange


def event_bytes(payload: object, *, space: bool = True) -> bytes:
    """Return one event: ``data: {...}`` and an empty line, optionally without the space."""
    prefix = "data: " if space else "data:"
    text = payload if isinstance(payload, str) else _compact(payload)
    return f"{prefix}{text}\n\n".encode()


class EventStream:
    """A streamed response of one exchange."""

    def __init__(self, exchange: HttpExchange, *, space: bool = True) -> None:
        self._exchange = exchange
        self._space = space
        self._events = 0
        self._last = b""
        self._held = b""
        self.response = web.StreamResponse(
            headers={
                "Content-Type": "text/event-stream; charset=utf-8",
                "Cache-Control": "no-cache",
                "x-request-id": exchange.request_id,
            }
        )
        if exchange.fault is not None and exchange.fault.kind == "gzip":
            self.response.headers["Content-Encoding"] = "gzip"

    async def open(self) -> None:
        """Send the headers."""
        self._exchange.call.status = 200
        self._exchange.streaming = self.response
        await self.response.prepare(self._exchange.request)

    async def send(self, *payloads: object, characters: int = 0) -> None:
        """Send events in one write; ``characters`` is the number of generated characters."""
        data = b""
        for payload in payloads:
            event = event_bytes(payload, space=self._space)
            if self._due():
                await self._flush(data, characters)
                data, characters = b"", 0
                await self._play(event)
            self._events += 1
            if self._swaps(event):
                continue
            data, self._held = data + event + self._held, b""
            self._last = event
        await self._flush(data, characters)

    async def close(self) -> web.StreamResponse:
        """End the stream, and apply a fault that was due after the last event."""
        fault = self._exchange.fault
        if fault is not None and fault.kind in ("endless", "error_event", "cut", "hang"):
            await self._play(self._last)
        return self.response

    def _swaps(self, event: bytes) -> bool:
        """Return whether the current event is sent after the next event."""
        fault = self._exchange.fault
        if fault is None or fault.kind != "swapped" or self._events != (fault.after or 0) + 1:
            return False
        self._held = event
        return True

    def _due(self) -> bool:
        fault = self._exchange.fault
        if fault is None:
            return False
        if fault.kind == "gzip":  # the encoding applies to the whole body
            return self._events == 0
        return self._events == (1 if fault.after is None else fault.after)

    async def _play(self, event: bytes) -> None:
        fault = self._exchange.fault
        assert fault is not None
        if fault.kind == "hang":
            await hang()
        elif fault.kind == "cut":
            raise ConnectionAborted(self.response)
        elif fault.kind == "reset":
            if fault.where == "in_body":
                await self.response.write(event[: len(event) // 2])
            reset(self._exchange, self.response)
        elif fault.kind == "garbage":
            body, _ = garbage(fault.form)
            await self.response.write(b"data: " + body + b"\n\n")
        elif fault.kind == "error_event":
            if fault.body is None:
                message = "the backend failed while generating"
                await self.response.write(
                    self._exchange.server.error_event(self._exchange, message)
                )
            else:
                await self.response.write(event_bytes(fault.body, space=self._space))
            raise ConnectionAborted(self.response)
        elif fault.kind == "twice":
            await self.response.write(event)
        elif fault.kind in ("huge", "gzip"):
            await flood(self._exchange, self.response, b"data: ")
            raise ConnectionAborted(self.response)
        elif fault.kind == "endless":
            repeated = self._last or event
            while True:
                await self.response.write(repeated)
                await asyncio.sleep(0)

    async def _flush(self, data: bytes, characters: int) -> None:
        if not data:
            return
        if characters:
            self._exchange.call.mark_sent(characters)
        fault = self._exchange.fault
        if fault is not None and fault.kind == "drip":
            for at in range(len(data)):
                await self.response.write(data[at : at + 1])
                await asyncio.sleep(fault.seconds)
            return
        await self.response.write(data)


def _compact(payload: object) -> str:
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
