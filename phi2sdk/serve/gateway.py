"""The HTTP server of the gateway: check the key, find the route, answer, and drain at the end."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable
from time import monotonic, perf_counter
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from phi2sdk.client.budget import Spending
from phi2sdk.errors import Phi2Error
from phi2sdk.log import logger
from phi2sdk.serve.admission import Admission
from phi2sdk.serve.bodies import ChatBody, CompletionBody, GenerationBody, TokenizeBody, read
from phi2sdk.serve.exchange import Exchange
from phi2sdk.serve.generation import Generation
from phi2sdk.serve.metrics import Metrics, attributes_of
from phi2sdk.serve.models import Models
from phi2sdk.serve.options import ServeOptions
from phi2sdk.serve.refusal import Refusal
from phi2sdk.transport.endpoint import is_loopback

__all__ = ["DRAIN_SECONDS", "Gateway"]

DRAIN_SECONDS = 30.0
"""Time for running requests to end after SIGTERM."""
MAX_BODY_BYTES = 4 * 2**20
_OPEN_PATHS = frozenset({"/health", "/ready"})

Handler = Callable[[Exchange], Awaitable[web.StreamResponse]]


class Gateway:
    """Serves the models of :class:`ServeOptions` over HTTP, while it is open.

    ::

        async with Gateway(ServeOptions(targets=("local",))) as gateway:
            await gateway.load()
            print(gateway.url)

    Attributes:
        url: The base URL for clients, which ends with ``/v1``; known when the gateway is open.

    Raises:
        ConfigurationError: A target cannot be opened, or a package of the extra is missing.
        OSError: The port cannot be used.
    """

    def __init__(self, options: ServeOptions) -> None:
        self.options = options
        self.spending = Spending(options.budget_usd) if options.budget_usd is not None else None
        self.models = Models.open(options, self.spending)
        self.admission = Admission(options.concurrency, options.queue, options.rate)
        self.metrics = Metrics(self._gauges())
        self._key = _digest(options.api_key.reveal()) if options.api_key else None
        self._routes: dict[str, tuple[str, Handler]] = {
            "/v1/completions": ("POST", lambda exchange: self._generate(exchange, CompletionBody)),
            "/v1/chat/completions": ("POST", lambda exchange: self._generate(exchange, ChatBody)),
            "/v1/models": ("GET", self._list_models),
            "/tokenize": ("POST", self._tokenize),
            "/health": ("GET", self._health),
            "/ready": ("GET", self._ready),
            "/metrics": ("GET", self._metrics),
        }
        self._runner: web.ServerRunner | None = None
        self._server: web.Server | None = None
        self._site: web.TCPSite | None = None
        self.url = ""
        self._busy = 0
        self._idle = asyncio.Event()

    async def __aenter__(self) -> Gateway:
        self._server = web.Server(
            self._handle,
            request_factory=self._request,
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=75.0,
        )
        self._runner = web.ServerRunner(self._server, shutdown_timeout=1.0)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, self.options.host, self.options.port, backlog=1024)
        try:
            await self._site.start()
        except BaseException:
            await self._close()
            raise
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://[{host}]:{port}/v1" if ":" in host else f"http://{host}:{port}/v1"
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._close()

    async def load(self) -> None:
        """Load the local models.

        Raises:
            Phi2Error: A model cannot be loaded.
        """
        await asyncio.gather(*(one.load() for one in self.models.upstreams.values()))

    async def drain(self, seconds: float = DRAIN_SECONDS) -> bool:
        """Accept no new requests, and wait for running ones; return whether all of them ended.

        A request on a connection that is still open gets status 503, and the connection is closed.
        """
        self.admission.draining = True
        if self._site is not None:
            await self._site.stop()
            self._site = None
            await asyncio.sleep(0)  # requests that have arrived begin
        try:
            async with asyncio.timeout(seconds):
                while self._busy:
                    self._idle.clear()
                    await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        await self.models.close()
        self.metrics.close()

    def _request(
        self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> web.BaseRequest:
        loop = asyncio.get_running_loop()
        return web.BaseRequest(
            message, payload, protocol, writer, task, loop, client_max_size=MAX_BODY_BYTES
        )

    # ------------------------------------------------------------------ one exchange

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        exchange = Exchange(request, perf_counter())
        self._busy += 1
        try:
            response = await self._answer(exchange)
            if self.admission.draining and not response.prepared:
                response.force_close()
            return response
        finally:
            self._busy -= 1
            if not self._busy:
                self._idle.set()

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        try:
            handler = self._route(exchange.request)
            return await handler(exchange)
        except Refusal as refusal:
            return await exchange.refuse(refusal)
        except Phi2Error as error:
            return await exchange.refuse(Refusal.of(error))
        except ConnectionResetError:
            raise asyncio.CancelledError from None  # the client left between two writes
        except Exception:
            logger.exception("request %s failed", exchange.id)
            fault = Refusal(500, "the gateway failed. Its log has the cause", code="internal_error")
            return await exchange.refuse(fault)

    def _route(self, request: web.BaseRequest) -> Handler:
        path = request.path
        if path not in _OPEN_PATHS:
            self._authorize(request)
        method, handler = self._routes.get(path, ("", None))
        if handler is None and path.startswith("/v1/models/"):
            method, handler = "GET", self._show_model
        if handler is None:
            raise Refusal(404, "there is no such route", code="not_found")
        if request.method != method:
            raise Refusal(405, f"use {method} for this route", code="method_not_allowed")
        return handler

    def _authorize(self, request: web.BaseRequest) -> None:
        if self._key is not None:
            scheme, _, given = request.headers.get("Authorization", "").partition(" ")
            right = hmac.compare_digest(_digest(given.strip()), self._key)
            if scheme.lower() != "bearer" or not right:
                raise Refusal(
                    401,
                    "the key is missing or wrong. Send Authorization: Bearer KEY",
                    code="invalid_api_key",
                )
            return
        host = urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
        if not is_loopback(host):  # a page in a browser resolved its own name to this machine
            raise Refusal(
                403,
                "without a key, the Host header must name loopback, such as 127.0.0.1",
                code="wrong_host",
            )

    # ------------------------------------------------------------------ routes

    async def _generate(self, exchange: Exchange, kind: type[GenerationBody]) -> web.StreamResponse:
        deadline = monotonic() + self.options.timeout
        body = read(kind, await exchange.body())
        generation = Generation(exchange, body, self.models.find(body.model), deadline)
        failure: str | None = None
        try:
            return await generation.respond(self.admission)
        except Refusal as refusal:
            failure = refusal.code
            raise
        except Phi2Error as error:
            failure = type(error).__name__
            generation.describe()
            raise
        except BaseException as error:
            failure = type(error).__name__
            raise
        finally:
            self._record(generation, exchange, failure)

    def _record(self, generation: Generation, exchange: Exchange, failure: str | None) -> None:
        """Add a request to the metrics and to the log."""
        seconds = perf_counter() - exchange.received
        target = generation.target
        attributes = attributes_of(generation.model, chat=generation.chat, target=target)
        for answer in generation.answers:
            if answer.completion is not None:
                self.metrics.answered(attributes, answer.completion)
        if generation.first is not None:
            self.metrics.first_text(attributes, generation.first - exchange.received)
        self.metrics.ended(
            attributes if failure is None else {**attributes, "error.type": failure}, seconds
        )
        logger.info(
            "%s %s: model %s, target %s, %.3f s, %s",
            *(exchange.id, exchange.request.path, generation.model.name, target or "none"),
            *(seconds, failure or "answered"),
        )

    async def _list_models(self, exchange: Exchange) -> web.StreamResponse:
        return exchange.document({"object": "list", "data": self.models.cards()})

    async def _show_model(self, exchange: Exchange) -> web.StreamResponse:
        return exchange.document(self.models.card(exchange.request.path[len("/v1/models/") :]))

    async def _tokenize(self, exchange: Exchange) -> web.StreamResponse:
        body = read(TokenizeBody, await exchange.body())
        model = self.models.find(body.model)
        if model.tokens is None:
            raise Refusal(
                400,
                f"the tokenizer of {model.name} is not known. Only local models have one",
                code="unsupported_model",
                param="model",
            )
        local = await model.tokens.load()
        tokens = local.encode(body.prompt)
        return exchange.document(
            {"count": len(tokens), "max_model_len": local.context_length, "tokens": tokens}
        )

    async def _health(self, exchange: Exchange) -> web.StreamResponse:
        return exchange.document({"status": "ok"})

    async def _ready(self, exchange: Exchange) -> web.StreamResponse:
        draining = self.admission.draining
        ready = self.models.ready and not draining
        state = "ready" if ready else "shutting down" if draining else "loading"
        return exchange.document({"status": state}, 200 if ready else 503)

    async def _metrics(self, exchange: Exchange) -> web.StreamResponse:
        text = await asyncio.to_thread(self.metrics.text)
        kind = "text/plain; version=0.0.4; charset=utf-8"
        return web.Response(body=text, headers={**exchange.headers, "Content-Type": kind})

    def _gauges(self) -> list[tuple[str, str, str, Callable[[], float]]]:
        started, spending, admission = time.time(), self.spending, self.admission
        gauges: list[tuple[str, str, str, Callable[[], float]]] = [
            ("phi2sdk.serve.running", "{request}", "Slots in use.", lambda: admission.running),
            (
                "phi2sdk.serve.waiting",
                "{request}",
                "Requests that wait.",
                lambda: admission.waiting,
            ),
            ("phi2sdk.serve.start_time", "s", "Start of the gateway, Unix time.", lambda: started),
        ]
        if spending is not None:
            gauges += [
                ("phi2sdk.serve.budget", "USD", "The budget.", lambda: spending.cap),
                ("phi2sdk.serve.spent", "USD", "Amount spent.", lambda: spending.spent),
                ("phi2sdk.serve.reserved", "USD", "Amount reserved.", lambda: spending.held),
            ]
        return gauges


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
