"""Clarifai's published SDK, and its wire client, drive the emulator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from clarifai.client.model import Model
from clarifai_grpc.channel import clarifai_channel
from clarifai_grpc.grpc.api import resources_pb2, service_pb2, service_pb2_grpc

from phi2sdk.emulator import Emulator, Fault, Schedule

from .conftest import ANSWER

KEY = (("authorization", "Key test-key"),)


def request_for(text: str, **params: Any) -> Any:
    request = service_pb2.PostModelOutputsRequest(
        user_app_id=resources_pb2.UserAppIDSet(user_id="microsoft", app_id="text-generation"),
        model_id="phi-2",
        inputs=[resources_pb2.Input(data=resources_pb2.Data(text=resources_pb2.Text(raw=text)))],
    )
    request.model.model_version.output_info.params.update(params)
    return request


@pytest.fixture
async def stub(threaded: Emulator) -> AsyncIterator[Any]:
    clarifai_channel.wrap_response_deserializer = clarifai_channel._response_deserializer_for_grpc
    async with grpc.aio.insecure_channel(threaded.clarifai.url) as channel:
        yield service_pb2_grpc.V2Stub(channel)


def test_the_published_example_runs(threaded: Emulator) -> None:
    model = Model(
        url="https://clarifai.com/microsoft/text-generation/models/phi-2",
        pat="test-key",
        base_url=f"http://{threaded.clarifai.url}",
    )
    reply = model.predict_by_bytes(
        b"Hello",
        input_type="text",
        inference_params={"temperature": 0.7, "max_tokens": 200, "top_k": 50, "top_p": 0.95},
    )
    output = reply.outputs[0]
    assert output.data.text.raw == ANSWER
    assert (output.prompt_tokens, output.completion_tokens) == (1, 9)
    first, second = threaded.clarifai.calls
    assert (first.path, second.path) == ("GetModel", "PostModelOutputs")
    assert second.authorized
    assert second.headers["authorization"] == "***"
    assert second.decoding is not None
    assert (second.decoding.top_k, second.decoding.max_tokens) == (50, 200)


def test_the_sdk_raises_for_a_wrong_key(threaded: Emulator) -> None:
    with pytest.raises(Exception, match="CONN_KEY_NOT_FOUND"):
        Model(
            url=threaded.clarifai.address.url,
            pat="wrong",
            base_url=f"http://{threaded.clarifai.url}",
        )


async def test_a_stream_brings_pieces_then_the_usage(threaded: Emulator, stub: Any) -> None:
    threaded.clarifai.schedule = Schedule(tokens_per_write=4)
    replies = [r async for r in stub.GenerateModelOutputs(request_for("Hello"), metadata=KEY)]
    assert len(replies) == 3
    assert "".join(reply.outputs[0].data.text.raw for reply in replies) == ANSWER
    assert [reply.outputs[0].completion_tokens for reply in replies] == [0, 0, 9]
    call = threaded.clarifai.calls[0]
    assert sum(characters for _, characters in call.sent) == len(ANSWER)


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (request_for("Hello", beam_width=3), 21202),
        (request_for("Hello", temperature=-1), 21202),
        (request_for("Hello", max_tokens=5000), 21202),
        (request_for(""), 21202),
        (service_pb2.PostModelOutputsRequest(model_id="phi-3"), 21200),
    ],
)
async def test_bad_requests_have_their_status(stub: Any, request_: Any, code: int) -> None:
    reply = await stub.PostModelOutputs(request_, metadata=KEY)
    assert reply.status.code == code
    assert len(reply.outputs) == 0


async def test_a_missing_key_has_its_status(stub: Any) -> None:
    assert (await stub.PostModelOutputs(request_for("Hello"))).status.code == 11009


async def test_faults_of_both_kinds_are_played(threaded: Emulator, stub: Any) -> None:
    faults = threaded.clarifai.faults
    faults.push(Fault("clarifai", status=21355))
    assert (await stub.PostModelOutputs(request_for("Hello"), metadata=KEY)).status.code == 21355
    faults.push(Fault("clarifai", status=21313, where="output"))
    reply = await stub.PostModelOutputs(request_for("Hello"), metadata=KEY)
    assert (reply.status.code, reply.outputs[0].status.code) == (10020, 21313)
    faults.push(Fault("grpc", code="RESOURCE_EXHAUSTED"))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.PostModelOutputs(request_for("Hello"), metadata=KEY)
    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    faults.push(Fault("cut", after=2))
    cut = [r async for r in stub.GenerateModelOutputs(request_for("Hello"), metadata=KEY)]
    assert [reply.outputs[0].data.text.raw for reply in cut] == ["Light", " guides"]
    faults.push(Fault("garbage", form="null"))
    empty = await stub.PostModelOutputs(request_for("Hello"), metadata=KEY)
    assert (empty.status.code, len(empty.outputs)) == (10000, 0)


async def test_a_deadline_ends_a_hanging_call_on_both_sides(threaded: Emulator, stub: Any) -> None:
    threaded.clarifai.faults.push(Fault("hang"))
    with pytest.raises(grpc.aio.AioRpcError) as late:
        await stub.PostModelOutputs(request_for("Hello"), metadata=KEY, timeout=0.1)
    assert late.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    call = threaded.clarifai.calls[0]
    assert call.ended.wait(5)
    assert call.cancelled


async def test_a_cancelled_stream_stops_the_engine(threaded: Emulator, stub: Any) -> None:
    threaded.clarifai.faults.push(Fault("endless"))
    stream = stub.GenerateModelOutputs(request_for("Hello"), metadata=KEY)
    for _ in range(20):
        await stream.read()
    stream.cancel()
    call = threaded.clarifai.calls[0]
    assert call.ended.wait(5)
    assert call.cancelled
