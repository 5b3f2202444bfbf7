"""Errors for HTTP failures, by status, code and headers; messages are never searched."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import aiohttp

from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    ConfigurationError,
    ConnectionFailed,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    Phi2Error,
    ProviderFault,
    RateLimited,
    Timeout,
)
from phi2sdk.text import untrusted

__all__ = [
    "BY_CODE",
    "BY_STATUS",
    "Failure",
    "error_for",
    "error_of_connection",
    "retry_after",
    "untrusted",
]

BY_STATUS: Mapping[int, type[Phi2Error]] = {
    400: InvalidRequest,
    401: AuthenticationFailed,
    402: PermissionDenied,
    403: PermissionDenied,
    404: ModelNotFound,
    405: ModelNotFound,
    408: Timeout,
    409: ProviderFault,
    413: InvalidRequest,
    422: InvalidRequest,
    424: ProviderFault,
    429: RateLimited,
    500: ProviderFault,
    502: ProviderFault,
    503: Overloaded,
    504: Timeout,
    529: Overloaded,
}
"""Error class for a status; another 4xx is an `InvalidRequest`, and 5xx a `ProviderFault`."""

BY_CODE: Mapping[str, type[Phi2Error]] = {
    "content_filter": ContentFiltered,
    "insufficient_quota": PermissionDenied,
    "context_length_exceeded": ContextLengthExceeded,
    "exceed_context_size_error": ContextLengthExceeded,
    "model_not_found": ModelNotFound,
    "overloaded": Overloaded,
    "validation": InvalidRequest,
    "input_tokens": ContextLengthExceeded,
    "input_text": ContextLengthExceeded,
}
"""Codes that are more precise than the status: OpenAI's ``code``, TGI's ``error_type``, llama.cpp's
``type``, and the two values of vLLM's ``param`` that mean a prompt that is too long."""


@dataclass(frozen=True)
class Failure:
    """A response, or an event of a stream, that reports a failure.

    Attributes:
        provider: The provider that sent it.
        status: The HTTP status; for an event the status that the event contains, if any.
        headers: The response's, empty for an event.
        text: The body.
    """

    provider: str | None
    status: int | None
    headers: Mapping[str, str]
    text: str

    @classmethod
    def in_event(cls, document: Any) -> Failure | None:
        """Return the failure that an event reports in ``error``; ``None`` if there is none."""
        if not isinstance(document, dict) or not document.get("error"):
            return None
        try:
            failure = cls(None, None, {}, json.dumps(document))
        except RecursionError:
            return cls(None, None, {}, "")
        for status in (str(failure.detail.get("http_status_code")), *failure.codes):
            if re.fullmatch("[45][0-9][0-9]", status):
                return cls(None, int(status), {}, failure.text)
        return failure

    @cached_property
    def document(self) -> Any:
        """The body as JSON; ``None`` if it is not JSON."""
        try:
            return json.loads(self.text)
        except (ValueError, RecursionError):
            return None

    @cached_property
    def detail(self) -> Mapping[str, Any]:
        """The object that describes the error: the value of ``error``, or the body."""
        document = self.document
        if isinstance(document, dict):
            inner = document.get("error")
            return inner if isinstance(inner, dict) else document
        return {}

    @property
    def codes(self) -> tuple[str, ...]:
        """All codes in the body."""
        values = [self.detail.get(key) for key in ("code", "error_type", "type")]
        said = [value for value in values if isinstance(value, str | int) and value != ""]
        if (param := self.detail.get("param")) in ("input_tokens", "input_text"):
            said.append(param)
        return tuple(untrusted(str(value), 80) for value in said)

    @property
    def code(self) -> str | None:
        """The code of the provider: the first one in :data:`BY_CODE`, or the first of all."""
        codes = self.codes
        return next((code for code in codes if code in BY_CODE), codes[0] if codes else None)

    @property
    def words(self) -> str:
        """The message of the provider."""
        for key in ("message", "error", "detail"):
            value = self.detail.get(key)
            if isinstance(value, str) and (words := untrusted(value)):
                return words
        return untrusted(self.text) or "the provider gave no reason"

    def as_error(self, kind: type[Phi2Error], **fields: Any) -> Phi2Error:
        """Return this failure as an error of a given class."""
        given = {
            "provider": self.provider,
            "status": self.status,
            "code": self.code,
            "request_id": request_id(self.headers),
            "retry_after": retry_after(self.headers),
        }
        return kind(self.words, **(given | fields))


