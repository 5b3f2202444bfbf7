"""The HTTP transport of all backends: pooled sessions, limited responses, clock readings, errors.

Every HTTP backend goes through :class:`HttpTransport`. It reads the clock as bytes reach us, before
anything is parsed; it follows no redirect, since the key would follow; and it turns whatever
aiohttp raises, and every status that is not a success, into an error of :mod:`phi2sdk.errors`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, ClassVar
from urllib.parse import urlsplit

import aiohttp

from phi2sdk.errors import (
    BadResponse,
    InvalidRequest,
    Phi2Error,
)
from phi2sdk.secret import Secret
from phi2sdk.text import untrusted
from phi2sdk.transport.endpoint import check_endpoint, is_loopback, proxy_for, revealed
from phi2sdk.transport.failures import Failure, error_for, error_of_connection
from phi2sdk.transport.preview import RequestPreview
from phi2sdk.transport.redaction import Redactor
from phi2sdk.transport.sse import ServerEvent, SSEReader

__all__ = ["Reply", "Timeouts", "HttpTransport", "check_endpoint", "is_loopback"]

MAX_RESPONSE_BYTES = 64 * 2**20
MAX_ERROR_BYTES = 64 * 2**10
DRAIN_SECONDS = 0.1

_OWN_HEADERS: Mapping[str, str] = {"Accept-Encoding": "identity", "User-Agent": "phi2sdk"}

Classify = Callable[[Failure], Phi2Error | None]
"""Returns the error of a provider for a failure; ``None`` leaves the choice to the status."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Time limits of one attempt in seconds; the client limits all attempts together.

    Attributes:
        connect: Time to connect, including TLS.
        idle: Longest time between two reads.
        attempt: The whole attempt.
    """

    connect: float = 10.0
    idle: float = 60.0
    attempt: float = 300.0


class Reply:
    """A successful response, which is read as one document or as events."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        t_ns: int,
        *,
        max_bytes: int,
        redact: Redactor,
    ) -> None:
        self.t_headers_ns = t_ns
        self.status = response.status
        self.headers = _headers(response, redact)
        self._response = response
        self._content = response.content
        self._max = self._left = max_bytes
        self._redact = redact

    async def json(self) -> tuple[int, Any]:
        """Return ``(t_ns, document)``: the time of the last byte, and the whole body.

        Raises:
            BadResponse: The body is not a JSON document, or is longer than the limit.
        """
        pieces = []
        while piece := await self._read():
            pieces.append(piece)
        return perf_counter_ns(), self.parse(b"".join(pieces))

    async def events(self) -> AsyncGenerator[tuple[int, ServerEvent], None]:
        """Yield ``(t_ns, event)`` for each server-sent event, with the time of its last byte.

        Raises:
            BadResponse: The body is not an event stream, or is longer than the limit.
        """
        if (kind := self._response.content_type) != "text/event-stream":
            raise BadResponse(
                f"the response is {untrusted(self._redact(kind))} instead of a stream of events. "
                "Check the endpoint"
            )
        reader = SSEReader()
        while piece := await self._read():
            t_ns = perf_counter_ns()
            for event in reader.feed(piece):
                yield t_ns, event
        for event in reader.close():
            yield perf_counter_ns(), event

    async def drain(self) -> None:
        """Read the rest of the body, so that the connection can be used again.

        Usually only the end of the body follows ``[DONE]``. If a server does not end its body
        within 0.1 s, its connection is closed.
        """
        with suppress(TimeoutError, aiohttp.ClientError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while await self._content.readany():
                    pass

    def parse(self, data: bytes) -> Any:
        """Return the JSON document in ``data``, without a key that the server sent back.

        Raises:
            BadResponse: It is not valid JSON; the message shows its beginning.
        """
        try:
            return self._redact.document(data)
        except (ValueError, RecursionError):
            if not data.strip():
                raise BadResponse("the response is empty", status=self.status) from None
            start = untrusted(self._redact(data[:4000].decode("utf-8", "replace")), 80)
            raise BadResponse(
                f"the response is not JSON; it begins with {start!r}. Check the endpoint",
                status=self.status,
            ) from None

    async def _read(self) -> bytes:
        """Return the next bytes; none at the end."""
        piece = await self._content.readany()
        self._left -= len(piece)
        if self._left < 0:
            raise BadResponse(
                f"the response is longer than {self._max} bytes, and the rest was not read"
            )
        return piece


class HttpTransport:
    """HTTP calls to one endpoint.

    Args:
        base_url: The endpoint; paths are appended to it.
        provider: Named in errors.
        headers: Sent with every call; values may be :class:`Secret`.
        timeouts: Limits of one attempt.
        classify: Returns the provider's error for a failure.
        max_response_bytes: A longer response is an error.
        insecure_hosts: Hosts that may be called over plain http though they are not loopback.

    Proxies come from the environment (``HTTPS_PROXY``, ``HTTP_PROXY``, ``ALL_PROXY``,
    ``NO_PROXY``); calls to loopback never use one, since the key would leave the machine.

    Raises:
        ConfigurationError: The endpoint is not a URL, or has plain http to a host that is not
            loopback; a header cannot contain the key; the kind of the proxy is not supported.
    """

    _of_parents: ClassVar[list[object]] = []
    """Sessions from before a fork, which stay open because closing them affects the parent."""

    def __init__(
        self,
        base_url: str,
        *,
        provider: str,
        headers: Mapping[str, str | Secret] | None = None,
        timeouts: Timeouts = Timeouts(),
        classify: Classify | None = None,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        insecure_hosts: tuple[str, ...] = (),
    ) -> None:
        self.base_url = check_endpoint(base_url, provider, insecure_hosts)
        self.provider = provider
        self.timeouts = timeouts
        self._headers = {**_OWN_HEADERS, **(headers or {})}
        revealed(self._headers)  # refused now rather than at the first call
        self.redact = Redactor(self._headers.values())
        self._where = urlsplit(self.base_url).netloc
        self._classify = classify
        self._proxy = proxy_for(self.base_url)
        self._max = max_response_bytes
        self._pid = os.getpid()
        self._sessions: dict[asyncio.AbstractEventLoop, _Session] = {}
        self._usual_limits = _client_timeout(timeouts, timeouts.attempt)

    def post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str | Secret] | None = None,
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[Reply]:
        """Send ``body`` as JSON; yield the response when its headers report success.

        Leaving the block early closes the connection, so that the provider stops working.

        Args:
            path: Appended to the endpoint (may hold a query).
            body: The JSON document.
            headers: For this call, over those of the wire.
            timeout: Seconds for this attempt, if less than ``timeouts.attempt``.

        Raises:
            Phi2Error: The subclass depends on status, code, or kind of connection failure.
        """
        data = aiohttp.BytesPayload(_encode(body), content_type="application/json")
        return self._request("POST", path, data, headers, timeout)

    def outgoing(
        self, path: str, body: Mapping[str, Any], *, headers: Mapping[str, str | Secret]
    ) -> RequestPreview:
        """Return the call that :meth:`post` makes with the same arguments, without making it."""
        content = {"Content-Type": "application/json"}
        return RequestPreview(
            "http", self.base_url + path, {**self._headers, **content, **headers}, _encode(body)
        )

    def get(
        self,
        path: str,
        *,
        headers: Mapping[str, str | Secret] | None = None,
        timeout: float | None = None,
    ) -> AbstractAsyncContextManager[Reply]:
        """Send a GET request; otherwise the same as :meth:`post`."""
        return self._request("GET", path, None, headers, timeout)

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        data: aiohttp.BytesPayload | None,
        headers: Mapping[str, str | Secret] | None,
        timeout: float | None,
    ) -> AsyncGenerator[Reply, None]:
        if headers:  # those of the wire go out with the session
            self.redact.learn(headers.values())
        with self.redact.boundary():
            try:
                session = await self._open()
                async with session.request(
                    method,
                    self.base_url + path,
                    data=data,
                    headers=revealed(headers) if headers else None,
                    timeout=self._limits(timeout),
                    proxy=self._proxy.reveal() if self._proxy else None,
                    allow_redirects=False,
                ) as response:
                    t_ns = perf_counter_ns()
                    if not 200 <= response.status < 300:
                        raise await self._failure(response)
                    yield Reply(response, t_ns, max_bytes=self._max, redact=self.redact)
            except Phi2Error as error:
                error.provider = error.provider or self.provider
                raise
            except (TimeoutError, aiohttp.ClientError, UnicodeError, OSError) as error:
                raise self._named(error) from error

    async def close(self) -> None:
        """Close the pooled connections. Closing twice, or from another loop, has no effect."""
        self._leave_parent()
        here = asyncio.get_running_loop()
        while self._sessions:
            loop, session = self._sessions.popitem()
            if loop is here or loop.is_closed():
                await session.aclose()
            elif loop.is_running():
                closing = asyncio.run_coroutine_threadsafe(session.aclose(), loop)
                await asyncio.wrap_future(closing)

    async def _open(self) -> aiohttp.ClientSession:
        """Return the session of this loop; a new one after a fork or in a new loop."""
        self._leave_parent()
        here = asyncio.get_running_loop()
        if (known := self._sessions.get(here)) is not None and not known.session.closed:
            return known.session
        for loop in [loop for loop in self._sessions if loop.is_closed()]:
            await self._sessions.pop(loop).aclose()
        made = self._sessions[here] = _Session(revealed(self._headers))
        await made.keep()
        return made.session

    def _leave_parent(self) -> None:
        if self._pid != os.getpid():
            self._of_parents.extend(self._sessions.values())
            self._sessions.clear()
            self._pid = os.getpid()

    def _limits(self, timeout: float | None) -> aiohttp.ClientTimeout:
        limits = self.timeouts
        if timeout is None or timeout >= limits.attempt:
            return self._usual_limits
        return _client_timeout(limits, max(timeout, 0.001))

    async def _failure(self, response: aiohttp.ClientResponse) -> Phi2Error:
        body = bytearray()
        # The status says what failed, even if the connection breaks while it is explained.
        with suppress(aiohttp.ClientError, OSError):
            while len(body) < MAX_ERROR_BYTES and (piece := await response.content.readany()):
                body += piece
        text = self.redact(bytes(body[:MAX_ERROR_BYTES]).decode("utf-8", "replace"))
        headers = _headers(response, self.redact)
        failure = Failure(self.provider, response.status, headers, text)
        named = self._classify(failure) if self._classify else None
        return named or error_for(failure)

    def _named(self, error: Exception) -> Phi2Error:
        """Return the error for an exception of aiohttp."""
        made = error_of_connection(error, self._where)
        made.provider = self.provider
        return made


def _headers(response: aiohttp.ClientResponse, redact: Redactor) -> Mapping[str, str]:
    headers = response.headers.copy()
    for name, value in response.headers.items():
        if (shown := redact(value)) != value:
            headers[name] = shown
    return headers


class _Session:
    """An aiohttp session that ends with its loop, even without an explicit close."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        # Not trust_env: that looks into ~/.netrc for every call, and an entry for the host would
        # take the place of our key.
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=60),
            trust_env=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
        )
        self._keeper = _closing(self.session)

    async def keep(self) -> None:
        """Bind the session to the running loop, which closes open generators at its end."""
        await anext(self._keeper)

    async def aclose(self) -> None:
        await self._keeper.aclose()


async def _closing(session: aiohttp.ClientSession) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        await session.close()


def _client_timeout(limits: Timeouts, total: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(
        total=total, sock_connect=limits.connect, sock_read=limits.idle, ceil_threshold=1e9
    )


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def _encode(body: Mapping[str, Any]) -> bytes:
    try:
        return _ENCODER.encode(body).encode()
    except UnicodeEncodeError:
        raise InvalidRequest(
            "the request contains half of a surrogate pair, which is not a character. Remove it "
            "from the text"
        ) from None
