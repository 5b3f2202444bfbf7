"""Bodies that are large, nested, no JSON or unauthorized harm no emulator."""

from __future__ import annotations

import io
import json
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import grpc
import pytest
from clarifai_grpc.channel import clarifai_channel
from clarifai_grpc.grpc.api import service_pb2, service_pb2_grpc
from clarifai_grpc.grpc.api.status import status_code_pb2

from phi2sdk.emulator import Emulator, ScriptedEngine
from phi2sdk.emulator.clarifai import ClarifaiServer
from phi2sdk.emulator.exchange import KEPT_BYTES, KEPT_PER_CALL, Call, CallLog

Session = aiohttp.ClientSession

GENERATING = [
    ("azure", "/score", {"input_data": {"input_string": ["One"]}}),
    ("azure", "/chat/completions?api-version=x", {"messages": [{"role": "user", "content": "a"}]}),
    ("azure", "/openai/v1/completions", {"model": "phi-2", "prompt": "One"}),
    ("azure", "/generate", {"inputs": "One"}),
    ("hf", "/", {"inputs": "One"}),
    ("hf", "/generate", {"inputs": "One"}),
    ("hf", "/generate_stream", {"inputs": "One"}),
    ("hf", "/tokenize", {"inputs": "One"}),
    ("hf", "/v1/completions", {"prompt": "One"}),
    ("hf", "/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]}),
    ("openai", "/v1/completions", {"model": "microsoft/phi-2", "prompt": "One"}),
    (
        "openai",
        "/v1/chat/completions",
        {"model": "microsoft/phi-2", "messages": [{"role": "user", "content": "a"}]},
    ),
]

NO_JSON = {
    "nested too deeply": b"[" * 200_000,
    "nested too deeply and closed": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a number of 5,000 digits": b'{"max_tokens":' + b"9" * 5000 + b"}",
    "NaN": b'{"temperature":NaN}',
    "cut off": b'{"prompt":"',
    "not UTF-8": b'{"prompt":"\xff"}',
    "half a surrogate pair": b'{"prompt":"\\ud800","inputs":"\\ud800","input_data":["\\ud800"]}',
    "empty": b"",
}

STRANGE: list[Any] = [
    *(None, True, -1, 0, 10**400, -(10**400), 1e308, "1", "", [], {}, [[]], {"a": {}}),
    json.loads("[" * 900 + "]" * 900),
]


@pytest.mark.parametrize("form", NO_JSON)
@pytest.mark.parametrize(("provider", "path"), [(p, path) for p, path, _ in GENERATING])
async def test_a_body_that_is_not_json_is_a_bad_request_on_every_route(
    emulator: Emulator, http: Session, provider: str, path: str, form: str
) -> None:
    server = getattr(emulator, provider)
    async with http.post(server.url + path, data=NO_JSON[form]) as reply:
        assert reply.status == 400, await reply.text()
        assert reply.content_type == "application/json"
        assert (await reply.json())["error"]


@pytest.mark.parametrize(("provider", "path", "good"), GENERATING)
async def test_no_value_of_any_parameter_is_the_servers_own_fault(
    emulator: Emulator, http: Session, provider: str, path: str, good: dict[str, Any]
) -> None:
    server = getattr(emulator, provider)
    for body in _mutated(good):
        async with http.post(server.url + path, data=json.dumps(body)) as reply:
            said = await reply.text()
            assert reply.status < 500, (str(body)[:200], said[:200])


def _mutated(good: dict[str, Any]) -> list[Any]:
    known = (
        *("prompt", "messages", "inputs", "parameters", "input_data", "params", "model", "stop"),
        *("stream", "stream_options", "max_tokens", "temperature", "top_p", "top_k", "min_p"),
        *("seed", "n", "logprobs", "top_logprobs", "echo", "repetition_penalty", "logit_bias"),
        *("max_completion_tokens", "response_format", "do_sample", "details", "max_new_tokens"),
        *("return_full_text", "decoder_input_details", "best_of", "typical_p", "watermark"),
    )
    bodies: list[Any] = list(STRANGE)
    for value in STRANGE:
        for name in known:
            bodies.append({**good, name: value})
            bodies.append({**good, "parameters": {name: value}})
        if isinstance(good.get("input_data"), dict):
            inner = good["input_data"]
            bodies += [{"input_data": {**inner, "parameters": {name: value}}} for name in known]
    return bodies


