"""OpenAI's protocol: both routes, every server's words, and whatever a server may answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk import Secret
from phi2sdk.backends.azure import AzureChat, ScoreRoute
from phi2sdk.backends.hf import TGI
from phi2sdk.backends.http import Route
from phi2sdk.backends.openai import CHAT, COMPLETIONS, Chat, Completions, OpenAIBackend
from phi2sdk.backends.servers import SERVERS
from phi2sdk.completion import Chunk, Count, Done
from phi2sdk.emulator import Emulator, Fault
from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    ConfigurationError,
    ConnectionFailed,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    Phi2Error,
    ProviderFault,
    RateLimited,
)

from .conftest import ANSWER, KEY, ask, events, request


@pytest.fixture
async def backend(providers: Emulator) -> AsyncIterator[OpenAIBackend]:
    made = OpenAIBackend(base_url=providers.openai.url + "/v1", api_key=KEY)
    yield made
    await made.close()


@pytest.mark.parametrize("route", ["completions", "chat"])
@pytest.mark.parametrize("stream", [True, False])
async def test_both_routes_answer_with_counts(
    providers: Emulator, route: Any, stream: bool
) -> None:
    made = OpenAIBackend(base_url=providers.openai.url + "/v1", api_key=KEY, route=route)
    answer = await ask(made, request(stream=stream))
    assert (answer.text, answer.finish_reason) == (ANSWER, "stop")
    assert answer.usage.input == Count(providers.openai.calls[-1].prompt_tokens)
    assert answer.usage.output_billed == Count(providers.openai.calls[-1].completion_tokens)
    assert answer.model == "microsoft/phi-2"
    assert answer.receipt.wrapped is (route == "chat")
    assert await made.check() == "serves microsoft/phi-2"
    await made.close()


async def test_the_length_limit_is_told(backend: OpenAIBackend) -> None:
    assert (await ask(backend, request(max_tokens=2))).finish_reason == "length"


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("route", ["completions", "chat"])
async def test_the_same_request_as_the_openai_sdk(
    providers: Emulator, route: Any, stream: bool
) -> None:
    base = providers.openai.url + "/v1"
    asked = request(
        stream=stream, temperature=0.7, top_p=0.9, top_k=40, min_p=0.1, repetition_penalty=1.1,
        seed=7,
    )  # fmt: skip
    ours = OpenAIBackend(base_url=base, api_key=KEY, route=route)
    await ask(ours, asked)
    await ours.close()
    settings: dict[str, Any] = {
        "model": "microsoft/phi-2",
        "max_tokens": 64,
        "temperature": 0.7,
        "top_p": 0.9,
        "seed": 7,
        "stop": list(asked.prompt.stop[:4]),
        "extra_body": {"top_k": 40, "min_p": 0.1, "repetition_penalty": 1.1},
    }
    if stream:
        settings |= {"stream": True, "stream_options": {"include_usage": True}}
    async with openai.AsyncOpenAI(base_url=base, api_key="test-key", max_retries=0) as client:
        if route == "chat":
            messages: Any = [{"role": "user", "content": asked.prompt.text}]
            theirs: Any = await client.chat.completions.create(messages=messages, **settings)
        else:
            theirs = await client.completions.create(prompt=asked.prompt.text, **settings)
        if stream:
            assert [chunk async for chunk in theirs]
    first, second = providers.openai.calls
    assert first.body == second.body
    assert first.path == second.path
    assert first.headers["authorization"] == second.headers["authorization"]


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (400, {"error": {"code": "context_length_exceeded"}}, ContextLengthExceeded),
        (400, {"error": {"code": "content_filter"}}, ContentFiltered),
        (400, {"error": {"message": "no", "type": "BadRequestError", "code": 400}}, InvalidRequest),
        (401, {"error": {"code": "invalid_api_key"}}, AuthenticationFailed),
        (403, {"error": {"code": None, "message": "no"}}, PermissionDenied),
        (404, {"error": {"code": "model_not_found"}}, ModelNotFound),
        (405, "no", ModelNotFound),
        (413, "no", InvalidRequest),
        (418, "no", InvalidRequest),
        (429, {"error": {"code": "rate_limit_exceeded"}}, RateLimited),
        (429, {"error": {"code": "insufficient_quota"}}, PermissionDenied),
        (500, {"error": {"type": "server_error"}}, ProviderFault),
        (503, "no", Overloaded),
        (599, "no", ProviderFault),
        (302, "no", BadResponse),
    ],
)
async def test_each_failure_has_its_error_class(
    providers: Emulator,
    backend: OpenAIBackend,
    status: int,
    body: Any,
    error: type[Phi2Error],
) -> None:
    providers.openai.faults.push(Fault("status", status=status, body=body))
    with pytest.raises(Phi2Error) as raised:
        await ask(backend)
    assert type(raised.value) is error
    assert raised.value.status == status


async def test_a_wrong_key_is_refused(providers: Emulator) -> None:
    made = OpenAIBackend(base_url=providers.openai.url + "/v1", api_key=Secret("wrong-key"))
    with pytest.raises(AuthenticationFailed):
        await ask(made)
    await made.close()


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (None, ProviderFault),
        ({"error": {"code": 400, "message": "no"}}, InvalidRequest),
        ({"error": {"code": "429"}}, RateLimited),
        ({"error": {"code": "²"}}, ProviderFault),
        ({"error": "no"}, ProviderFault),
    ],
)
async def test_an_error_event_has_its_error_class(
    providers: Emulator, backend: OpenAIBackend, body: Any, error: type[Phi2Error]
) -> None:
    providers.openai.faults.push(Fault("error_event", after=2, body=body))
    with pytest.raises(Phi2Error) as raised:
        await ask(backend)
    assert type(raised.value) is error


async def test_a_stream_that_is_cut_off_is_a_bad_response(
    providers: Emulator, backend: OpenAIBackend
) -> None:
    providers.openai.faults.push(Fault("cut", after=2))
    with pytest.raises(BadResponse, match="the answer is incomplete"):
        await ask(backend)


@pytest.mark.parametrize("stream", [True, False])
async def test_a_reset_is_a_failed_connection(
    providers: Emulator, backend: OpenAIBackend, stream: bool
) -> None:
    providers.openai.faults.push(Fault("reset", where="in_body", after=1))
    with pytest.raises(ConnectionFailed):
        await ask(backend, request(stream=stream))


async def test_a_stream_byte_by_byte_is_the_same_stream(
    providers: Emulator, backend: OpenAIBackend
) -> None:
    at_once = await ask(backend)
    providers.openai.faults.push(Fault("drip"))
    dripped = await ask(backend)
    assert (dripped.text, dripped.usage, dripped.finish_reason) == (
        at_once.text,
        at_once.usage,
        at_once.finish_reason,
    )


def _chunk(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    return {"choices": [{"text": text, "finish_reason": finish}], **more}


def test_usage_may_come_before_or_after_the_finish_reason() -> None:
    usage = {"usage": {"prompt_tokens": 3, "completion_tokens": 2}}
    for order in (
        [_chunk("a"), _chunk("", "stop"), {"choices": [], **usage}],
        [_chunk("a"), _chunk("", "stop", **usage)],
        [{"choices": [], **usage}, _chunk("a"), _chunk("", "stop")],
    ):
        reader = Completions("m", COMPLETIONS["vllm"]).reader()
        texts = [e.text for d in order for e in reader.read(d, 1) if isinstance(e, Chunk)]
        done = reader.end(9)
        assert texts == ["a"]
        assert done is not None
        assert (done.finish_reason, done.usage.input) == ("stop", Count(3))


def test_a_filter_that_left_nothing_is_an_error_and_one_that_left_text_is_told() -> None:
    route = Completions("m", COMPLETIONS["openai"])
    with pytest.raises(ContentFiltered):
        list(route.read_reply(_chunk("", "content_filter"), 0, "p"))
    *_, done = route.read_reply(_chunk("some", "content_filter"), 0, "p")
    assert isinstance(done, Done)
    assert done.finish_reason == "filter"


def test_null_text_is_a_bad_response() -> None:
    with pytest.raises(BadResponse, match="null"):
        list(Completions("m", COMPLETIONS["openai"]).read_reply({"choices": [{}]}, 0, "p"))


async def test_only_events_with_content_are_chunks(backend: OpenAIBackend) -> None:
    assert all(e.text for e in await events(backend) if isinstance(e, Chunk))


def test_tgi_is_not_sent_a_top_p_of_one() -> None:
    for route in ("completions", "chat"):
        made = OpenAIBackend(base_url="http://localhost/v1", server="tgi", route=route)
        assert "top_p" not in made.call(request(temperature=0.5)).body
        assert made.call(request(temperature=0.5, top_p=0.9)).body["top_p"] == 0.9


def test_the_repetition_penalty_of_llamacpp_covers_all_tokens() -> None:
    made = OpenAIBackend(base_url="http://localhost/v1", server="llamacpp")
    body = made.call(request(temperature=0.5, repetition_penalty=1.2)).body
    assert (body["repeat_penalty"], body["repeat_last_n"]) == (1.2, 65_536)
    assert "repeat_last_n" not in made.call(request(temperature=0.5)).body


def test_no_servers_own_defaults_creep_in() -> None:
    for server in ("vllm", "sglang", "llamacpp"):
        made = OpenAIBackend(base_url="http://localhost/v1", server=server)
        body = made.call(request(temperature=1.0)).body
        assert body["top_p"] == 1.0
        assert body["min_p"] == 0.0
        assert body["top_k"] in (0, -1)


@pytest.mark.parametrize(
    "settings", [{"server": "triton"}, {"route": "edits"}, {"base_url": "localhost:80"}]
)
def test_a_wrong_setting_is_named(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match=next(iter(settings.values()))):
        OpenAIBackend(**{"base_url": "http://localhost/v1", **settings})


# ------------------------------------------------------------ whatever a server answers

_KEYS = """
    choices text finish_reason message content delta usage prompt_tokens completion_tokens
    prompt_tokens_details cached_tokens model id error error_type code type output 0
    generated_text details tokens prefill generated_tokens input_length token special logprob
