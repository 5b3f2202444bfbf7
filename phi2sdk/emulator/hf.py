"""An emulator of a Hugging Face endpoint: TGI behind a proxy that can scale to zero."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import ClassVar

from aiohttp import web

from phi2sdk.emulator.clock import Schedule
from phi2sdk.emulator.engine import Engine
from phi2sdk.emulator.exchange import Refusal
from phi2sdk.emulator.http_exchange import Handler, HttpExchange
from phi2sdk.emulator.server import HttpServer, json_response
from phi2sdk.emulator.tgi import TGIRoutes, error_body
from phi2sdk.emulator.tgi_openai import TGIOpenAIRoutes


class HFServer(HttpServer):
    """Serve TGI's routes and its ``/v1`` routes.

    Attributes:
        tgi, messages: The routes and their options.
    """

    provider: ClassVar[str] = "hf"

    def __init__(self, engine: Engine, *, key: str, schedule: Schedule) -> None:
        self.tgi = TGIRoutes()
        self.messages = TGIOpenAIRoutes()
        self._start_s = 0.0
        self._ready_at: float | None = None
        self._refusals = 0
        super().__init__(engine, key=key, schedule=schedule)

    def sleep(self, seconds: float = 0.0, *, refusals: int = 0) -> None:
        """Scale to zero.

        The next request wakes the endpoint. Until the endpoint is ready, requests get status 503.
        It is ready after ``seconds``, or after ``refusals`` refused requests, whichever is later. A
        request with ``X-Scale-Up-Timeout`` waits instead, at most for that many seconds.
        """
        self._start_s, self._refusals, self._ready_at = seconds, refusals, None
        self._asleep = True

    _asleep = False

    def routes(self) -> Mapping[tuple[str, str], tuple[Handler, bool]]:
        """Return TGI's routes and its OpenAI-compatible routes."""
        table = {**self.tgi.table(), **self.messages.table()}
        return {
            key: (self._awake(handler), may_fault) for key, (handler, may_fault) in table.items()
        }

    def error(self, exchange: HttpExchange, refusal: Refusal) -> web.Response:
        """Return an error in the form of TGI."""
        return json_response(error_body(refusal.status, refusal.message), status=refusal.status)

    def error_event(self, exchange: HttpExchange, message: str) -> bytes:
        """Return an error event; under ``/v1`` it has the status, on other routes the type."""
        if exchange.call.path.startswith("/v1/"):
            return self.messages.error_event(message)
        return self.tgi.error_event(message)

    def _awake(self, handler: Handler) -> Handler:
        async def handle(exchange: HttpExchange) -> web.StreamResponse:
            if self._asleep and not await self._wake(exchange):
                return json_response({"error": "503 Service Unavailable"}, status=503)
            return await handler(exchange)

        return handle

    async def _wake(self, exchange: HttpExchange) -> bool:
        now = time.monotonic()
        if self._ready_at is None:
            self._ready_at = now + self._start_s
        left = self._ready_at - now
        patience = float(exchange.request.headers.get("X-Scale-Up-Timeout", "0"))
        if left > 0 and patience > 0:
            await asyncio.sleep(min(left, patience))
            left -= patience
        if left > 0 or (self._refusals > 0 and patience <= 0):
            self._refusals -= 1
            return False
        self._asleep = False
        return True
