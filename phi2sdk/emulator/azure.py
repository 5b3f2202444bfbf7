"""An emulator of Azure: a managed online endpoint (score or TGI) and the chat routes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from aiohttp import web

from phi2sdk.emulator import openai_routes
from phi2sdk.emulator.clock import Schedule
from phi2sdk.emulator.engine import Engine
from phi2sdk.emulator.exchange import Refusal
from phi2sdk.emulator.http_exchange import Handler, HttpExchange
from phi2sdk.emulator.openai_routes import OpenAIRules
from phi2sdk.emulator.openai_servers import EXTENSIONS
from phi2sdk.emulator.score import ScoreStyle, score
from phi2sdk.emulator.server import HttpServer, json_response
from phi2sdk.emulator.sse import event_bytes
from phi2sdk.emulator.tgi import TGIRoutes
from phi2sdk.emulator.tgi import error_body as tgi_error_body
from phi2sdk.transport.openai_wire import error_body, error_kind

_CHAT = "/chat/completions"
_V1 = "/openai/v1"
_KEY_IN_OWN_HEADER = (_CHAT, "/info", _V1)
_TGI_PATHS = frozenset({"/", "/generate", "/generate_stream", "/tokenize"})


class AzureServer(HttpServer):
    """Serve ``/score``, TGI's routes, ``/chat/completions`` and ``/openai/v1/...``.

    Attributes:
        style: The release of the score asset.
        tgi: TGI's routes and their options.
        deployments: The names that ``azureml-model-deployment`` may select.
    """

    provider: ClassVar[str] = "azure"

    def __init__(self, engine: Engine, *, key: str, schedule: Schedule) -> None:
        self.style = ScoreStyle()
        self.tgi = TGIRoutes()
        self.deployments = {"phi-2"}
        super().__init__(engine, key=key, schedule=schedule)

    def routes(self) -> Mapping[tuple[str, str], tuple[Handler, bool]]:
        """Return the routes of all styles, which have different paths."""
        table: dict[tuple[str, str], tuple[Handler, bool]] = {
            **self.tgi.table(),
            ("POST", "/score"): (self._score, True),
            ("POST", _CHAT): (self._chat, True),
            ("GET", "/info"): (self._info, False),
            ("POST", f"{_V1}/completions"): (self._v1_completions, True),
            ("POST", f"{_V1}/chat/completions"): (self._v1_chat, True),
            ("GET", f"{_V1}/models"): (self._v1_models, False),
        }
        return {path: (self._deployed(handler), may) for path, (handler, may) in table.items()}

    def authorized(self, request: web.Request) -> bool:
        """Return whether the key is right. The chat routes accept the header ``api-key`` too."""
        if super().authorized(request):
            return True
        in_header = request.path.startswith(_KEY_IN_OWN_HEADER)
        return in_header and request.headers.get("api-key") == self.key

    def error(self, exchange: HttpExchange, refusal: Refusal) -> web.Response:
        """Return an error in the form of the gateway, of TGI or of OpenAI, by route."""
        path, status, message = exchange.call.path, refusal.status, refusal.message
        if path.startswith(_V1):
            body = error_body(
                message, kind=error_kind(status), code=refusal.code, param=refusal.param
            )
            return json_response(body, status=status)
        if status == 401:
            return web.Response(status=401, text="key_auth_access_denied")
        if status == 424 and path == "/score":
            headers = {
                "ms-azureml-model-error-statuscode": "400",
                "ms-azureml-model-error-reason": "model_error",
            }
            return json_response({"error": message}, status=424, headers=headers)
        if path in _TGI_PATHS and status != 404:
            return json_response(tgi_error_body(status, message), status=status)
        detail = {"code": refusal.code or str(status), "message": message, "status": status}
        return json_response({"error": detail}, status=status)

    def error_event(self, exchange: HttpExchange, message: str) -> bytes:
        """Return an error event of a stream, in the form of the route."""
        if exchange.call.path in _TGI_PATHS:
            return self.tgi.error_event(message)
        return event_bytes(error_body(message, kind="server_error", code="internal_error"))

    def _deployed(self, handler: Handler) -> Handler:
        async def handle(exchange: HttpExchange) -> web.StreamResponse:
            name = exchange.request.headers.get("azureml-model-deployment")
            if name is not None and name not in self.deployments:
                raise Refusal(
                    404, f"The deployment {name} does not take traffic.", code="DeploymentNotFound"
                )
            return await handler(exchange)

        return handle

    async def _score(self, exchange: HttpExchange) -> web.StreamResponse:
        return await score(exchange, self.style)

    async def _chat(self, exchange: HttpExchange) -> web.StreamResponse:
        if "api-version" not in exchange.request.query:
            raise Refusal(400, "The query needs `api-version`.", code="MissingApiVersionParameter")
        extra = exchange.request.headers.get("extra-parameters", "error")
        rules = OpenAIRules(
            models=None,
            extensions=EXTENSIONS if extra == "pass-through" else frozenset(),
            unknown_keys="drop" if extra == "drop" else "refuse",
        )
        return await openai_routes.chat(exchange, rules)

    async def _info(self, exchange: HttpExchange) -> web.StreamResponse:
        if "api-version" not in exchange.request.query:
            return await self.tgi.info(exchange)
        return json_response(
            {
                "model_name": self.engine.model,
                "model_type": "chat-completion",
                "model_provider_name": "Microsoft",
            }
        )

    def _v1_rules(self) -> OpenAIRules:
        names = frozenset({self.engine.model, *self.deployments})
        return OpenAIRules(models=names, extensions=frozenset())

    async def _v1_completions(self, exchange: HttpExchange) -> web.StreamResponse:
        return await openai_routes.completions(exchange, self._v1_rules())

    async def _v1_chat(self, exchange: HttpExchange) -> web.StreamResponse:
        return await openai_routes.chat(exchange, self._v1_rules())

    async def _v1_models(self, exchange: HttpExchange) -> web.StreamResponse:
        names = sorted({self.engine.model, *self.deployments})
        cards = [
            {"id": name, "object": "model", "created": 0, "owned_by": "azure"} for name in names
        ]
        return json_response({"object": "list", "data": cards})