"""
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["stop", "length", "content_filter", "²", "400", "\ud800"])
)
_DOCUMENTS = st.recursive(
    _LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(_KEYS.split()), inner, max_size=5)
    ),
    max_leaves=12,
)
ROUTES: list[Route] = [
    Completions("m", COMPLETIONS["vllm"]),
    Chat("m", CHAT["vllm"]),
    TGI(),
    ScoreRoute(),
    AzureChat(),
]


@given(document=_DOCUMENTS, route=st.sampled_from(ROUTES))
def test_any_reply_is_an_answer_or_a_typed_error(document: Any, route: Route) -> None:
    try:
        read = list(route.read_reply(document, 5, "prompt"))
    except Phi2Error:
        return
    assert isinstance(read[-1], Done)
    _check(read)


@given(documents=st.lists(_DOCUMENTS, max_size=4), route=st.sampled_from(ROUTES))
def test_any_events_are_an_answer_or_a_typed_error(documents: list[Any], route: Route) -> None:
    if not route.capabilities.streams:
        with pytest.raises(BadResponse):
            route.reader()
        return
    reader = route.reader()
    try:
        read = [event for document in documents for event in reader.read(document, 5)]
    except Phi2Error:
        return
    done = reader.end(6)
    _check(read if done is None else [*read, done])


def _check(read: list[Chunk | Done]) -> None:
    for event in read:
        if isinstance(event, Chunk):
            assert isinstance(event.text, str)
            assert event.text == event.raw
            assert all(type(i) is int for i in event.token_ids)
            assert all(type(p) is float for p in event.logprobs)
        else:
            assert event.model is None or isinstance(event.model, str)
            assert event.request_id is None or isinstance(event.request_id, str)
            for counted in (event.usage.input, event.usage.output_billed, event.usage.cached):
                assert counted is None or type(counted.value) is int


def test_every_server_has_both_routes() -> None:
    assert set(SERVERS) == set(COMPLETIONS) == set(CHAT)
