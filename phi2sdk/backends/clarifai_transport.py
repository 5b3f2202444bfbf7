"""gRPC to Clarifai: one channel for each event loop, and a deadline on every call.

Calls are made on channels of our own, with bytes in both directions: the clock is read before a
message is parsed, and the vendor's generated stub is left alone, which needs a global of the
vendor's channel module to be set before it works.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Self
from urllib.parse import urlsplit

import grpc
import grpc.aio

from phi2sdk.backends.clarifai_status import PROVIDER, error_for_rpc
from phi2sdk.errors import BadResponse, ConfigurationError, ConnectionFailed, Timeout
from phi2sdk.secret import Secret
from phi2sdk.transport.http import MAX_RESPONSE_BYTES, Timeouts, check_endpoint, is_loopback
from phi2sdk.transport.preview import RequestPreview
from phi2sdk.transport.redaction import Redactor

PUBLIC_ENDPOINT = "https://api.clarifai.com"

_SERVICE = "/clarifai.api.V2/"
_SETTLE_SECONDS = 0.5


def with_scheme(base: str) -> str:
    """Return an endpoint with its scheme: http for loopback where none is written, else https."""
    text = base.strip() or PUBLIC_ENDPOINT
    if "://" in text:
        return text
    try:
        plain = is_loopback(urlsplit(f"//{text}").hostname or "")
    except ValueError:  # not an address: Endpoint.parse reports it
        plain = False
    return f"{'http' if plain else 'https'}://{text}"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Address of the API.

    Attributes:
        address: ``host:port``.
        secure: Over TLS.
        loopback: It is this machine.
    """

    address: str
    secure: bool
    loopback: bool

    @property
    def server(self) -> tuple[str, int]:
        """Host and port."""
        host, _, port = self.address.rpartition(":")
        return host.strip("[]"), int(port)

    @classmethod
    def parse(cls, base: str, insecure_hosts: tuple[str, ...] = ()) -> Self:
        """Read an address written as ``https://host``, ``http://host:port`` or ``host:port``.

        Without a scheme, loopback is plain and everything else is TLS.

        Raises:
            ConfigurationError: It is not an endpoint, has a path, or would send the key without
                TLS to a host that is neither loopback nor in ``insecure_hosts``.
        """
        try:
            parts = urlsplit(check_endpoint(with_scheme(base), PROVIDER, insecure_hosts))
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise ConfigurationError(
                f"the endpoint {base!r} is not a host and a port. Write it as https://host",
                provider=PROVIDER,
            ) from error
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ConfigurationError(
                f"the endpoint {base!r} has a path, which gRPC does not use. Leave it out",
                provider=PROVIDER,
            )
        if not host.isascii() or not host.isprintable() or any(c in host for c in " ,/\\"):
            raise ConfigurationError(
                f"the endpoint {base!r} is not a host. Write it as https://host", provider=PROVIDER
            )
        secure = parts.scheme == "https"
        name = f"[{host}]" if ":" in host else host
        return cls(f"{name}:{port or (443 if secure else 80)}", secure, is_loopback(host))


class _Call:
    """A call that gRPC has no event for when it has ended.

    The event of a read that is canceled arrives later. If the loop is closed by then, gRPC logs an
    error in the loop that polls. Therefore only the call is canceled, which ends the read.
    """

    def __init__(self, channel: _Channel, call: Any) -> None:
        self._channel = channel
        self._call = call
        self._reading: asyncio.Task[Any] | None = None
        channel.calls.add(self)

    async def read(self, patience: float) -> bytes | None:
        """Return the next message; ``None`` at the end.

        Raises:
            TimeoutError: ``patience`` seconds without a message.
            AioRpcError: The call failed.
            ConnectionFailed: The channel was closed.
        """
        self._reading = reading = asyncio.ensure_future(self._call.read())
        await asyncio.wait((reading,), timeout=patience)
        if not reading.done():
            raise TimeoutError
        if reading.cancelled():
            raise ConnectionFailed("the client was closed during the answer", provider=PROVIDER)
        message = reading.result()
        if message is grpc.aio.EOF:  # type: ignore[attr-defined]
            return None
        assert isinstance(message, bytes)
        return message

    async def end(self) -> None:
        """Cancel the rest of the call."""
        self._channel.calls.discard(self)
        if not self._call.done():
            # The public cancel() also cancels the task that awaits the headers: see above.
            cancel = getattr(self._call, "_cancel", None)
            _ = cancel("canceled by phi2sdk") if cancel else self._call.cancel()
        reading = self._reading
        if reading is not None:
            await asyncio.wait((reading,))
            _ = (
                reading.cancelled() or reading.exception()
            )  # read here, so that asyncio does not report it


class _Channel:
    """A channel with the loop and the process that it belongs to."""

    def __init__(self, endpoint: Endpoint, timeouts: Timeouts, max_bytes: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.process = os.getpid()
        self.closed = False
        self.calls: set[_Call] = set()
        self._methods: dict[str, Any] = {}
        target = f"dns:///{endpoint.address}"
        options = _options(endpoint, timeouts, max_bytes)
        self._channel = (
            grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(), options=options)
            if endpoint.secure
            else grpc.aio.insecure_channel(target, options=options)
        )

    def call(
        self, method: str, body: bytes, *, timeout: float, metadata: tuple[tuple[str, str], ...]
    ) -> _Call:
        """Start a call with a message, and return its stream of messages.

        A method that answers once is a stream of one message: on the wire they are the same.
        """
        start = self._methods.get(method)
        if start is None:
            start = self._methods[method] = self._channel.unary_stream(
                _SERVICE + method, request_serializer=None, response_deserializer=None
            )
        return _Call(self, start(body, timeout=timeout, metadata=metadata))

    async def close(self) -> None:
        """End running calls, close, and wait until gRPC has finished with the canceled calls."""
        self.closed = True
        self._methods.clear()
        await asyncio.gather(*(call.end() for call in list(self.calls)))
        await self._channel.close(None)
        # gRPC watches each call in a task of its own, which outlives a canceled call by a moment.
        watching = [
            task
            for task in asyncio.all_tasks()
            if getattr(task.get_coro(), "__name__", "") == "_handle_status_once_received"
        ]
        if watching:  # another channel's calls may be among them, hence the limit
            await asyncio.wait(watching, timeout=_SETTLE_SECONDS)


