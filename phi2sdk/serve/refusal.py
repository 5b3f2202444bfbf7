"""Failures of a request as a client sees them: status, code, and the error object."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    BudgetExceeded,
    ConfigurationError,
    ConnectionFailed,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    OutOfMemory,
    Overloaded,
    PermissionDenied,
    Phi2Error,
    ProviderFault,
    RateLimited,
    Timeout,
    UnsupportedParameter,
)
from phi2sdk.transport.openai_wire import error_body, error_kind

__all__ = ["Refusal"]

_STATUS: Mapping[type[Phi2Error], tuple[int, str]] = {
    UnsupportedParameter: (400, "unsupported_parameter"),
    ContextLengthExceeded: (400, "context_length_exceeded"),
    InvalidRequest: (400, "invalid_request"),
    ContentFiltered: (400, "content_filter"),
    BudgetExceeded: (402, "budget_exceeded"),
    RateLimited: (429, "rate_limit_exceeded"),
    ConfigurationError: (500, "configuration_error"),
    AuthenticationFailed: (502, "provider_authentication_failed"),
    PermissionDenied: (502, "provider_permission_denied"),
    ModelNotFound: (502, "provider_model_not_found"),
    ConnectionFailed: (502, "provider_unreachable"),
    ProviderFault: (502, "provider_error"),
    BadResponse: (502, "provider_bad_response"),
    Overloaded: (503, "provider_overloaded"),
    ModelLoading: (503, "model_loading"),
    OutOfMemory: (503, "out_of_memory"),
    Timeout: (504, "timeout"),
}
"""Status and code of each error. A client whose request is right sees a key of a provider that is
rejected as a fault of the gateway (502), because its own key is not the one that is wrong."""

_ADVICE = {
    ', choose another route, or pass on_unsupported="warn" to leave it out': (
        " or use another model"
    ),
    "pass allow_control_tokens=True": "set allow_control_tokens to true in the request",
}
"""Advice for Python programs -> advice for clients of the gateway."""


class Refusal(Exception):
    """A request that is not answered.

    Attributes:
        status: The HTTP status.
        message: What happened, and the next step.
        code: A short name of the reason, for programs.
        param: The parameter that is wrong, if it is one.
        retry_after: Seconds after which the client may try again, if they are known.
        error: The error of the target, if it is one.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str,
        param: str | None = None,
        retry_after: float | None = None,
        error: Phi2Error | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.error = error

    @classmethod
    def of(cls, error: Phi2Error) -> Refusal:
        """Return the refusal for an error of a target."""
        kind = next((kind for kind in type(error).__mro__ if kind in _STATUS), None)
        status, code = _STATUS[kind] if kind is not None else (500, "internal_error")
        message = str(error)
        for python, request in _ADVICE.items():
            message = message.replace(python, request)
        param = error.parameter if isinstance(error, InvalidRequest) else None
        return cls(
            status, message, code=code, param=param, retry_after=error.retry_after, error=error
        )

    def document(self) -> dict[str, Any]:
        """Return the error object of the OpenAI protocol."""
        kind = error_kind(self.status)
        return error_body(self.message, kind=kind, code=self.code, param=self.param)

    def headers(self) -> dict[str, str]:
        """Return the headers of the response."""
        if self.retry_after is None:
            return {}
        return {"Retry-After": str(max(0, math.ceil(self.retry_after)))}
