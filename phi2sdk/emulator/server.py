"""The HTTP server of an emulated provider: check the key, record calls, apply faults, answer."""

from __future__ import annotations

import asyncio
import json
import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from aiohttp import web

from phi2sdk.emulator.clock import Schedule
from phi2sdk.emulator.engine import Engine
from phi2sdk.emulator.exchange import MASK, Call, Refusal
from phi2sdk.emulator.http_exchange import NO_JSON, Handler, HttpExchange, HttpState
from phi2sdk.emulator.http_faults import ConnectionAborted, deliver, play_before
from phi2sdk.parsing import parse_json

_MAX_BODY_BYTES = 64 << 20
_DETECTING = frozenset({"/v1/models", "/version", "/props", "/api/version", "/info"})
_SECRET_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "proxy-authorization"})


class HttpServer(HttpState):
    """One emulated HTTP provider on its own port."""

    provider: ClassVar[str]

    def __init__(self, engine: Engine, *, key: str, schedule: Schedule) -> None:
        super().__init__(engine, key=key, schedule=schedule)
        self._address: tuple[str, int] | None = None
        self._runner: web.AppRunner | None = None
        self._running: set[asyncio.Task[Any]] = set()
        self._routes = dict(self.routes())

    @abstractmethod
    def routes(self) -> Mapping[tuple[str, str], tuple[Handler, bool]]:
        """Return the handler of each ``(method, path)``, and whether it generates text."""

    def admits(self, path: str) -> bool:
        """Return whether a path needs no key."""
        return False

    def authorized(self, request: web.Request) -> bool:
        """Return whether the request has the right key."""
        return request.headers.get("Authorization", "") == f"Bearer {self.key}"

    @property
    def url(self) -> str:
        """Return the base URL without a slash at its end."""
        if self._address is None:
            raise RuntimeError(f"the {self.provider} emulator is not running")
        host, port = self._address
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def start(self, host: str, port: int) -> None:
        """Start to listen. Port 0 takes a free port."""
        self.stopping = False
        app = web.Application(client_max_size=_MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(
            app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port)
        await site.start()
        self._address = self._runner.addresses[0][:2]

    async def stop(self) -> None:
        """Abort the requests in progress, close all connections and close the port."""
        self.stopping = True
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running), timeout=5.0)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        call = Call(
            path=request.path,
            method=request.method,
            query=request.query_string,
            headers={
                name.lower(): MASK if name.lower() in _SECRET_HEADERS else value
                for name, value in request.headers.items()
            },
            t_received_ns=time.perf_counter_ns(),
            authorized=self.authorized(request),
        )
        if self._detects(request, call):
            return await self._handle(HttpExchange(self, request, call), self._handler(request))
        self.meter.requests += 1
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            return await self._answer(request, call)
        except asyncio.CancelledError:
            call.cancelled = not self.stopping
            raise
        except ConnectionResetError:
            # The client disconnected between two writes; the cancellation has not arrived yet.
            call.cancelled = not self.stopping
            raise asyncio.CancelledError from None
        finally:
            self._running.discard(task)
            call.ended.set()

    async def _answer(self, request: web.Request, call: Call) -> web.StreamResponse:
        exchange = HttpExchange(self, request, call)
        _, generating = self._routes.get((request.method, request.path), (None, False))
        try:
            if self._admitted(call):  # the body of an unauthorized request is not read
                raw = await request.read()
                exchange.body = _parse(raw)
                call.keep(raw, None if exchange.body is NO_JSON else exchange.body)
        finally:
            self.calls.append(call)
        exchange.fault = self.faults.take(request.path, generating=generating)
        if exchange.fault is not None:
            call.fault = exchange.fault.kind
        try:
            response = await play_before(exchange)
            if response is None:
                response = await self._handle(exchange, self._handler(request))
            if not response.prepared and isinstance(response, web.Response):
                response.headers.setdefault("x-request-id", exchange.request_id)
                call.status = response.status
                response = await deliver(exchange, response)
        except ConnectionAborted as aborted:
            response = aborted.response
        call.status = response.status
        return response

    def _detects(self, request: web.Request, call: Call) -> bool:
        """Record a request that detects the server software; return whether it is one."""
        found = request.method == "GET" and request.path in _DETECTING
        if not found or not _SECRET_HEADERS.isdisjoint(call.headers):
            return False
        self.detections.append(call)
        return True

    def _handler(self, request: web.Request) -> Handler | None:
        return self._routes.get((request.method, request.path), (None, False))[0]

    def _admitted(self, call: Call) -> bool:
        return call.authorized or self.admits(call.path)

    async def _handle(self, exchange: HttpExchange, handler: Handler | None) -> web.StreamResponse:
        try:
            if not self._admitted(exchange.call):
                raise Refusal(401, "The key is not known here.", code="invalid_api_key")
            if handler is None:
                raise Refusal(404, "There is no such route.", code="not_found")
            return await handler(exchange)
        except Refusal as refusal:
            return self.error(exchange, refusal)
        except (LookupError, RuntimeError) as broken:
            # The engine failed, for example a script without an answer.
            if exchange.streaming is None:
                return self.error(exchange, Refusal(500, str(broken), code="internal_error"))
            await exchange.streaming.write(self.error_event(exchange, str(broken)))
            return exchange.streaming


def json_response(
    payload: object, *, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Return a JSON response; text beyond ASCII is sent as UTF-8."""
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    return web.Response(body=body, status=status, headers=headers, content_type="application/json")


def _parse(raw: bytes) -> object:
    """Return the JSON document, or :data:`NO_JSON`, also for half a surrogate pair."""
    try:
        document = parse_json(raw)
        if b"\\u" in raw:
            json.dumps(document, ensure_ascii=False).encode()  # fails for half a surrogate pair
    except ValueError:
        return NO_JSON
    return document
