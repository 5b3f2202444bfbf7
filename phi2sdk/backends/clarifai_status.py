"""Tables of the errors for Clarifai's statuses and gRPC's codes; messages are never searched.

Clarifai answers most failures with gRPC's ``OK`` and a status of its own inside the message; only
the transport, and what stands in front of the API, speaks in gRPC codes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

# gRPC's handling of a fork crashes some children of a process with an open stream, and this package
# does not use gRPC in a child. gRPC reads the variable when it is imported.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import grpc
from clarifai_grpc.grpc.api.status import status_code_pb2

from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    ConnectionFailed,
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
from phi2sdk.transport.redaction import Redactor

PROVIDER = "clarifai"

BY_STATUS: Mapping[int, type[Phi2Error]] = {
    10020: ProviderFault,  # failure
    10030: Overloaded,  # try again
    10040: InvalidRequest,  # not implemented
    10050: ModelNotFound,  # moved; redirects are not followed, since the key would go along
    11000: PermissionDenied,  # the account: card expired, feature not in the plan
    11001: AuthenticationFailed,  # token invalid
    11002: AuthenticationFailed,  # credentials invalid
    11003: RateLimited,  # hourly limit
    11004: PermissionDenied,  # monthly limit: no retry outlasts it
    11005: RateLimited,  # throttled
    11006: PermissionDenied,  # over the plan's limits
    11007: PermissionDenied,  # the key's scopes do not reach
    11008: AuthenticationFailed,  # key invalid
    11009: AuthenticationFailed,  # key not found
    11101: ModelNotFound,  # no such path
    11104: PermissionDenied,  # a consent is missing
    11200: AuthenticationFailed,  # this way to authenticate is disabled
    21104: ModelLoading,  # uploading
    21107: ModelLoading,  # building
    21200: ModelNotFound,
    21201: PermissionDenied,
    21202: InvalidRequest,  # invalid argument
    21203: InvalidRequest,
    21313: ProviderFault,  # prediction failed
    21350: ProviderFault,  # deployment failed
    21351: ModelLoading,  # deploying
    21352: ModelLoading,  # queued for deployment
    21353: ModelNotFound,  # taken down, or gone after a time without use
    21354: Overloaded,  # busy
    21355: ModelLoading,  # the pod runs, the weights are not there yet
    25600: ModelNotFound,  # no such runner
    25601: PermissionDenied,
    25602: InvalidRequest,
    25603: InvalidRequest,
    25604: Overloaded,  # the runner asks for a retry
    25700: ModelNotFound,  # no such node pool
    25701: InvalidRequest,
    25702: InvalidRequest,
    25800: ModelNotFound,  # no such compute cluster
    25801: InvalidRequest,
    25802: InvalidRequest,
    25900: ModelNotFound,  # no such deployment
    25901: InvalidRequest,
    25902: InvalidRequest,
    25903: ModelNotFound,  # deployment disabled
    39997: Overloaded,  # maintenance
    40001: InvalidRequest,  # predict: invalid request
    40030: Overloaded,  # queue full
    40031: Overloaded,  # server unavailable
    40032: Timeout,
    40033: InvalidRequest,  # message too large
    46006: PermissionDenied,  # the user is flagged
    90400: InvalidRequest,
    90500: ProviderFault,
    98009: Timeout,
    98014: Overloaded,  # resource exhausted
}
"""Error class for a status; :data:`BY_GROUP` has the others."""

BY_GROUP: tuple[tuple[range, type[Phi2Error]], ...] = (
    (range(11100, 11200), InvalidRequest),  # malformed requests
    (range(30000, 40000), InvalidRequest),  # inputs
    (range(69000, 70000), PermissionDenied),  # billing
    (range(98000, 100000), ProviderFault),  # internal
)
"""Error class for other statuses, by group; the default is ``ProviderFault``."""

BY_RPC_CODE: Mapping[grpc.StatusCode, type[Phi2Error]] = {
    grpc.StatusCode.CANCELLED: ConnectionFailed,  # by the other side: ours never gets here
    grpc.StatusCode.UNKNOWN: ProviderFault,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.DEADLINE_EXCEEDED: Timeout,
    grpc.StatusCode.NOT_FOUND: ModelNotFound,
    grpc.StatusCode.ALREADY_EXISTS: InvalidRequest,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
    grpc.StatusCode.UNAUTHENTICATED: AuthenticationFailed,
    grpc.StatusCode.RESOURCE_EXHAUSTED: RateLimited,
    grpc.StatusCode.FAILED_PRECONDITION: InvalidRequest,
    grpc.StatusCode.ABORTED: ProviderFault,
    grpc.StatusCode.UNIMPLEMENTED: ModelNotFound,  # no such route: another API answers there
    grpc.StatusCode.OUT_OF_RANGE: InvalidRequest,
    grpc.StatusCode.INTERNAL: ProviderFault,
    grpc.StatusCode.UNAVAILABLE: ConnectionFailed,  # also refused, reset, or unknown host
    grpc.StatusCode.DATA_LOSS: ProviderFault,
}

_SUMMARY = (status_code_pb2.MIXED_STATUS, status_code_pb2.FAILURE)
"""Statuses of a response that leave the reason to the status of its output."""


def kind_of(code: int) -> type[Phi2Error]:
    """Return the error class for a Clarifai status that is not success."""
    if code in BY_STATUS:
        return BY_STATUS[code]
    return next((kind for group, kind in BY_GROUP if code in group), ProviderFault)


def error_for_status(reply: Any, redact: Redactor) -> Phi2Error | None:
    """Return the failure that a response reports; ``None`` if it reports success.

    Args:
        reply: A message with a ``status`` and perhaps ``outputs`` that have one, too.
        redact: Removes keys from the provider's message.
    """
    status = reply.status
    outputs = getattr(reply, "outputs", ())
    inner = [o.status for o in outputs if _failed(o.status)]
    if status.code in _SUMMARY and inner:
        status = inner[0]
    elif status.code == status_code_pb2.MIXED_STATUS and outputs:
        return None
    elif status.code == status_code_pb2.SUCCESS:
        if not inner:
            return None
        status = inner[0]
    elif status.code == status_code_pb2.ZERO:
        return BadResponse("the response has no status", provider=PROVIDER)
    words = ": ".join(part for part in (status.description, status.details) if part)
    kind = kind_of(status.code)
    return kind(
        untrusted(redact(words)) or "no explanation",
        provider=PROVIDER,
        code=str(status.code),
        request_id=untrusted(redact(status.req_id or reply.status.req_id)) or None,
        retry_after=float(status.time_remaining) or None if kind.retryable else None,
    )


def error_for_rpc(error: grpc.aio.AioRpcError, redact: Redactor) -> Phi2Error:
    """Return the error for a failure that gRPC reports, by its code."""
    code = error.code()
    details = untrusted(redact(error.details() or ""))
    return BY_RPC_CODE.get(code, ProviderFault)(
        details or "no explanation", provider=PROVIDER, code=code.name
    )


def _failed(status: Any) -> bool:
    return status.code not in (status_code_pb2.ZERO, status_code_pb2.SUCCESS)
