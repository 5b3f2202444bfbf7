"""An emulator of an OpenAI-compatible server."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import ClassVar

from aiohttp import web

from phi2sdk.emulator import openai_routes
from phi2sdk.emulator.exchange import Refusal
from phi2sdk.emulator.http_exchange import Handler, HttpExchange
from phi2sdk.emulator.openai_routes import OpenAIRules
from phi2sdk.emulator.openai_servers import SERVERS, Server
from phi2sdk.emulator.server import HttpServer, json_response
from phi2sdk.emulator.sse import event_bytes
from phi2sdk.transport.openai_wire import error_body


class OpenAIServer(HttpServer):
    """Serve ``/v1/models``, ``/v1/completions``, ``/v1/chat/completions`` and ``/health``.

    Attributes:
        server: The emulated server software, with its sampling keys, limits and errors. ``openai``
            accepts the sampling keys of vLLM, is detected as vLLM, and refuses a request that
            exceeds the context.
        chat_template: Whether the model has a chat template; without one, the chat route refuses.
    """

    provider: ClassVar[str] = "openai"
    server: Server = "openai"
    chat_template: bool = True

    def routes(self) -> Mapping[tuple[str, str], tuple[Handler, bool]]:
        return {
            ("GET", "/health"): (self._health, False),
            ("GET", "/version"): (self._version, False),
            ("GET", "/v1/models"): (self._models, False),
            ("POST", "/v1/completions"): (self._completions, True),
            ("POST", "/v1/chat/completions"): (self._chat, True),
        }

    def admits(self, path: str) -> bool:
        return path in SERVERS[self.server].open_paths

    def error(self, exchange: HttpExchange, refusal: Refusal) -> web.Response:
        return json_response(SERVERS[self.server].error(refusal), status=refusal.status)

    def error_event(self, exchange: HttpExchange, message: str) -> bytes:
        return event_bytes(error_body(message, kind="server_error", code="internal_error"))

    def _rules(self) -> OpenAIRules:
        kind = SERVERS[self.server]
        return OpenAIRules(
            models=frozenset({self.engine.model}),
            extensions=kind.extensions,
            unknown_keys=kind.unknown_keys,
            chat_template=self.chat_template,
            server=kind,
        )

    async def _completions(self, exchange: HttpExchange) -> web.StreamResponse:
        return await openai_routes.completions(exchange, self._rules())

    async def _chat(self, exchange: HttpExchange) -> web.StreamResponse:
        return await openai_routes.chat(exchange, self._rules())

    async def _health(self, exchange: HttpExchange) -> web.StreamResponse:
        return web.Response()

    async def _version(self, exchange: HttpExchange) -> web.StreamResponse:
        if (version := SERVERS[self.server].version) is None:
            raise Refusal(404, "There is no such route.", code="not_found")
        return json_response({"version": version})

    async def _models(self, exchange: HttpExchange) -> web.StreamResponse:
        kind = SERVERS[self.server]
        if not kind.lists_models:
            return web.Response(status=500, text="Internal Server Error")
        card = {
            "id": self.engine.model,
            "object": "model",
            "created": int(time.time()),
            "owned_by": kind.owner,
            "max_model_len": self.engine.context_length,
        }
        return json_response({"object": "list", "data": [card]})
