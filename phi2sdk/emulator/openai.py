"""An OpenAI-compatible server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar

from aiohttp import web

from phi2sdk.emulator import openai_routes
from phi2sdk.emulator.openai_routes import EXTENSIONS, OpenAIRules
from phi2sdk.emulator.openai_wire import error_body
from phi2sdk.emulator.refusal import Refusal
from phi2sdk.emulator.server import Exchange, Handler, HttpServer, json_response
from phi2sdk.emulator.sse import event_bytes

__all__ = ["OpenAIServer", "error_kind"]


def error_kind(status: int) -> str:
    """The error type that goes with a status."""
    if status == 401:
        return "authentication_error"
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


class OpenAIServer(HttpServer):
    """``/v1/models``, ``/v1/completions``, ``/v1/chat/completions``, ``/health``.

    Attributes:
        extensions: Body keys understood beyond OpenAI's own; any other is refused with 400.
        chat_template: False answers the chat route as a server whose model has no template.
    """

    provider: ClassVar[str] = "openai"
    open_paths: ClassVar[frozenset[str]] = frozenset({"/health"})
    extensions: frozenset[str] = EXTENSIONS
    chat_template: bool = True

    def routes(self) -> Mapping[tuple[str, str], tuple[Handler, bool]]:
        return {
            ("GET", "/health"): (self._health, False),
            ("GET", "/v1/models"): (self._models, False),
            ("POST", "/v1/completions"): (self._completions, True),
            ("POST", "/v1/chat/completions"): (self._chat, True),
        }

    def error(self, exchange: Exchange, refusal: Refusal) -> web.Response:
        body = error_body(
            refusal.message,
            kind=error_kind(refusal.status),
            code=refusal.code,
            param=refusal.param,
        )
        return json_response(body, status=refusal.status)

    def error_event(self, exchange: Exchange, message: str) -> bytes:
        return event_bytes(error_body(message, kind="server_error", code="internal_error"))

    def _rules(self) -> OpenAIRules:
        return OpenAIRules(
            models=frozenset({self.engine.model}),
            extensions=self.extensions,
            chat_template=self.chat_template,
        )

    async def _completions(self, exchange: Exchange) -> web.StreamResponse:
        return await openai_routes.completions(exchange, self._rules())

    async def _chat(self, exchange: Exchange) -> web.StreamResponse:
        return await openai_routes.chat(exchange, self._rules())

    async def _health(self, exchange: Exchange) -> web.StreamResponse:
        return web.Response()

    async def _models(self, exchange: Exchange) -> web.StreamResponse:
        card = {
            "id": self.engine.model,
            "object": "model",
            "created": int(time.time()),
            "owned_by": "emulator",
            "max_model_len": self.engine.context_length,
        }
        return json_response({"object": "list", "data": [card]})
