"""Failures that a provider reports: HTTP statuses, Clarifai statuses, gRPC codes."""

from __future__ import annotations

from typing import Any

from phi2sdk.emulator import Fault
from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
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
from tests.reliability.matrix import (
    AZURE,
    HTTP,
    KEY,
    OPENAI,
    PIECES,
    TGI,
    Row,
)

_ERROR = {"error": {"message": "no", "type": "invalid_request_error"}}
_SLOW = {"error": {"message": "slow down"}}


def _status(status: int, words: str, error: type[Phi2Error], calls: int, **fields: Any) -> Row:
    fault = Fault(
        "status", status=status, headers=fields.pop("headers", {}), body=fields.pop("body", None)
    )
    return Row(f"{status} {words}", fault, error, calls, **{"targets": HTTP, **fields})


def _clarifai(code: int, words: str, error: type[Phi2Error], calls: int) -> Row:
    fault = Fault("clarifai", status=code)
    return Row(f"Clarifai {code}, {words}", fault, error, calls, ("clarifai",))


def _grpc(code: str, error: type[Phi2Error], calls: int) -> Row:
    return Row(f"gRPC {code}", Fault("grpc", code=code), error, calls, ("clarifai",))


STATUSES = (
    _status(400, "", InvalidRequest, 1, body=_ERROR),
    _status(
        400,
        "context_length_exceeded",
        ContextLengthExceeded,
        1,
        targets=OPENAI,
        body={"error": {"message": "too long", "code": "context_length_exceeded"}},
    ),
    _status(
        400,
        "of llama.cpp's context size",
        ContextLengthExceeded,
        1,
        targets=("openai completions", "openai chat"),
        body={
            "error": {
                "code": 400,
                "message": "too long",
                "type": "exceed_context_size_error",
                "n_prompt_tokens": 4476,
                "n_ctx": 2048,
            }
        },
    ),
    _status(
        400,
        "content_filter",
        ContentFiltered,
        1,
        body={"error": {"message": "filtered", "code": "content_filter"}},
    ),
    _status(401, "", AuthenticationFailed, 1),
    _status(401, "as plain text", AuthenticationFailed, 1, body="key_auth_access_denied"),
    _status(401, "that quotes the key", AuthenticationFailed, 1, body=f"unknown key {KEY}"),
    _status(402, "", PermissionDenied, 1),
    _status(403, "", PermissionDenied, 1),
    _status(404, "", ModelNotFound, 1),
    _status(405, "", ModelNotFound, 1),
    _status(408, "", Timeout, 3),
    _status(409, "", ProviderFault, 3),
    _status(413, "", InvalidRequest, 1),
    _status(418, "(unknown)", InvalidRequest, 1),
    _status(422, "", InvalidRequest, 1),
    _status(
        422,
        "of TGI's validation",
        InvalidRequest,
        1,
        targets=TGI,
        body={"error": "temperature", "error_type": "validation"},
    ),
    _status(424, "without Azure's headers", ProviderFault, 3, body={"error": "model"}),
    *(
        _status(
            424,
            f"whose model said {inner}",
            error,
            calls,
            targets=AZURE,
            body="the model's own words",
            headers={
                "ms-azureml-model-error-statuscode": inner,
                "ms-azureml-model-error-reason": "model_error",
            },
        )
        for inner, error, calls in (
            ("400", InvalidRequest, 1),
            ("401", AuthenticationFailed, 1),
            ("429", RateLimited, 3),
            ("503", Overloaded, 3),
            ("nonsense", ProviderFault, 3),
        )
    ),
    _status(429, "without Retry-After", RateLimited, 3, body=_SLOW),
    _status(
        429,
        "with TGI's overloaded",
        Overloaded,
        3,
        targets=TGI,
        body={"error": "busy", "error_type": "overloaded"},
    ),
    _status(
        429,
        "whose quota is spent",
        PermissionDenied,
        1,
        targets=OPENAI,
        body={"error": {"message": "pay", "code": "insufficient_quota"}},
    ),
    *(
        _status(
            429,
            f"with Retry-After {value!r}",
            RateLimited,
            calls,
            body=_SLOW,
            headers={"Retry-After": value},
        )
        for value, calls in (
            ("0", 3),
            ("0.01", 3),
            ("Wed, 21 Oct 2015 07:28:00 GMT", 3),
            ("Fri, 31 Dec 2100 23:59:59 GMT", 1),
            ("86400", 1),
            ("-1", 3),
            ("soon", 3),
            ("inf", 3),
        )
    ),
    _status(
        429, "with retry-after-ms 5", RateLimited, 3, body=_SLOW, headers={"retry-after-ms": "5"}
    ),
    _status(
        429,
        "with x-ms-retry-after-ms 3600000",
        RateLimited,
        1,
        body=_SLOW,
        headers={"x-ms-retry-after-ms": "3600000"},
    ),
    _status(500, "", ProviderFault, 3),
    _status(
        502,
        "with an HTML page",
        ProviderFault,
        3,
        body=b"<html><h1>Bad Gateway</h1>",
        headers={"Content-Type": "text/html"},
    ),
    _status(503, "", Overloaded, 3, but={"hf tgi": (ModelLoading, 3, "its proxy, while it wakes")}),
    _status(
        503,
        "loading, with estimated_time",
        ModelLoading,
        3,
        body={"error": "Model is loading", "estimated_time": 0.01},
    ),
    _status(
        503,
        "loading, absurdly long",
        ModelLoading,
        1,
        body={"error": "Model is loading", "estimated_time": 1e6},
        but={"hf tgi": (ModelLoading, 3, "its proxy names no time")},
    ),
    _status(504, "", Timeout, 3),
    _status(529, "", Overloaded, 3),
    _status(599, "(unknown)", ProviderFault, 3),
    _status(301, "to elsewhere", BadResponse, 1, headers={"Location": "http://127.0.0.1:9/x"}),
    _status(307, "to itself", BadResponse, 1, headers={"Location": "/score"}),
    _status(308, "without an address", BadResponse, 1),
    _status(204, "and no body", BadResponse, 1, body=b""),
)

