"""Refusals of each provider: what is answered, what the vendor's SDK raises, what we raise."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import openai
from azure.core import exceptions as azure
from huggingface_hub import errors as hub

from phi2sdk import errors


@dataclass(frozen=True)
class Case:
    """One refusal: what the provider answers, what they raise, what we raise."""

    name: str
    status: int
    body: Any
    theirs: type[Exception]
    ours: type[errors.Phi2Error]
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: float | None = None

    @property
    def payload(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()

    @property
    def kind(self) -> str:
        return "text/plain" if isinstance(self.body, str) else "application/json"


def _openai_error(code: str | None, kind: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": "no", "type": kind, "param": None, "code": code}}


OPENAI = (
    Case("bad request", 400, _openai_error(None), openai.BadRequestError, errors.InvalidRequest),
    Case(
        "too long",
        400,
        _openai_error("context_length_exceeded"),
        openai.BadRequestError,
        errors.ContextLengthExceeded,
    ),
    Case(
        "filtered",
        400,
        _openai_error("content_filter"),
        openai.BadRequestError,
        errors.ContentFiltered,
    ),
    Case(
        "wrong key",
        401,
        _openai_error("invalid_api_key"),
        openai.AuthenticationError,
        errors.AuthenticationFailed,
    ),
    Case(
        "forbidden", 403, _openai_error(None), openai.PermissionDeniedError, errors.PermissionDenied
    ),
    Case(
        "no such model",
        404,
        _openai_error("model_not_found"),
        openai.NotFoundError,
        errors.ModelNotFound,
    ),
    Case("conflict", 409, _openai_error(None), openai.ConflictError, errors.ProviderFault),
    Case(
        "unprocessable",
        422,
        {"detail": [{"loc": ["body", "prompt"], "msg": "field required", "type": "missing"}]},
        openai.UnprocessableEntityError,
        errors.InvalidRequest,
    ),
    Case(
        "rate limit",
        429,
        _openai_error("rate_limit_exceeded", "requests"),
        openai.RateLimitError,
        errors.RateLimited,
        {"retry-after-ms": "1500"},
        1.5,
    ),
    Case(
        "no money left",
        429,
        _openai_error("insufficient_quota", "insufficient_quota"),
        openai.RateLimitError,
        errors.PermissionDenied,
    ),
    Case(
        "fault",
        500,
        _openai_error(None, "server_error"),
        openai.InternalServerError,
        errors.ProviderFault,
    ),
    Case(
        "a gateway's page",
        502,
        "<html><title>502 Bad Gateway</title></html>",
        openai.InternalServerError,
        errors.ProviderFault,
    ),
    Case(
        "overloaded",
        503,
        _openai_error(None, "server_error"),
        openai.InternalServerError,
        errors.Overloaded,
        {"Retry-After": "7"},
        7.0,
    ),
)

HUB = (
    Case(
        "validation",
        422,
        {"error": "Input validation error: no", "error_type": "validation"},
        hub.ValidationError,
        errors.InvalidRequest,
    ),
    Case(
        "generation",
        424,
        {"error": "Request failed during generation: no", "error_type": "generation"},
        hub.GenerationError,
        errors.ProviderFault,
    ),
    Case(
        "overloaded",
        429,
        {"error": "Model is overloaded", "error_type": "overloaded"},
        hub.OverloadedError,
        errors.Overloaded,
    ),
    Case(
        "incomplete",
        500,
        {"error": "Incomplete generation", "error_type": "incomplete_generation"},
        hub.IncompleteGenerationError,
        errors.ProviderFault,
    ),
    Case("wrong key", 401, {"error": "no"}, hub.HfHubHTTPError, errors.AuthenticationFailed),
    Case("forbidden", 403, {"error": "no"}, hub.HfHubHTTPError, errors.PermissionDenied),
    Case("not found", 404, {"error": "no"}, hub.HfHubHTTPError, errors.ModelNotFound),
    Case(
        "asleep",
        503,
        {"error": "503 Service Unavailable"},
        hub.HfHubHTTPError,
        errors.ModelLoading,
    ),
)

_FILTERED = {
    "error": {
        "message": "The response was filtered",
        "type": None,
        "param": "prompt",
        "code": "content_filter",
        "status": 400,
        "innererror": {
            "code": "ResponsibleAIPolicyViolation",
            "content_filter_result": {"violence": {"filtered": True, "severity": "high"}},
        },
    }
}

AZURE_CHAT = (
    Case(
        "wrong key",
        401,
        {"error": {"code": "401", "message": "no"}},
        azure.ClientAuthenticationError,
        errors.AuthenticationFailed,
    ),
    Case(
        "no such deployment",
        404,
        {"error": {"code": "DeploymentNotFound", "message": "no"}},
        azure.ResourceNotFoundError,
        errors.ModelNotFound,
    ),
    Case("filtered", 400, _FILTERED, azure.HttpResponseError, errors.ContentFiltered),
    Case(
        "too many",
        429,
        {"error": {"code": "429", "message": "no"}},
        azure.HttpResponseError,
        errors.RateLimited,
        {"x-ms-retry-after-ms": "250"},
        0.25,
    ),
    Case(
        "fault",
        500,
        {"error": {"code": "InternalServerError", "message": "no"}},
        azure.HttpResponseError,
        errors.ProviderFault,
    ),
)

AZURE_SCORE = (
    Case(
        "wrong key",
        401,
        "key_auth_access_denied",
        azure.ClientAuthenticationError,
        errors.AuthenticationFailed,
    ),
    Case(
        "no traffic",
        404,
        "No deployment takes traffic",
        azure.ResourceNotFoundError,
        errors.ModelNotFound,
    ),
    Case("too slow", 408, "upstream request timeout", azure.HttpResponseError, errors.Timeout),
    Case(
        "the model refuses",
        424,
        {"error": "no"},
        azure.HttpResponseError,
        errors.InvalidRequest,
        {
            "ms-azureml-model-error-statuscode": "400",
            "ms-azureml-model-error-reason": "model_error",
        },
    ),
    Case(
        "the model breaks",
        424,
        "<html>Internal Server Error</html>",
        azure.HttpResponseError,
        errors.ProviderFault,
        {
            "ms-azureml-model-error-statuscode": "500",
            "ms-azureml-model-error-reason": "internal",
        },
    ),
    Case("too many pending", 429, "too many requests", azure.HttpResponseError, errors.RateLimited),
)
