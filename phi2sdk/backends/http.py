"""The common code of the HTTP backends.

A :class:`Route` implements one wire format: it converts a request to a body, and replies and stream
events to events. It does no input or output. :class:`HTTPBackend` combines a route with a
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
    """One HTTP call, ready to be sent.

    Attributes:
        path: Path that is appended to the endpoint; may have a query.
        body: The JSON document.
        streamed: Whether the reply is a stream of events.
        headers: Headers that this body requires in addition to those of the backend, never a key.
    """

    path: str
    body: Mapping[str, Any]
    streamed: bool
    headers: Mapping[str, str] = field(default_factory=dict)


class EventReader(ABC):
    """Reads the events of one stream, and keeps state between them."""

    @abstractmethod
    def read(self, document: Any, t_ns: int) -> Iterable[Chunk | Done]:
        """Return the event for one JSON document of the stream.

        Raises:
            Phi2Error: The event reports a failure, or is not of the protocol.
        """

    def end(self, t_ns: int) -> Done | None:
        """Return the ``Done`` of a stream that has ended (``[DONE]``, or the end of the body).

        It is ``None`` if the stream was truncated.
        """
        return None


class Route(ABC):
    """One wire format."""

    dialect: Dialect
    capabilities: Capabilities
    model: str | None = None
    """The model name in a call, if the endpoint serves several models."""

    @abstractmethod
    def call(self, prompt: str, wire: Mapping[str, Any], *, stream: bool) -> HttpCall:
        """Return path and body for a prompt with the dialect's sampling keys."""

    @abstractmethod
    def read_reply(self, document: Any, t_ns: int, prompt: str) -> Iterable[Chunk | Done]:
        """Return the events of a complete reply.

        Args:
            document: The reply.
            t_ns: Time at which its last byte arrived.
            prompt: The prompt, for routes that repeat it before the answer.

        Raises:
            Phi2Error: It reports a failure, or is not of the protocol.
        """

    def input_told(self, headers: Mapping[str, str]) -> Count | None:
        """Return the prompt's tokens if the headers of a reply report them."""
        return None

    @abstractmethod
    def reader(self) -> EventReader:
        """Return a reader for one stream."""

    def prompt_logprobs_call(self, text: str) -> HttpCall:
        """Return path and body of a request for log-probabilities of a text."""
        raise NotImplementedError

    def read_prompt_logprobs(self, document: Any) -> tuple[TokenLogprob, ...]:
        """Return the log-probabilities in the reply to :meth:`prompt_logprobs_call`.

        Raises:
            Phi2Error: The reply reports a failure, or does not have them.
        """
        raise NotImplementedError


class HTTPBackend(Backend):
    """A route over a wire.

    Args:
        route: The wire format.
        wire: The connection; ``None`` if :meth:`connect` determines it on first use.
        target: The target's name, for receipts and reports.
        on_unsupported: What to do about a parameter that the route cannot do.
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
                f"the address of {self.target} is looked up when the first request is made: give "
                "its URL as endpoint to see the call",
                provider=self.provider,
            )
        headers = {**call.headers, **self.known_headers()}
        made = self._wire.outgoing(call.path, call.body, headers=headers)
        return replace(made, streamed=call.streamed)

    def known_headers(self) -> Mapping[str, str | Secret]:
        """As much of :meth:`headers` as is known without a call."""
        return {}

    async def headers(self) -> Mapping[str, str | Secret]:
        """Return headers that are created for each call, such as a token that expires."""
        return self.known_headers()

    async def connect(self) -> HttpTransport:
        """Return the connection, before each call.

        Raises:
            Phi2Error: The address of the endpoint is not known and cannot be determined.
        """
        assert self._wire is not None, "a backend without a wire finds one here"
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
                    continue  # a keep-alive
                for read in reader.read(reply.parse(event.data), t_ns):
                    if isinstance(read, Done):
                        done = read  # usage may still follow
                    else:
                        yield read
        done = reader.end(perf_counter_ns()) or done
        if done is None:
            raise BadResponse("the stream ended without a finish reason: it was cut off")
        await reply.drain()
        yield done
