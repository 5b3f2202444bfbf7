"""One HTTP request in an emulated server."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from phi2sdk.emulator.engine import Engine
from phi2sdk.emulator.exchange import Call, Exchange, Refusal, ServerState

NO_JSON = object()
"""The value of a body that is not a JSON document."""


class HttpState(ServerState, ABC):
    """A server with its form of errors."""

    @abstractmethod
    def error(self, exchange: HttpExchange, refusal: Refusal) -> web.Response:
        """Return an error in the form of the provider."""

    @abstractmethod
    def error_event(self, exchange: HttpExchange, message: str) -> bytes:
        """Return an error event of a stream in the form of the provider."""


class HttpExchange(Exchange):
    """One HTTP request in a server."""

    def __init__(self, server: HttpState, request: web.Request, call: Call) -> None:
        super().__init__(server, call)
        self.server = server
        self.request = request
        self.body: object = NO_JSON
        self.streaming: web.StreamResponse | None = None
        self.request_id = uuid.uuid4().hex

    @property
    def engine(self) -> Engine:
        """Return the engine that answers."""
        return self.server.engine

    def json_object(self, *, other: int = 400) -> dict[str, Any]:
        """Return the body as a JSON object.

        Args:
            other: The status for a body that is JSON, but not an object.

        Raises:
            Refusal: The body is not JSON (400), or not an object.
        """
        if isinstance(self.body, dict):
            return self.body
        status = 400 if self.body is NO_JSON else other
        raise Refusal(status, "The body must be a JSON object.", code="invalid_json")


Handler = Callable[[HttpExchange], Awaitable[web.StreamResponse]]
