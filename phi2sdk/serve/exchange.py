"""One HTTP exchange: read the body, and send a document or a stream of events."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from phi2sdk.serve.refusal import Refusal

__all__ = ["Exchange"]

BODY_SECONDS = 30.0
"""Time for a client to send the body of a request."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_STREAM_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",
}


class Exchange:
    """A request and its response.

    Attributes:
        id: The identifier of the request, which is in every response.
        request: The request.
        headers: Headers of the response about the request, such as its target.
        stream: The response, if it is a stream that has begun.
        received: ``perf_counter`` when the request was received.
    """

    def __init__(self, request: web.BaseRequest, received: float) -> None:
        self.id = secrets.token_hex(12)
        self.request = request
        self.received = received
        self.headers: dict[str, str] = {
            "Server": "phi2sdk",  # instead of the versions of Python and aiohttp
            "x-phi2-request-id": self.id,
            "x-request-id": self.id,
        }
        self.stream: web.StreamResponse | None = None

    async def body(self) -> bytes:
        """Return the body.

        Raises:
            Refusal: It is not JSON, is too long, or does not arrive in time.
        """
        request = self.request
        if request.content_type != "application/json":
            raise Refusal(
                415, "send the body as JSON, with Content-Type: application/json", code="not_json"
            )
        if "Content-Encoding" in request.headers:
            raise Refusal(415, "send the body without Content-Encoding", code="compressed")
        try:
            if request.content.is_eof():
                return await request.read()
            async with asyncio.timeout(BODY_SECONDS):
                return await request.read()
        except web.HTTPRequestEntityTooLarge as error:
            raise Refusal(413, f"the body is too long: {error.text}", code="too_long") from None
        except TimeoutError:
            raise Refusal(
                408, f"the body did not arrive within {BODY_SECONDS:g} s", code="timeout"
            ) from None

    def document(
        self, document: object, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> web.Response:
        """Return a response with a JSON document."""
        return web.Response(
            body=_json(document),
            status=status,
            content_type="application/json",
            headers={**self.headers, **(headers or {})},
        )

    async def send(self, *documents: object) -> None:
        """Send events of a stream in one write; the first ones follow the headers."""
        await self._write(b"".join([b"data: %b\n\n" % _json(one) for one in documents]))

    async def end(self) -> web.StreamResponse:
        """End a complete stream."""
        await self._write(b"data: [DONE]\n\n")
        assert self.stream is not None
        return self.stream

    async def refuse(self, refusal: Refusal) -> web.StreamResponse:
        """Send an error: as a response, or as the last event of a stream that has begun."""
        if self.stream is None:
            return self.document(refusal.document(), refusal.status, refusal.headers())
        await self._write(b"event: error\ndata: %b\n\n" % _json(refusal.document()))
        return self.stream

    async def _write(self, data: bytes) -> None:
        if self.stream is None:
            response = web.StreamResponse(headers={**_STREAM_HEADERS, **self.headers})
            await response.prepare(self.request)
            self.stream = response
        await self.stream.write(data)


def _json(document: Any) -> bytes:
    return _ENCODER.encode(document).encode("utf-8", "replace")