@pytest.mark.parametrize("header", ["Bearer wrong", ""])
@pytest.mark.parametrize("provider", ["azure", "hf", "openai"])
async def test_an_unauthorized_body_is_neither_read_nor_kept(
    emulator: Emulator, http: Session, provider: str, header: str
) -> None:
    server = getattr(emulator, provider)
    paths = {"azure": "/score", "hf": "/generate", "openai": "/v1/completions"}

    async def twenty_megabytes() -> AsyncIterator[bytes]:
        for _ in range(320):
            yield b"[" * (64 << 10)

    tracemalloc.start()
    try:
        for _ in range(10):
            async with http.post(
                server.url + paths[provider],
                data=twenty_megabytes(),
                headers={"Authorization": header},
            ) as reply:
                assert reply.status == 401
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 2 << 20
    assert peak < 10 << 20  # at no moment was one of them in memory as a whole
    assert [(call.authorized, call.raw, call.body) for call in server.calls] == 10 * [
        (False, b"", None)
    ]


async def test_of_a_large_authorized_body_only_the_beginning_is_kept(
    emulator: Emulator, http: Session
) -> None:
    prompt = "x" * (3 * KEPT_PER_CALL)
    body = json.dumps({"model": "microsoft/phi-2", "prompt": prompt}).encode()
    async with http.post(f"{emulator.openai.url}/v1/completions", data=io.BytesIO(body)) as reply:
        assert reply.status in (200, 400)  # read and understood; it may not fit the context
    (call,) = emulator.openai.calls
    assert call.raw == body[:KEPT_PER_CALL]
    assert call.body is None


def test_the_bodies_of_the_oldest_calls_make_place_for_new_ones() -> None:
    log = CallLog()
    calls = [Call("/", "POST", {}) for _ in range(KEPT_BYTES // KEPT_PER_CALL + 10)]
    for call in calls:
        call.keep(b"x" * KEPT_PER_CALL, {})
        log.append(call)
    assert list(log) == calls
    assert sum(len(call.raw) for call in log) == KEPT_BYTES
    assert [bool(call.raw) for call in log] == [False] * 10 + [True] * (len(calls) - 10)
    assert [call.body for call in log][:11] == [None] * 10 + [{}]


@pytest.fixture
async def clarifai() -> AsyncIterator[tuple[ClarifaiServer, Any]]:
    """The emulated Clarifai, and the vendor's stub for it."""
    clarifai_channel.wrap_response_deserializer = clarifai_channel._response_deserializer_for_grpc
    async with (
        Emulator(ScriptedEngine("yes"), providers=("clarifai",)) as emulator,
        grpc.aio.insecure_channel(emulator.clarifai.url) as channel,
    ):
        yield emulator.clarifai, service_pb2_grpc.V2Stub(channel)


def message(text: str, **params: Any) -> Any:
    request = service_pb2.PostModelOutputsRequest(model_id="phi-2")
    request.user_app_id.user_id, request.user_app_id.app_id = "microsoft", "text-generation"
    request.inputs.add().data.text.raw = text
    request.model.model_version.output_info.params.update(params)
    return request


async def test_clarifai_keeps_no_unauthorized_message(
    clarifai: tuple[ClarifaiServer, Any],
) -> None:
    server, stub = clarifai
    for key in ("wrong", "test-key"):
        await stub.PostModelOutputs(
            message("x" * (1 << 20)), metadata=(("authorization", f"Key {key}"),), timeout=30
        )
    wrong, right = server.calls
    assert (wrong.authorized, wrong.raw, wrong.body) == (False, b"", None)
    assert (right.authorized, len(right.raw), right.body) == (True, KEPT_PER_CALL, None)


@pytest.mark.parametrize("name", ["max_tokens", "temperature", "top_p", "top_k"])
async def test_clarifai_refuses_parameters_that_are_no_numbers(
    clarifai: tuple[ClarifaiServer, Any], name: str
) -> None:
    _, stub = clarifai
    infinite = float("inf")
    values: list[Any] = [float("nan"), infinite, -infinite, "1e999", "nan", "x", True, {}, []]
    for value in values:
        reply = await stub.PostModelOutputs(
            message("One", **{name: value}),
            metadata=(("authorization", "Key test-key"),),
            timeout=30,
        )
        assert reply.status.code == status_code_pb2.MODEL_INVALID_ARGUMENT, value
