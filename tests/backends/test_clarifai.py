"""Clarifai's requests and answers over real gRPC on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from clarifai_grpc.grpc.api.status import status_pb2
from google.protobuf.json_format import MessageToDict
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.backends.clarifai import DIALECTS, VOCABULARY_SIZE, ClarifaiBackend, OutputReader
from phi2sdk.completion import Chunk, Done, Event, Opened, Sent
from phi2sdk.emulator import Emulator, Schedule, ScriptedEngine
from phi2sdk.errors import BadResponse, Phi2Error, UnsupportedParameter
from phi2sdk.transport.http import Timeouts
from phi2sdk.transport.redaction import Redactor
from tests.backends.clarifai_server import (
    ANSWER,
    PAT,
    PROMPT,
    URL,
    RawServer,
    answer,
    backend_of,
    both_ways,
    emulator,
    ended,
    failure,
    message,
    raw_server,
    request,
)


@pytest.fixture
async def provider() -> AsyncIterator[Emulator]:
    async with emulator() as running:
        yield running


@pytest.fixture
async def backend(provider: Emulator) -> AsyncIterator[ClarifaiBackend]:
    async with backend_of(provider.clarifai.url) as ready:
        yield ready


@pytest.fixture
async def raw() -> AsyncIterator[RawServer]:
    async with raw_server() as served:
        yield served


@both_ways
async def test_the_published_example_puts_its_parameters_into_the_struct(
    backend: ClarifaiBackend, provider: Emulator, stream: bool
) -> None:
    await answer(
        backend, request(stream=stream, temperature=0.7, max_tokens=200, top_k=50, top_p=0.95)
    )
    call = await ended(provider)
    params = MessageToDict(call.body.model.model_version.output_info.params)
    assert params == {"temperature": 0.7, "max_tokens": 200.0, "top_k": 50.0, "top_p": 0.95}
    assert call.authorized
    assert call.path == ("GenerateModelOutputs" if stream else "PostModelOutputs")
    assert call.prompt == PROMPT.text


@both_ways
async def test_nothing_is_left_to_the_models_own_defaults(
    backend: ClarifaiBackend, provider: Emulator, stream: bool
) -> None:
    await answer(backend, request(stream=stream, temperature=1.0))
    decoding = (await ended(provider)).decoding
    assert (decoding.max_tokens, decoding.temperature, decoding.top_p) == (100, 1.0, 1.0)
    assert decoding.top_k == VOCABULARY_SIZE


async def test_the_vendors_sdk_sends_the_same_request(
    backend: ClarifaiBackend, provider: Emulator
) -> None:
    from clarifai.client.model import Model

    sampling: dict[str, Any] = {"temperature": 0.7, "max_tokens": 200, "top_k": 50, "top_p": 0.95}

    def reference() -> str:
        model = Model(url=URL, pat=PAT, base_url=f"http://{provider.clarifai.url}")
        reply = model.predict_by_bytes(
            PROMPT.text.encode(), input_type="text", inference_params=sampling
        )
        return str(reply.outputs[0].data.text.raw)

    theirs_text = await asyncio.to_thread(reference)
    theirs = await ended(provider)
    ours_text = (await answer(backend, request(stream=False, **sampling))).raw_text
    ours = await ended(provider)
    assert ours_text == theirs_text == ANSWER
    for part in ("user_app_id", "model_id", "version_id"):
        assert getattr(ours.body, part) == getattr(theirs.body, part), part
    assert ours.body.inputs[0].data == theirs.body.inputs[0].data
    info = [call.body.model.model_version.output_info.params for call in (ours, theirs)]
    assert info[0] == info[1]
    assert ours.headers["authorization"] == theirs.headers["authorization"]


async def test_version_and_deployment_are_named_in_the_request() -> None:
    async with backend_of(
        "127.0.0.1:1", model=f"{URL}/versions/7c1", deployment="somebody/phi-on-l4"
    ) as backend:
        body = backend.call(request()).body
    assert body["version_id"] == "7c1"
    assert body["runner_selector"] == {"deployment": {"user_id": "somebody", "id": "phi-on-l4"}}


async def test_call_shows_what_is_sent(backend: ClarifaiBackend, provider: Emulator) -> None:
    asked = request(top_k=7, temperature=0.5)
    await answer(backend, asked)
    sent = MessageToDict((await ended(provider)).body, preserving_proto_field_name=True)
    shown = backend.call(asked)
    assert shown.body == sent
    assert (shown.path, shown.streamed) == ("GenerateModelOutputs", True)


@pytest.mark.parametrize("name", ["seed", "min_p", "repetition_penalty"])
async def test_a_parameter_that_the_model_does_not_take_is_refused(
    backend: ClarifaiBackend, name: str
) -> None:
    values: dict[str, Any] = {"seed": 3, "min_p": 0.1, "repetition_penalty": 1.2}
    value = values[name]
    asked = request(**{"temperature": 0.7, name: value})
    with pytest.raises(UnsupportedParameter, match=f"^{name}={value}"):
        backend.explain(asked)
    assert isinstance(await failure(backend, asked), UnsupportedParameter)


async def test_a_refused_parameter_makes_no_call(
    backend: ClarifaiBackend, provider: Emulator
) -> None:
    await failure(backend, request(temperature=0.7, seed=3))
    assert not provider.clarifai.calls


async def test_stops_are_cut_here_and_the_receipt_says_so(backend: ClarifaiBackend) -> None:
    receipt = backend.explain(request(stop=("END",)))
    assert receipt.fate("stop").fate == "emulated"
    assert receipt.fate("stop").wire == {}
    assert not receipt.wrapped
    assert receipt.route == DIALECTS[0].name


@both_ways
async def test_text_usage_and_model_arrive(backend: ClarifaiBackend, stream: bool) -> None:
    done = await answer(backend, request(stream=stream))
    assert done.raw_text == done.text == ANSWER
    engine = ScriptedEngine(ANSWER)
    assert done.usage.input is not None
    assert done.usage.input.value == engine.count(PROMPT.text)
    assert done.usage.output_billed is not None
    assert not done.usage.output_billed.estimated
    assert done.usage.cached is None
    assert done.model == "phi-2"
    assert done.finish_reason == "stop"
    assert (done.timing.ttft is not None) == stream


@both_ways
async def test_an_answer_of_max_tokens_ended_for_its_length(
    backend: ClarifaiBackend, stream: bool
) -> None:
    done = await answer(backend, request(stream=stream, max_tokens=3))
    assert done.finish_reason == "length"
    assert done.usage.output_billed is not None
    assert done.usage.output_billed.value == 3


async def test_events_come_in_order_and_each_chunk_carries_its_own_instant() -> None:
    schedule = Schedule(first=0.02, per_token=0.01)
    async with (
        emulator(schedule=schedule) as provider,
        backend_of(provider.clarifai.url) as backend,
    ):
        events: list[Event] = [event async for event in backend.stream(request())]
        sent = (await ended(provider)).sent
    chunks = [event for event in events if isinstance(event, Chunk)]
    assert isinstance(events[0], Sent)
    assert isinstance(events[1], Opened)
    assert isinstance(events[-1], Done)
    assert events[2:-1] == chunks
    assert len(chunks) == len(sent)
    for chunk, (t_ns, characters) in zip(chunks, sent, strict=True):
        assert len(chunk.raw) == characters
        assert t_ns < chunk.t_ns
    assert events[0].t_ns < events[1].t_ns == chunks[0].t_ns
    assert chunks[-1].t_ns <= events[-1].t_ns


@both_ways
async def test_counts_of_zero_are_unknown_and_so_is_the_reason_for_the_end(
    raw: RawServer, stream: bool
) -> None:
    raw.replies = [message("Yes.").SerializeToString()]
    async with backend_of(raw.url) as backend:
        done = await answer(backend, request(stream=stream))
    assert done.text == "Yes."
    assert done.finish_reason is None
    assert (done.usage.input, done.usage.output_billed, done.usage.cached) == (None, None, None)


async def test_the_last_counts_of_a_stream_hold(raw: RawServer) -> None:
    raw.replies = [
        message("a", prompt_tokens=5, completion_tokens=1).SerializeToString(),
        message("b", prompt_tokens=5, completion_tokens=2, cached_tokens=4).SerializeToString(),
        message("").SerializeToString(),
    ]
    async with backend_of(raw.url) as backend:
        done = await answer(backend, request())
    usage = [done.usage.input, done.usage.output_billed, done.usage.cached]
    assert [count.value for count in usage if count] == [5, 2, 4]


@both_ways
async def test_an_empty_text_is_an_answer(raw: RawServer, stream: bool) -> None:
    raw.replies = [message("", completion_tokens=1).SerializeToString()]
    async with backend_of(raw.url) as backend:
        done = await answer(backend, request(stream=stream))
    assert done.text == ""
    assert done.finish_reason == "stop"


@pytest.mark.parametrize(
    "reply",
    [
        message().SerializeToString(),
        message(None).SerializeToString(),
        message("text", code=0).SerializeToString(),
        b"",
        b"\xff\xfe not a message",
    ],
    ids=["no output", "no text", "no status", "nothing", "garbage"],
)
@both_ways
async def test_a_reply_that_is_not_the_protocol_is_a_bad_response(
    raw: RawServer, reply: bytes, stream: bool
) -> None:
    raw.replies = [reply]
    async with backend_of(raw.url) as backend:
        error = await failure(backend, request(stream=stream))
    assert type(error) is BadResponse
    assert error.provider == "clarifai"


async def test_a_stream_without_a_message_is_a_bad_response(raw: RawServer) -> None:
    async with backend_of(raw.url) as backend:
        assert type(await failure(backend, request())) is BadResponse


async def test_a_mixed_status_is_judged_by_its_output(raw: RawServer) -> None:
    fine = message("Yes.", code=10010, status=status_pb2.Status(code=10000))
    busy = status_pb2.Status(code=21354)
    broken = [message("", code=code, status=busy) for code in (10000, 10010, 10020)]
    async with backend_of(raw.url) as backend:
        raw.replies = [fine.SerializeToString()]
        assert (await answer(backend, request())).text == "Yes."
        for reply in broken:
            raw.replies = [reply.SerializeToString()]
            assert (await failure(backend, request())).code == "21354"


async def test_every_call_has_a_deadline_and_carries_the_key_once(raw: RawServer) -> None:
    raw.replies = [message("Yes.").SerializeToString()]
    async with backend_of(raw.url, timeouts=Timeouts(attempt=30)) as backend:
        await answer(backend, request())
        await answer(backend, request(stream=False))
        await answer(backend, request(timeout=7))
        await backend.check()
    whole = [30, 30, 7, 10]
    # gRPC rounds up what it writes into the header.
    assert all(-5 < left - limit < 0.5 for left, limit in zip(raw.deadlines, whole, strict=True))
    assert {name for sent in raw.metadata for name, value in sent.items() if PAT in value} == {
        "authorization"
    }
    assert raw.metadata[0]["authorization"] == f"Key {PAT}"
    assert raw.methods == [
        f"/clarifai.api.V2/{name}"
        for name in (
            "GenerateModelOutputs",
            "PostModelOutputs",
            "GenerateModelOutputs",
            "GetModel",
        )
    ]


@given(data=st.binary(max_size=200))
def test_any_bytes_are_read_as_text_or_refused(data: bytes) -> None:
    reader = OutputReader(request(), Redactor())
    try:
        read = reader.read(data)
        reader.done(0)
    except Phi2Error as error:
        read = str(error)
    assert isinstance(read, str)
