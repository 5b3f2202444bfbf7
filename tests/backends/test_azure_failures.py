"""Azure's failures, in every form that they come in."""

from __future__ import annotations

from typing import Any

import pytest

from phi2sdk import Secret
from phi2sdk.emulator import Emulator, Fault
from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    ContentFiltered,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    Phi2Error,
    ProviderFault,
    RateLimited,
    Timeout,
)

from .conftest import STYLES, Make, ask

SCORE_ERROR = "ms-azureml-model-error-statuscode"


@pytest.mark.parametrize(
    ("status", "headers", "body", "error"),
    [
        (400, {}, {"error": {"code": "content_filter", "message": "no"}}, ContentFiltered),
        (400, {}, {"error": {"code": "context_length_exceeded"}}, InvalidRequest),
        (401, {}, "key_auth_access_denied", AuthenticationFailed),
        (404, {}, {"error": {"code": "DeploymentNotFound"}}, ModelNotFound),
        (408, {}, {"error": "request timed out"}, Timeout),
        (424, {}, {"error": "no"}, ProviderFault),
        (424, {SCORE_ERROR: "400"}, {"error": "no"}, InvalidRequest),
        (424, {SCORE_ERROR: "429"}, {"error": "no"}, RateLimited),
        (424, {SCORE_ERROR: "500"}, "Traceback", ProviderFault),
        (424, {SCORE_ERROR: "503"}, "", Overloaded),
        (424, {SCORE_ERROR: "200"}, "", ProviderFault),
        (424, {SCORE_ERROR: "nonsense"}, "", ProviderFault),
        (424, {SCORE_ERROR: "²"}, "", ProviderFault),
        (429, {}, {"error": {"code": "TooManyRequests"}}, RateLimited),
        (502, {}, "<html>", ProviderFault),
        (503, {}, "", Overloaded),
        (504, {}, "", Timeout),
    ],
)
async def test_each_failure_has_its_error_class(
    providers: Emulator,
    make: Make,
    status: int,
    headers: dict[str, str],
    body: Any,
    error: type[Phi2Error],
) -> None:
    providers.azure.faults.push(Fault("status", status=status, headers=headers, body=body))
    with pytest.raises(error) as raised:
        await ask(make())
    assert raised.value.status == status
    assert raised.value.provider == "azure"


async def test_the_models_own_reason_is_the_code(providers: Emulator, make: Make) -> None:
    headers = {SCORE_ERROR: "500", "ms-azureml-model-error-reason": "model_error"}
    providers.azure.faults.push(Fault("status", status=424, headers=headers, body="x"))
    with pytest.raises(ProviderFault) as raised:
        await ask(make())
    assert raised.value.code == "model_error"


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500"}, 1.5),
        ({"x-ms-retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "3"}, 3.0),
    ],
)
async def test_a_wait_is_read_from_azures_headers(
    providers: Emulator, make: Make, headers: dict[str, str], seconds: float
) -> None:
    providers.azure.faults.push(Fault("status", status=429, headers=headers))
    with pytest.raises(RateLimited) as raised:
        await ask(make())
    assert raised.value.retry_after == seconds


@pytest.mark.parametrize("settings", STYLES, ids=lambda s: "-".join(s.values()))
async def test_a_wrong_key_is_refused_by_every_style(make: Make, settings: dict[str, Any]) -> None:
    with pytest.raises(AuthenticationFailed) as raised:
        await ask(make(key=Secret("wrong-key"), **settings))
    assert raised.value.status == 401


async def test_a_stream_that_only_reports_an_error_fails(providers: Emulator, make: Make) -> None:
    providers.azure.faults.push(Fault("error_event", after=0))
    with pytest.raises(ProviderFault):
        await ask(make(style="chat"))


async def test_a_chat_stream_without_a_finish_reason_was_cut_off(
    providers: Emulator, make: Make
) -> None:
    providers.azure.faults.push(Fault("cut", after=2))
    with pytest.raises(BadResponse, match="the answer is incomplete"):
        await ask(make(style="chat"))
