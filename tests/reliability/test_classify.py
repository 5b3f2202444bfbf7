"""The matrix's statuses without a wire: what a status, a code and a header are called."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest

from phi2sdk.emulator import Fault
from phi2sdk.errors import (
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
)
from phi2sdk.text import untrusted
from phi2sdk.transport.failures import BY_CODE, Failure, error_for, retry_after
from tests.reliability.matrix import HTTP, Row
from tests.reliability.rows_status import STATUSES

PLAIN = [
    row
    for row in STATUSES
    if isinstance(row.cause, Fault)
    and row.cause.status >= 300
    and not any(name.startswith("ms-azureml") for name in row.cause.headers)
]


def failure(fault: Fault) -> Failure:
    body = fault.body
    if isinstance(body, bytes):
        body = body.decode()
    elif not isinstance(body, str):
        body = json.dumps(body)
    return Failure("x", fault.status, fault.headers, body)


@pytest.mark.parametrize("row", PLAIN, ids=lambda row: row.name)
def test_a_status_and_its_code_have_one_name(row: Row) -> None:
    assert isinstance(row.cause, Fault)
    error = error_for(failure(row.cause))
    assert type(error) is row.error
    assert (error.status, error.provider) == (row.cause.status, "x")
    assert row.targets
    assert set(row.targets) <= set(HTTP)


CODES = {
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


@pytest.mark.parametrize("code", CODES)
def test_a_code_says_more_than_its_status(code: str) -> None:
    assert set(CODES) == set(BY_CODE)
    for document in ({"error": {"code": code}}, {"error": "x", "error_type": code}, {"type": code}):
        error = error_for(Failure("x", 500, {}, json.dumps(document)))
        assert (type(error), error.code) == (CODES[code], code)


def test_a_known_type_is_heard_beside_a_number_that_repeats_the_status() -> None:
    """The reply of llama.cpp's server to a prompt that is too long."""
    said = {
        "code": 400,
        "message": "request (4476 tokens) exceeds the available context size (2048 tokens)",
        "type": "exceed_context_size_error",
        "n_prompt_tokens": 4476,
        "n_ctx": 2048,
    }
    error = error_for(Failure("openai", 400, {}, json.dumps({"error": said})))
    assert type(error) is ContextLengthExceeded
    assert error.code == "exceed_context_size_error"
    in_stream = Failure.in_event({"error": said})
    assert in_stream is not None
    assert in_stream.status == 400
    assert type(error_for(in_stream)) is ContextLengthExceeded


@pytest.mark.parametrize(
    ("param", "kind", "code"),
    [
        ("input_tokens", ContextLengthExceeded, "input_tokens"),
        ("input_text", ContextLengthExceeded, "input_text"),
        ("top_p", InvalidRequest, "BadRequestError"),
    ],
)
def test_vllms_param_tells_a_prompt_that_is_too_long_from_another_wrong_request(
    param: str, kind: type[Phi2Error], code: str
) -> None:
    said = {"message": "m", "type": "BadRequestError", "param": param, "code": 400}
    error = error_for(Failure("openai", 400, {}, json.dumps({"error": said})))
    assert type(error) is kind
    assert error.code in (code, "400")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "-1"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "9" * 400}, None),
        ({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"Retry-After": "Wed, 99 Oct 2015 07:28:00 GMT"}, None),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5),
        ({"retry-after-ms": "x", "Retry-After": "9"}, 9.0),
    ],
)
def test_a_wait_is_read_from_any_of_its_headers(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers) == seconds


def test_a_wait_until_a_date_is_counted_from_now() -> None:
    later = datetime.now(UTC) + timedelta(seconds=100)
    east = later.astimezone(timezone(timedelta(hours=5)))
    for when in (
        format_datetime(later, usegmt=True),
        format_datetime(later.replace(tzinfo=None)),
        format_datetime(east),
    ):
        wait = retry_after({"Retry-After": when})
        assert wait is not None
        assert 95 < wait <= 100


def test_an_estimated_time_is_a_wait_unless_a_header_says_better() -> None:
    body = json.dumps({"error": "loading", "estimated_time": 12.5})
    error = error_for(Failure("x", 503, {}, body))
    assert (type(error), error.retry_after) == (ModelLoading, 12.5)
    assert error_for(Failure("x", 503, {"Retry-After": "3"}, body)).retry_after == 3.0
    assert error_for(Failure("x", 500, {}, body)).__class__ is ProviderFault


@pytest.mark.parametrize(
    ("document", "status", "code"),
    [
        ({"error": {"code": 429}}, 429, "429"),
        ({"error": {"code": "503", "message": "m"}}, 503, "503"),
        ({"error": {"message": "m", "http_status_code": 422}}, 422, None),
        ({"error": {"code": 399}}, None, "399"),
        ({"error": {"code": 600}}, None, "600"),
        ({"error": {"code": 4290}}, None, "4290"),
        ({"error": {"http_status_code": 200}}, None, None),
        ({"error": "words"}, None, None),
        ({"error": "words", "error_type": "generation"}, None, "generation"),
        ({"error": {"message": "m", "code": ""}}, None, None),
    ],
)
def test_an_error_event_has_no_status_but_its_own(
    document: object, status: int | None, code: str | None
) -> None:
    found = Failure.in_event(document)
    assert found is not None
    assert (found.status, found.code) == (status, code)
    assert error_for(found).status == status


@pytest.mark.parametrize("document", [None, [], "error", {}, {"error": None}, {"error": ""}, 3])
def test_an_event_without_an_error_reports_none(document: object) -> None:
    assert Failure.in_event(document) is None


def test_words_and_fields_are_those_of_the_reply() -> None:
    for document, words in (
        ({"error": {"message": "one"}}, "one"),
        ({"error": "two"}, "two"),
        ({"detail": "three"}, "three"),
        ({}, "{}"),
    ):
        assert error_for(Failure("x", 400, {}, json.dumps(document))).message == words
    assert error_for(Failure("x", 400, {}, "")).message == "the provider gave no reason"
    headers = {"x-request-id": "r1", "Retry-After": "2"}
    error = error_for(Failure("p", 429, headers, json.dumps({"error": {"code": "c"}})))
    assert type(error) is RateLimited
    assert (error.provider, error.status, error.code) == ("p", 429, "c")
    assert (error.request_id, error.retry_after) == ("r1", 2.0)


def test_an_event_nested_too_deeply_is_a_failure_without_words() -> None:
    deep: object = []
    for _ in range(5000):
        deep = [deep]
    found = Failure.in_event({"error": {"code": "429", "deep": deep}})
    assert found is not None
    assert found.status is None
    assert type(error_for(found)) is ProviderFault
    assert error_for(Failure("x", 400, {}, "[" * 50_000)).message.startswith("[[[")


def test_untrusted_words_end_at_their_limit() -> None:
    assert untrusted("a" * 300) == "a" * 300
    assert untrusted("a" * 301) == "a" * 300 + "..."
    assert untrusted("a\x00b\x1b[2J\n c") == "a b [2J c"
    assert len(untrusted("x" * 500, 80)) == 83
    assert Failure("x", 400, {}, json.dumps({"code": "c" * 81})).code == "c" * 80 + "..."