def error_for(failure: Failure) -> Phi2Error:
    """Return the error for a failure, by its status and code."""
    status = failure.status
    if status is not None and 300 <= status < 400:
        return BadResponse(
            "the endpoint redirects, and redirects are not followed because they would forward the "
            "key. Set the endpoint to its final address",
            provider=failure.provider,
            status=status,
        )
    kind = BY_CODE.get(failure.code or "")
    if kind is None and status == 503 and "estimated_time" in failure.detail:
        wait = failure.detail["estimated_time"]
        known = retry_after(failure.headers)
        return failure.as_error(ModelLoading, retry_after=known or _seconds(wait))
    if kind is None:
        kind = _kind_of(status)
    return failure.as_error(kind)


def error_of_connection(error: Exception, where: str) -> Phi2Error:
    """Return the error for an exception of aiohttp; the most specific one first.

    Args:
        error: The exception. Its message is not shown, since it may contain the request.
        where: Host and port, for the message.
    """
    match error:
        case TimeoutError():  # aiohttp's timeouts all derive from it
            return Timeout(
                f"{where} did not answer in time. Check that the server is up, or raise the timeout"
            )
        case aiohttp.ClientConnectorCertificateError():
            return ConfigurationError(
                f"the TLS certificate of {where} is not valid for this host: check the endpoint's "
                "name, or set SSL_CERT_FILE to the certificate of your own authority"
            )
        case aiohttp.ClientSSLError():
            return ConnectionFailed(
                f"the TLS connection to {where} failed. Check whether the server uses https at "
                "this port; for a server without TLS the endpoint begins with http://"
            )
        case aiohttp.ClientProxyConnectionError():
            return ConnectionFailed(
                f"the proxy for {where} cannot be reached. Check HTTPS_PROXY and HTTP_PROXY, or "
                "name the host in NO_PROXY"
            )
        case aiohttp.ClientConnectorDNSError():
            return ConnectionFailed(
                f"host not found: {where} has no address. Check the name and the region of the "
                "endpoint, and the network connection of this machine"
            )
        case aiohttp.ClientConnectorError() if isinstance(error.os_error, ConnectionRefusedError):
            return ConnectionFailed(
                f"{where} refused the connection: no server listens at this port. Check the port, "
                "and start the server"
            )
        case aiohttp.ClientConnectorError():
            return ConnectionFailed(
                f"{where} cannot be reached ({error.os_error.strerror or 'no reason given'}). "
                "Check the endpoint and the network connection"
            )
        case aiohttp.InvalidURL() | UnicodeError():
            return ConfigurationError(
                f"{where} is not the host of a valid URL: write the endpoint as https://host/path"
            )
        case aiohttp.ClientResponseError():
            return BadResponse(
                f"{where} does not answer in HTTP. Check the endpoint's host, port and scheme"
            )
        case _:
            return ConnectionFailed(
                f"{where} closed the connection before its answer was complete "
                f"({type(error).__name__}). Send the request again"
            )


def _kind_of(status: int | None) -> type[Phi2Error]:
    """Return the error class for a status; an event without one is a ``ProviderFault``."""
    if status is None:
        return ProviderFault
    return BY_STATUS.get(status) or (ProviderFault if status >= 500 else InvalidRequest)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a provider asks to wait; ``None`` if it states no valid number.

    Reads ``retry-after-ms``, ``x-ms-retry-after-ms`` and ``Retry-After`` in seconds or as a date.
    """
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        if (milliseconds := _seconds(headers.get(name))) is not None:
            return milliseconds / 1000
    value = headers.get("Retry-After")
    if value is None:
        return None
    if (seconds := _seconds(value)) is not None:
        return seconds
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return max(0.0, (when - datetime.now(UTC)).total_seconds())


def request_id(headers: Mapping[str, str]) -> str | None:
    """Return the provider's identifier of the request, from one of the usual headers."""
    for name in ("x-request-id", "apim-request-id", "x-ms-client-request-id"):
        if value := headers.get(name):
            return untrusted(value)
    return None


def _seconds(value: object) -> float | None:
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None
