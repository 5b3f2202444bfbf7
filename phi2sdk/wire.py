"""The one HTTP stack: a pooled session, bounded replies, clock readings, failures by name.

Every HTTP backend goes through :class:`Wire`. It reads the clock as bytes reach us, before
anything is parsed; it follows no redirect, since the key would follow; and it turns whatever
aiohttp raises, and every status that is not a success, into an error of :mod:`phi2sdk.errors`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from phi2sdk.errors import (
    BadResponse,
    ConfigurationError,
    ConnectionFailed,
    Phi2Error,
    Timeout,
)
from phi2sdk.secret import Secret
from phi2sdk.sse import ServerEvent, SSEReader
from phi2sdk.status import Failure, error_for, untrusted

__all__ = ["Reply", "Timeouts", "Wire", "check_endpoint"]

MAX_RESPONSE_BYTES = 64 * 2**20
MAX_ERROR_BYTES = 64 * 2**10

Classify = Callable[[Failure], Phi2Error | None]
"""A provider's own reading of a failure; ``None`` leaves it to the status."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Limits in seconds of one attempt; the total over all attempts is the retry policy's.

    Attributes:
        connect: Until the connection stands, TLS included.
        idle: The longest silence between two reads.
        attempt: The whole attempt.
    """

    connect: float = 10.0
    idle: float = 60.0
    attempt: float = 300.0


class Reply:
    """A successful response, to be read as one document or as events."""

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        t_ns: int,
        *,
        max_bytes: int,
        redact: Callable[[str], str],
    ) -> None:
        self.t_headers_ns = t_ns
        self.status = response.status
        self.headers = response.headers
        self._response = response
        self._max = max_bytes
        self._redact = redact

    async def json(self) -> tuple[int, Any]:
        """``(t_ns, document)``: the whole body, and when its last byte reached us.

        Raises:
            BadResponse: It is no JSON document, or longer than the limit.
        """
        body = bytearray()
        async for piece in self._pieces():
            body += piece
        t_ns = perf_counter_ns()
        return t_ns, self.parse(bytes(body))

    async def events(self) -> AsyncGenerator[tuple[int, ServerEvent], None]:
        """``(t_ns, event)`` for each server-sent event; the time is that of its last byte.

        Raises:
            BadResponse: The body is no event stream, or longer than the limit.
        """
        if (kind := self._response.content_type) != "text/event-stream":
            raise BadResponse(f"expected a stream of events, received {untrusted(kind)}")
        reader = SSEReader()
        async for piece in self._pieces():
            t_ns = perf_counter_ns()
            for event in reader.feed(piece):
                yield t_ns, event
        for event in reader.close():
            yield perf_counter_ns(), event

    def parse(self, data: bytes) -> Any:
        """A JSON document out of ``data``.

        Raises:
            BadResponse: It is none; the message shows how it begins.
        """
        if not data.strip():
            raise BadResponse("the reply is empty", status=self.status)
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            start = untrusted(self._redact(data[:400].decode("utf-8", "replace")), 80)
            raise BadResponse(
                f"the reply is no JSON document; it begins {start!r}", status=self.status
            ) from None

    async def _pieces(self) -> AsyncIterator[bytes]:
        received = 0
        content = self._response.content
        while piece := await content.readany():
            received += len(piece)
            if received > self._max:
                raise BadResponse(
                    f"the response is longer than {self._max} bytes: not read further"
                )
            yield piece


class Wire:
    """HTTP to one endpoint.

    Args:
        base_url: The endpoint; paths are appended to it.
        provider: Named in errors.
        headers: Sent with every call; values may be :class:`Secret`.
        timeouts: Limits of one attempt.
        classify: The provider's reading of a failure.
        max_response_bytes: A longer reply is an error.
        insecure_hosts: Hosts that may be called over plain http though they are not loopback.

    Raises:
        ConfigurationError: The endpoint is no URL, or plain http to a host that is not loopback.
    """

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
        self._headers = dict(headers or {})
        self._secrets = [v for v in self._headers.values() if isinstance(v, Secret)]
        self._classify = classify
        self._max = max_response_bytes
        self._session: aiohttp.ClientSession | None = None
        self._owner: tuple[int, asyncio.AbstractEventLoop] | None = None

    @asynccontextmanager
    async def post(
        self,
        path: str,
        body: Mapping[str, Any],
        *,
        headers: Mapping[str, str | Secret] | None = None,
        timeout: float | None = None,
    ) -> AsyncGenerator[Reply, None]:
        """Send ``body`` as JSON; give the reply once its headers are there and say success.

        Leaving the block early closes the connection, so that the provider stops working.

        Args:
            path: Appended to the endpoint (may hold a query).
            body: The JSON document.
            headers: For this call, over those of the wire.
            timeout: Seconds for this attempt, if less than ``timeouts.attempt``.

        Raises:
            Phi2Error: By status, provider's code, or kind of connection failure.
        """
        async with self._request("POST", path, body, headers, timeout) as reply:
            yield reply

    @asynccontextmanager
    async def get(self, path: str, *, timeout: float | None = None) -> AsyncGenerator[Reply, None]:
        """The same for a GET without a body."""
        async with self._request("GET", path, None, None, timeout) as reply:
            yield reply

    @asynccontextmanager
    async def _request(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        headers: Mapping[str, str | Secret] | None,
        timeout: float | None,
    ) -> AsyncGenerator[Reply, None]:
        data = None if body is None else _encode(body)
        with self._named_failures():
            async with self._open().request(
                method,
                self.base_url + path,
                data=data,
                headers=self._reveal(headers, has_body=data is not None),
                timeout=self._limits(timeout),
                allow_redirects=False,
            ) as response:
                t_ns = perf_counter_ns()
                if response.status // 100 != 2:
                    raise await self._failure(response)
                yield Reply(response, t_ns, max_bytes=self._max, redact=self.redact)

    async def close(self) -> None:
        """Close the pooled connections. Closing twice is harmless."""
        session, self._session = self._session, None
        if session is not None and self._owner == _here():
            await session.close()

    def redact(self, text: str) -> str:
        """``text`` without any key of this wire in it: servers do quote keys in their errors."""
        for secret in self._secrets:
            if secret:
                text = text.replace(secret.reveal(), "***")
        return text

    def _open(self) -> aiohttp.ClientSession:
        """The session of this loop and process; after a fork or in a new loop, a new one."""
        here = _here()
        if self._session is None or self._session.closed or self._owner != here:
            connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=60)
            self._session = aiohttp.ClientSession(
                connector=connector,
                trust_env=True,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent",),
            )
            self._owner = here
        return self._session

    def _reveal(
        self, headers: Mapping[str, str | Secret] | None, *, has_body: bool
    ) -> dict[str, str]:
        revealed = {"Accept-Encoding": "identity", "User-Agent": "phi2sdk"}
        if has_body:
            revealed["Content-Type"] = "application/json"
        for name, value in {**self._headers, **(headers or {})}.items():
            revealed[name] = value.reveal() if isinstance(value, Secret) else value
        return revealed

    def _limits(self, timeout: float | None) -> aiohttp.ClientTimeout:
        limits = self.timeouts
        total = limits.attempt if timeout is None else min(limits.attempt, max(timeout, 0.001))
        return aiohttp.ClientTimeout(
            total=total, sock_connect=limits.connect, sock_read=limits.idle, ceil_threshold=1e9
        )

    async def _failure(self, response: aiohttp.ClientResponse) -> Phi2Error:
        body = bytearray()
        while len(body) < MAX_ERROR_BYTES and (piece := await response.content.readany()):
            body += piece
        text = bytes(body[:MAX_ERROR_BYTES]).decode("utf-8", "replace")
        failure = Failure(self.provider, response.status, response.headers, text)
        named = self._classify(failure) if self._classify else None
        return named or error_for(failure)

    @contextmanager
    def _named_failures(self) -> Iterator[None]:
        """aiohttp's exceptions under our names, most specific first."""
        where = urlsplit(self.base_url).netloc
        try:
            yield
        except Phi2Error as error:
            error.provider = error.provider or self.provider
            error.message = self.redact(error.message)
            error.args = (error.message,)
            raise
        except TimeoutError as error:  # aiohttp's timeouts all derive from it
            raise Timeout(f"no answer from {where} in time", provider=self.provider) from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise ConfigurationError(
                f"the certificate of {where} is not valid for it: check the endpoint's name, or "
                "point SSL_CERT_FILE at your own authority",
                provider=self.provider,
            ) from error
        except aiohttp.InvalidURL as error:
            raise ConfigurationError(
                f"{self.redact(self.base_url)} is no valid URL", provider=self.provider
            ) from error
        except aiohttp.ClientResponseError as error:
            raise BadResponse(
                f"{where} does not speak HTTP as expected", provider=self.provider
            ) from error
        except (aiohttp.ClientError, OSError) as error:
            raise ConnectionFailed(
                f"the connection to {where} failed ({type(error).__name__})",
                provider=self.provider,
            ) from error


def check_endpoint(url: str, provider: str, insecure_hosts: tuple[str, ...] = ()) -> str:
    """``url`` without a trailing slash, if a key may be sent there.

    Raises:
        ConfigurationError: It is no http(s) URL, carries credentials, or is plain http to a host
            that is neither loopback nor named in ``insecure_hosts``.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host:
        raise ConfigurationError(
            f"the endpoint {url!r} is no URL: it must look like https://host/path",
            provider=provider,
        )
    if parts.username or parts.password:
        raise ConfigurationError(
            "the endpoint carries a user or password: put the key into its own setting",
            provider=provider,
        )
    if parts.scheme == "http" and not is_loopback(host) and host not in insecure_hosts:
        raise ConfigurationError(
            f"plain http to {host} would show the key to everybody on the way: use https, or name "
            f"the host in insecure_hosts if the network is yours",
            provider=provider,
        )
    return url.rstrip("/")


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's loopback."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _here() -> tuple[int, asyncio.AbstractEventLoop]:
    return os.getpid(), asyncio.get_running_loop()


def _encode(body: Mapping[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
