"""The exceptions that the package raises, one class for each kind of failure.

::

    Phi2Error
    ├── ConfigurationError            a missing key, extra or file; an unknown target
    ├── InvalidRequest                the request itself is invalid
    │   ├── UnsupportedParameter      the route does not support a sampling parameter
    │   └── ContextLengthExceeded     prompt + max_tokens do not fit the context
    ├── AuthenticationFailed          the key is wrong, expired or missing
    ├── PermissionDenied              the key is valid but lacks the permission
    ├── ModelNotFound                 the model, deployment or route does not exist
    ├── TransientError                a retry may succeed (`retryable`)
    │   ├── RateLimited
    │   ├── Overloaded
    │   ├── ModelLoading
    │   ├── Timeout
    │   ├── ConnectionFailed
    │   └── ProviderFault
    ├── BadResponse                   an incomplete stream, null output, malformed JSON
    ├── ContentFiltered
    ├── OutOfMemory
    ├── BudgetExceeded
    └── Cancelled                     a request of the synchronous client was canceled

The class of an error depends on the status, type and code of the failure, never on the words of a
message.
"""

from __future__ import annotations

from typing import Any, ClassVar

__all__ = [
    "AuthenticationFailed",
    "BadResponse",
    "BudgetExceeded",
    "Cancelled",
    "ConfigurationError",
    "ConnectionFailed",
    "ContentFiltered",
    "ContextLengthExceeded",
    "InvalidRequest",
    "ModelLoading",
    "ModelNotFound",
    "OutOfMemory",
    "Overloaded",
    "PermissionDenied",
    "Phi2Error",
    "ProviderFault",
    "RateLimited",
    "Timeout",
    "TransientError",
    "UnsupportedParameter",
]


class Phi2Error(Exception):
    """The base class of all exceptions of this package.

    Attributes:
        message: What happened, and the next step. It never contains a secret.
        provider: The provider that responded (``azure``, ``clarifai``, ``hf``, ...), if one did.
        status: The HTTP status, if the protocol is HTTP.
        code: The provider's own code (``content_filter``, ``11009``, ``UNAVAILABLE``, ...).
        request_id: The provider's id of the request, which its support can look up.
        retry_after: Seconds to wait before a retry, as requested by the provider.
        attempts: Number of calls that were sent before the error was raised.
        partial: The text that had arrived before a stream failed.
    """

    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        provider: str | None = None,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        attempts: int = 0,
        partial: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.provider = provider
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.attempts = attempts
        self.partial = partial

    def __str__(self) -> str:
        return f"{self.provider}: {self.reason}" if self.provider else self.reason

    @property
    def reason(self) -> str:
        """The message with status, code, request id and attempts, but without the provider."""
        details = [
            f"{name} {value}"
            for name, value in (
                ("status", self.status),
                ("code", self.code),
                ("request id", self.request_id),
                ("attempts", self.attempts if self.attempts > 1 else None),
            )
            if value is not None
        ]
        return f"{self.message} ({', '.join(details)})" if details else self.message

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), dict(self.__dict__))


def _rebuild(cls: type[Phi2Error], state: dict[str, object]) -> Phi2Error:
    error = cls(str(state["message"]))
    error.__dict__.update(state)
    return error


class ConfigurationError(Phi2Error):
    """A setting, key, package or file is missing or wrong; the message states the next step."""


class InvalidRequest(Phi2Error):
    """The request is invalid; a retry cannot succeed.

    Attributes:
        parameter: Name of the sampling parameter that is invalid, if it is one.
    """

    def __init__(self, message: str, *, parameter: str | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.parameter = parameter


class UnsupportedParameter(InvalidRequest):
    """The route does not support a sampling parameter or its value."""


class ContextLengthExceeded(InvalidRequest):
    """The prompt and ``max_tokens`` together exceed the context length of the model."""


class AuthenticationFailed(Phi2Error):
    """The provider does not accept the key."""


class PermissionDenied(Phi2Error):
    """The key is valid, but does not permit this request."""


class ModelNotFound(Phi2Error):
    """The provider does not have the requested model, deployment or route."""


class TransientError(Phi2Error):
    """A temporary failure, which the client retries."""

    retryable = True


class RateLimited(TransientError):
    """The requests or tokens exceed the rate limit of the account."""


class Overloaded(TransientError):
    """The provider has no capacity at the moment."""


class ModelLoading(TransientError):
    """The endpoint is starting or loading the model."""


class Timeout(TransientError):
    """The response did not arrive within the timeout."""


class ConnectionFailed(TransientError):
    """The connection failed, or was interrupted before the response was complete."""


class ProviderFault(TransientError):
    """The provider reports an internal error, such as HTTP 500."""


class BadResponse(Phi2Error):
    """The response violates the protocol: incomplete, null, malformed or too long."""


class ContentFiltered(Phi2Error):
    """A content filter of the provider refused the prompt or the answer."""


class OutOfMemory(Phi2Error):
    """Weights, cache and working memory do not fit the device; the message states the sizes."""


class BudgetExceeded(Phi2Error):
    """The request could exceed the budget."""


class Cancelled(Phi2Error):
    """The request was canceled.

    The synchronous client raises this for ``asyncio.CancelledError``.
    """