_opened_in: int | None = None
"""The process that opened a channel first; gRPC's poller does not survive a fork."""


class GrpcTransport:
    """Calls to one endpoint with one key.

    Args:
        endpoint: The host and port.
        pat: A personal access token.
        timeouts: Limits of one attempt. The time to connect counts as part of the attempt, and
            gRPC abandons a connection attempt after ``connect`` seconds.
        max_bytes: Size limit of a response. A longer message fails with gRPC's
            ``RESOURCE_EXHAUSTED``; a longer stream raises ``BadResponse``.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        pat: Secret,
        timeouts: Timeouts,
        max_bytes: int = MAX_RESPONSE_BYTES,
    ) -> None:
        self.endpoint = endpoint
        self.timeouts = timeouts
        self._pat = pat
        self.redact = Redactor((pat,))
        self._max = max_bytes
        self._current: _Channel | None = None

    async def unary(self, method: str, body: bytes, timeout: float | None) -> tuple[int, bytes]:
        """Return ``(t_ns, response)`` of a method with one response.

        Raises:
            Phi2Error: By gRPC code.
        """
        last: tuple[int, bytes] | None = None
        async with aclosing(self.stream(method, body, timeout)) as replies:
            async for reply in replies:
                last = reply
        if last is None:
            raise BadResponse("the call ended without a response", provider=PROVIDER)
        return last

    async def stream(
        self, method: str, body: bytes, timeout: float | None
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield ``(t_ns, message)`` for each message of a stream; closing it cancels the call.

        Raises:
            Phi2Error: By gRPC code.
        """
        limit = self.timeouts.attempt
        call = self._open().call(
            method,
            body,
            timeout=limit if timeout is None else min(limit, max(timeout, 0.001)),
            metadata=(("authorization", f"Key {self._pat.reveal()}"),),
        )
        received = 0
        with self.redact.boundary():
            try:
                while (message := await call.read(self.timeouts.idle)) is not None:
                    t_ns = perf_counter_ns()
                    received += len(message)
                    if received > self._max:
                        raise BadResponse(
                            f"the response is longer than {self._max} bytes: not read further",
                            provider=PROVIDER,
                        )
                    yield t_ns, message
            except grpc.aio.AioRpcError as error:
                raise error_for_rpc(error, self.redact) from error
            except TimeoutError as error:
                raise Timeout(
                    f"no data from {self.endpoint.address} for {self.timeouts.idle} s. Raise "
                    "timeouts.idle, or send the request again",
                    provider=PROVIDER,
                ) from error
            finally:
                await call.end()

    def outgoing(self, method: str, document: Mapping[str, Any]) -> RequestPreview:
        """Return the call that :meth:`stream` makes for a message, given in JSON."""
        scheme = "https" if self.endpoint.secure else "http"
        return RequestPreview(
            "grpc",
            f"{scheme}://{self.endpoint.address}{_SERVICE}{method}",
            {"authorization": Secret(f"Key {self._pat.reveal()}")},
            json.dumps(document, ensure_ascii=False).encode(),
        )

    async def close(self) -> None:
        """Close the channel; calls that still run end in ``ConnectionFailed``."""
        channel = self._current
        if channel is None or channel.process != os.getpid():
            return  # after a fork it is the parent's: even to drop it would touch gRPC's threads
        if channel.loop is asyncio.get_running_loop():
            await channel.close()  # if it is canceled here, it can be closed again
        if self._current is channel:
            self._current = None

    def _open(self) -> _Channel:
        """Return the channel of the running loop; a new one in a new loop."""
        global _opened_in
        process = os.getpid()
        if _opened_in not in (None, process):
            raise ConfigurationError(
                "gRPC was in use before this process was forked, and does not survive a fork: "
                "start worker processes with multiprocessing.get_context('spawn')",
                provider=PROVIDER,
            )
        channel = self._current
        if channel is None or channel.closed or channel.loop is not asyncio.get_running_loop():
            _opened_in = process
            channel = self._current = _Channel(self.endpoint, self.timeouts, self._max)
        return channel


def _options(
    endpoint: Endpoint, timeouts: Timeouts, max_bytes: int
) -> tuple[tuple[str, int | str], ...]:
    options: tuple[tuple[str, int | str], ...] = (
        ("grpc.primary_user_agent", "phi2sdk"),
        # Retrying is the retry policy's: neither gRPC nor a config found in DNS may add its own.
        ("grpc.enable_retries", 0),
        ("grpc.service_config_disable_resolution", 1),
        # How long calls fail at once after a failed connection attempt: short, for that reason.
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.max_reconnect_backoff_ms", 1000),
        # Despite its name the time that connecting may take.
        ("grpc.min_reconnect_backoff_ms", max(100, round(timeouts.connect * 1000))),
        ("grpc.use_local_subchannel_pool", 1),
        ("grpc.max_receive_message_length", max_bytes),
        ("grpc.max_send_message_length", max_bytes),
    )
    # A proxy from the environment must not see a key that is meant for this machine.
    return (*options, ("grpc.enable_http_proxy", 0)) if endpoint.loopback else options
