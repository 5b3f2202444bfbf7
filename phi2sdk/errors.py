"""Every way a request can fail, one right name each.

::

    Phi2Error
    ├── ConfigurationError            a missing key, extra or file; an unknown target
    ├── InvalidRequest                the request itself cannot be served
    │   ├── UnsupportedParameter      the route has no such sampling parameter
    │   └── ContextLengthExceeded     prompt + max_tokens do not fit the context
    ├── AuthenticationFailed          the key is wrong, expired or missing
    ├── PermissionDenied              the key is right, the permission is not there
    ├── ModelNotFound                 no such model, deployment or route
    ├── TransientError                may succeed when tried again (`retryable`)
    │   ├── RateLimited
    │   ├── Overloaded
    │   ├── ModelLoading
    │   ├── Timeout
    │   ├── ConnectionFailed
    │   └── ProviderFault
    ├── BadResponse                   not the protocol: cut stream, null output, malformed JSON
    ├── ContentFiltered
    ├── OutOfMemory
    ├── BudgetExceeded
    └── Cancelled                     what the synchronous client raises when it was cancelled

Failures are classified by status, type and code, never by searching a message.
"""

from __future__ import annotations

from typing import ClassVar

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
    """The root of everything that this package raises on purpose.

    Attributes:
        message: What happened and what to do about it. Never holds a secret.
        provider: The provider that answered (``azure``, ``clarifai``, ``hf``, ...), if one did.
        status: The HTTP status, where the wire is HTTP.
        code: The provider's own code (``content_filter``, ``11009``, ``UNAVAILABLE``, ...).
        request_id: The provider's name for the request, for its support desk.
        retry_after: Seconds that the provider asked us to wait.
        attempts: How many calls went over the wire before this was raised.
        partial: The text that a stream had delivered before it failed.
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
    """Something must be set up first; the message says what, and how."""


class InvalidRequest(Phi2Error):
    """The request is wrong in itself; sending it again cannot help."""


class UnsupportedParameter(InvalidRequest):
    """The route cannot do what a sampling parameter asks for."""


class ContextLengthExceeded(InvalidRequest):
    """Prompt and ``max_tokens`` together are longer than the model's context."""


class AuthenticationFailed(Phi2Error):
    """The provider does not accept the key."""


class PermissionDenied(Phi2Error):
    """The key is known, but may not do this."""


class ModelNotFound(Phi2Error):
    """The provider has no such model, deployment or route."""


class TransientError(Phi2Error):
    """A failure that may pass; the retry policy tries these again."""

    retryable = True


class RateLimited(TransientError):
    """Too many requests or tokens for the account's limit."""


class Overloaded(TransientError):
    """The provider has no capacity left at the moment."""


class ModelLoading(TransientError):
    """The endpoint is waking up or loading the weights."""


class Timeout(TransientError):
    """No answer within the time allowed."""


class ConnectionFailed(TransientError):
    """The connection could not be made, or broke before the answer was complete."""


class ProviderFault(TransientError):
    """The provider reports a fault of its own (HTTP 5xx and the like)."""


class BadResponse(Phi2Error):
    """The answer is not what the protocol promises: cut, null, malformed or endless."""


class ContentFiltered(Phi2Error):
    """The provider's content filter refused the prompt or the answer."""


class OutOfMemory(Phi2Error):
    """Weights, cache and working set do not fit the device; the message has the numbers."""


class BudgetExceeded(Phi2Error):
    """The request would spend more than the budget allows."""


class Cancelled(Phi2Error):
    """The request was cancelled; the synchronous client's face of ``asyncio.CancelledError``."""
