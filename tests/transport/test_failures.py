"""Failures get their names from status, code and headers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.errors import (
    BadResponse,
    InvalidRequest,
    ModelLoading,
    Overloaded,
    Phi2Error,
    ProviderFault,
    RateLimited,
)
from phi2sdk.text import untrusted
from phi2sdk.transport.failures import (
    BY_CODE,
    BY_STATUS,
    Failure,
    error_for,
    request_id,
    retry_after,
)


def failure(status: int, text: str = "", **headers: str) -> Failure:
    return Failure("azure", status, {k.replace("_", "-"): v for k, v in headers.items()}, text)


@pytest.mark.parametrize(("status", "kind"), BY_STATUS.items())
def test_a_status_alone_has_its_error_class(status: int, kind: type[Phi2Error]) -> None:
    error = error_for(failure(status))
    assert type(error) is kind
    assert (error.status, error.provider) == (status, "azure")
    assert error.message == "the provider gave no reason"


def test_an_unknown_status_has_the_error_class_of_its_hundred() -> None:
    assert type(error_for(failure(499))) is InvalidRequest
    assert type(error_for(failure(599))) is ProviderFault
    assert type(error_for(failure(300))) is BadResponse
    assert type(error_for(failure(308))) is BadResponse


@pytest.mark.parametrize(("code", "kind"), BY_CODE.items())
def test_a_known_code_says_more_than_the_status(code: str, kind: type[Phi2Error]) -> None:
    for body in (f'{{"error":{{"code":"{code}"}}}}', f'{{"error":"x","error_type":"{code}"}}'):
        error = error_for(failure(418, body))
        assert type(error) is kind
        assert error.code == code


def test_words_of_a_message_never_decide() -> None:
    said = '{"error":{"message":"rate limit: content_filter, model is loading, 429"}}'
    assert type(error_for(failure(400, said))) is InvalidRequest


def test_a_message_about_loading_needs_its_field() -> None:
    loading = error_for(failure(503, '{"error":"loading","estimated_time":12.5}'))
    assert type(loading) is ModelLoading
    assert loading.retry_after == 12.5
    waiting = error_for(failure(503, '{"error":"loading","estimated_time":1}', Retry_After="4"))
    assert waiting.retry_after == 4
    assert type(error_for(failure(503, '{"error":"loading"}'))) is Overloaded


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "3"}, 3.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "-3"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "Mon, 01 Jan 2024 00:00:00 GMT"}, 0.0),
        ({"Retry-After": "Mon, 01 Jan 2024 00:00:00 -0000"}, 0.0),
        ({"Retry-After": "Mon, 99 Foo 99999999999 00:00:00 GMT"}, None),
        ({"retry-after-ms": "1500", "Retry-After": "9"}, 1.5),
        ({"x-ms-retry-after-ms": "10"}, 0.01),
        ({"retry-after-ms": "nonsense", "Retry-After": "9"}, 9.0),
    ],
)
def test_a_wait_is_read_where_it_makes_sense(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after(headers) == seconds


def test_a_date_in_the_future_is_a_wait() -> None:
    when = datetime.now(UTC) + timedelta(seconds=90)
    waited = retry_after({"Retry-After": format_datetime(when, usegmt=True)})
    assert waited is not None
    assert 80 < waited <= 90


def test_a_request_has_a_name_under_any_usual_header() -> None:
    for name in ("x-request-id", "apim-request-id", "x-ms-client-request-id"):
        assert request_id({name: "abc"}) == "abc"
    assert request_id({}) is None
    error = error_for(failure(500, x_request_id="r\x1b[31m7"))
    assert error.request_id == "r [31m7"


def test_text_of_a_provider_becomes_one_short_line() -> None:
    assert untrusted("a\x1b[2J\r\n\u202eb\tc") == "a [2J b c"
    assert len(untrusted("x" * 10_000)) == 303
    error = error_for(failure(400, '{"error":{"code":"' + "c" * 9999 + '","message":"m"}}'))
    assert error.code is not None
    assert len(error.code) < 100


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ({"error": {"code": 429}}, RateLimited),
        ({"error": {"code": "503"}}, Overloaded),
        ({"error": {"code": 200}}, ProviderFault),
        ({"error": {"code": "²³¹"}}, ProviderFault),
        ({"error": {"code": "4" * 5000}}, ProviderFault),
        ({"error": "words"}, ProviderFault),
        ({"error": True}, ProviderFault),
    ],
)
def test_the_failure_in_an_event_has_its_error_class(document: Any, kind: type[Phi2Error]) -> None:
    found = Failure.in_event(document)
    assert found is not None
    assert type(error_for(found)) is kind


@pytest.mark.parametrize("document", [None, [], {}, {"error": None}, {"error": ""}, "error"])
def test_an_event_without_an_error_reports_none(document: Any) -> None:
    assert Failure.in_event(document) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["error", "code", "type", "message", "estimated_time", "detail"]), inner
        )
    ),
    max_leaves=6,
)


@pytest.mark.fuzz
@given(
    st.integers(300, 599),
    st.text() | _JSON.map(repr),
    st.dictionaries(st.sampled_from(["Retry-After", "retry-after-ms", "x-request-id"]), st.text()),
)
def test_any_failure_gives_a_typed_error(status: int, text: str, headers: dict[str, str]) -> None:
    error = error_for(Failure(None, status, headers, text))
    assert str(error).isprintable()
    assert error.retry_after is None or error.retry_after >= 0


@pytest.mark.fuzz
@given(_JSON)
def test_any_event_gives_a_typed_error_or_none(document: Any) -> None:
    found = Failure.in_event(document)
    assert found is None or str(error_for(found))


def test_a_document_too_deep_to_write_down_is_still_a_failure() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    found = Failure.in_event({"error": deep})
    assert found is not None
    assert type(error_for(found)) is ProviderFault