CLARIFAI = (
    _clarifai(10020, "failure", ProviderFault, 3),
    _clarifai(10030, "try again", Overloaded, 3),
    _clarifai(11001, "token invalid", AuthenticationFailed, 1),
    _clarifai(11002, "credentials invalid", AuthenticationFailed, 1),
    _clarifai(11003, "hourly limit", RateLimited, 3),
    _clarifai(11004, "monthly limit", PermissionDenied, 1),
    _clarifai(11005, "throttled", RateLimited, 3),
    _clarifai(11006, "limits exceeded", PermissionDenied, 1),
    _clarifai(11007, "scopes too small", PermissionDenied, 1),
    _clarifai(11008, "key invalid", AuthenticationFailed, 1),
    _clarifai(11009, "key not found", AuthenticationFailed, 1),
    _clarifai(11100, "bad request", InvalidRequest, 1),
    _clarifai(11102, "invalid request", InvalidRequest, 1),
    _clarifai(11200, "authentication disabled", AuthenticationFailed, 1),
    _clarifai(21200, "no such model", ModelNotFound, 1),
    _clarifai(21201, "model denied", PermissionDenied, 1),
    _clarifai(21202, "invalid argument", InvalidRequest, 1),
    _clarifai(21313, "prediction failed", ProviderFault, 3),
    _clarifai(21350, "deployment failed", ProviderFault, 3),
    _clarifai(21351, "deploying", ModelLoading, 3),
    _clarifai(21352, "queued", ModelLoading, 3),
    _clarifai(21353, "not deployed", ModelNotFound, 1),
    _clarifai(21354, "busy", Overloaded, 3),
    _clarifai(21355, "loading", ModelLoading, 3),
    _clarifai(25604, "runner asks for a retry", Overloaded, 3),
    _clarifai(40001, "bad prediction request", InvalidRequest, 1),
    _clarifai(98004, "internal", ProviderFault, 3),
    _clarifai(98009, "internal timeout", Timeout, 3),
    _clarifai(98014, "resources exhausted", Overloaded, 3),
    _clarifai(424242, "(unknown)", ProviderFault, 3),
    Row(
        "Clarifai 21355 in the output alone",
        Fault("clarifai", status=21355, where="output"),
        ModelLoading,
        3,
        ("clarifai",),
    ),
    Row(
        "Clarifai 21313 in the middle of a stream",
        Fault("clarifai", status=21313, after=2),
        ProviderFault,
        1,
        ("clarifai",),
        PIECES,
        text=True,
    ),
    _grpc("CANCELLED", ConnectionFailed, 3),
    _grpc("UNKNOWN", ProviderFault, 3),
    _grpc("INVALID_ARGUMENT", InvalidRequest, 1),
    _grpc("DEADLINE_EXCEEDED", Timeout, 3),
    _grpc("NOT_FOUND", ModelNotFound, 1),
    _grpc("PERMISSION_DENIED", PermissionDenied, 1),
    _grpc("UNAUTHENTICATED", AuthenticationFailed, 1),
    _grpc("RESOURCE_EXHAUSTED", RateLimited, 3),
    _grpc("UNIMPLEMENTED", ModelNotFound, 1),
    _grpc("INTERNAL", ProviderFault, 3),
    _grpc("UNAVAILABLE", ConnectionFailed, 3),
    _grpc("DATA_LOSS", ProviderFault, 3),
    Row("a message without status", Fault("garbage", form="empty"), BadResponse, 1, ("clarifai",)),
    Row("success without output", Fault("garbage", form="null"), BadResponse, 1, ("clarifai",)),
    Row("an output without text", Fault("garbage"), BadResponse, 1, ("clarifai",)),
    Row(
        "a message without output in a stream",
        Fault("garbage", form="null", after=2),
        BadResponse,
        1,
        ("clarifai",),
        PIECES,
        text=True,
    ),
    # gRPC refuses it on our side with the code that a spent quota has, and nothing but words
    # tells the two apart; what counts is that it is not read.
    Row("a message past 64 MiB", Fault("huge", size=65 << 20), RateLimited, 3, ("clarifai",)),
    Row(
        "one past 64 MiB when unpacked", Fault("gzip", size=65 << 20), RateLimited, 3, ("clarifai",)
    ),
)
