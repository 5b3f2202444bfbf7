"""Backends over HTTP: one implementation of a call, and a route for each wire format.

A :class:`Route` implements one wire format: it converts a request to a body, and responses and
stream events to events. It does no input or output. :class:`HTTPBackend` combines a route with a
:class:`~phi2sdk.transport.http.HttpTransport`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from time import perf_counter_ns
from typing import Any
from urllib.parse import urlsplit

from phi2sdk.backends.base import Backend, Capabilities, OnUnsupported
from phi2sdk.completion import Chunk, Count, Done, Event, Opened, Request, Sent
from phi2sdk.errors import BadResponse, ConfigurationError
from phi2sdk.logprobs import TokenLogprob
from phi2sdk.sampling import Dialect
from phi2sdk.secret import Secret
from phi2sdk.transport.failures import request_id
from phi2sdk.transport.http import HttpTransport, Reply
from phi2sdk.transport.preview import RequestPreview

__all__ = ["HttpCall", "EventReader", "HTTPBackend", "Route"]


@dataclass(frozen=True, slots=True)
class HttpCall:
    """One HTTP call.

    Attributes:
        path: Appended to the endpoint; may contain a query.
        body: The JSON document.
        streamed: Whether the response will be a stream of events.
        headers: Headers that this body needs besides those of the backend. Never a key.
    """

    path: str
    body: Mapping[str, Any]
    streamed: bool
    headers: Mapping[str, str] = field(default_factory=dict)


class EventReader(ABC):
    """Reads the events of one stream, and keeps the state between them."""

    @abstractmethod
    def read(self, document: Any, t_ns: int) -> Iterable[Chunk | Done]:
        """Return the chunks, and the end, that the JSON document of one event contains.

        Raises:
            Phi2Error: The event reports a failure, or is not of the protocol.
        """

    def end(self, t_ns: int) -> Done | None:
        """Return the ``Done`` of a stream that ended with ``[DONE]`` or with its body.

        ``None`` means that the stream is incomplete.
        """
        return None


class Route(ABC):
    """One wire format: how requests are written and responses are read."""

    dialect: Dialect
    capabilities: Capabilities
    model: str | None = None
    """Name of the model in a call, if the endpoint serves more than one."""

    @abstractmethod
    def call(self, prompt: str, wire: Mapping[str, Any], *, stream: bool) -> HttpCall:
        """Return path and body for a prompt with the sampling keys of the dialect."""

    @abstractmethod
    def read_reply(self, document: Any, t_ns: int, prompt: str) -> Iterable[Chunk | Done]:
        """Return the chunk and the end that a whole response contains.

        Args:
            document: The response.
            t_ns: Time of its last byte.
            prompt: The prompt, for routes that repeat it before the answer.

        Raises:
            Phi2Error: It reports a failure, or is not of the protocol.
        """

    def input_told(self, headers: Mapping[str, str]) -> Count | None:
        """Return the number of tokens of the prompt, if the headers of a response contain it."""
        return None

    @abstractmethod
    def reader(self) -> EventReader:
        """Return a reader for one stream."""

    def prompt_logprobs_call(self, text: str) -> HttpCall:
        """Return the call for the log-probabilities of a text."""
        raise NotImplementedError

    def read_prompt_logprobs(self, document: Any) -> tuple[TokenLogprob, ...]:
        """Return the log-probabilities in a response to this call.

        Raises:
            Phi2Error: It reports a failure, or does not contain them.
        """
        raise NotImplementedError


class HTTPBackend(Backend):
    """A backend that sends the requests of a route over HTTP.

    Args:
        route: The wire format.
        wire: The HTTP transport; ``None`` if :meth:`connect` creates it on first use.
        target: Name of the target, for receipts and reports.
        on_unsupported: Whether a parameter that the route does not support raises an error.
    """

    def __init__(
        self,
        *,
        route: Route,
        wire: HttpTransport | None,
        target: str | None = None,
        on_unsupported: OnUnsupported = "raise",
    ) -> None:
        super().__init__(target=target, on_unsupported=on_unsupported)
        self._route = route
        self._wire = wire

    @property
    def capabilities(self) -> Capabilities:
        return self._route.capabilities

    @property
    def dialect(self) -> Dialect:
        return self._route.dialect

    @property
    def model_name(self) -> str | None:
        return self._route.model

    @property
    def server(self) -> tuple[str, int] | None:
        if self._wire is None:
            return None
        parts = urlsplit(self._wire.base_url)
        return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)

    def call(self, request: Request) -> HttpCall:
        """Return the call that a request makes: path and JSON body, without headers."""
        keys, _ = self.prepare(request)
        return self._call(request, keys)

    def outgoing(self, request: Request) -> RequestPreview:
        call = self.call(request)
        if self._wire is None:
            raise ConfigurationError(
                f"the address of {self.target} is not known before the first request. Set endpoint "
                "to its URL to see the call",
                provider=self.provider,
            )
        headers = {**call.headers, **self.known_headers()}
        made = self._wire.outgoing(call.path, call.body, headers=headers)
        return replace(made, streamed=call.streamed)

    def known_headers(self) -> Mapping[str, str | Secret]:
        """Return the part of :meth:`headers` that is known without a call."""
        return {}

    async def headers(self) -> Mapping[str, str | Secret]:
        """Return the headers that change between calls, such as a token that expires."""
        return self.known_headers()

    async def connect(self) -> HttpTransport:
        """Return the HTTP transport; called before each request.

        Raises:
            Phi2Error: The address of the endpoint is not known and cannot be looked up.
        """
        assert self._wire is not None, "a backend without a transport overrides connect"
        return self._wire

    async def ready(self, request: Request) -> Request:
        """Find out what must be known before a request is prepared; return it with the time left.

        Raises:
            Phi2Error: The request cannot be prepared without it.
        """
        return request

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        request = await self.ready(request)
        keys, receipt = self.prepare(request)
        call = self._call(request, keys)
        wire = await self.connect()
        headers = {**call.headers, **await self.headers()}
        yield Sent(perf_counter_ns(), receipt, call.streamed)
        async with wire.post(
            call.path, call.body, headers=headers, timeout=request.timeout
        ) as reply:
            told = self._route.input_told(reply.headers)
            yield Opened(reply.t_headers_ns, request_id(reply.headers), input=told)
            if call.streamed:
                async with aclosing(self._read_stream(reply)) as events:
                    async for event in events:
                        yield event
            else:
                t_ns, document = await reply.json()
                for event in self._route.read_reply(document, t_ns, request.prompt.text):
                    yield event

    async def prompt_logprobs(
        self, text: str, *, timeout: float | None = None
    ) -> tuple[TokenLogprob, ...]:
        if not self.capabilities.prompt_logprobs:
            return await super().prompt_logprobs(text, timeout=timeout)
        call = self._route.prompt_logprobs_call(text)
        wire = await self.connect()
        headers = {**call.headers, **await self.headers()}
        async with wire.post(call.path, call.body, headers=headers, timeout=timeout) as reply:
            _, document = await reply.json()
            return self._route.read_prompt_logprobs(document)

    async def close(self) -> None:
        if self._wire is not None:
            await self._wire.close()

    def _call(self, request: Request, keys: Mapping[str, Any]) -> HttpCall:
        stream = request.stream and self.capabilities.streams
        return self._route.call(request.prompt.text, keys, stream=stream)

    async def _read_stream(self, reply: Reply) -> AsyncGenerator[Chunk | Done, None]:
        reader = self._route.reader()
        done: Done | None = None
        async with aclosing(reply.events()) as received:
            async for t_ns, event in received:
                if event.data == b"[DONE]":
                    break
                if not event.data.strip():
                    continue  # an empty event that keeps the connection open
                for read in reader.read(reply.parse(event.data), t_ns):
                    if isinstance(read, Done):
                        done = read  # usage may still follow
                    else:
                        yield read
        done = reader.end(perf_counter_ns()) or done
        if done is None:
            raise BadResponse(
                "the stream ended without a finish reason, so the answer is incomplete"
            )
        await reply.drain()
        yield done
