"""Bodies in the shapes of public sources: read by us and by the SDKs, served by the emulators."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import grpc
import openai
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from azure.ai.inference import ChatCompletionsClient
from azure.ai.inference.models import UserMessage
from azure.core.credentials import AzureKeyCredential
from azure.core.pipeline.policies import RetryPolicy
from azure.core.rest import HttpRequest
from clarifai.client.model import Model
from clarifai_grpc.grpc.api import resources_pb2, service_pb2
from clarifai_grpc.grpc.api.status import status_code_pb2, status_pb2
from google.protobuf.json_format import MessageToDict, ParseDict
from huggingface_hub import InferenceClient

from phi2sdk import AsyncPhi2Client, Completion, Sampling, prompts
from phi2sdk.emulator import Emulator

from .shapes import CARD_REQUEST, SHAPES, TEXT, TGI, Shape
from .shapes_clarifai import CLARIFAI
from .vendors import KEY

ADDRESSES: dict[str, Callable[[str], dict[str, Any]]] = {
    "azure": lambda url: {"endpoint": url, "key": KEY},
    "hf": lambda url: {"endpoint": url, "token": KEY},
    "openai": lambda url: {"base_url": f"{url}/v1", "api_key": KEY},
}


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[Shape], Any]]:
    """A server that knows nothing but one reply."""
    running: list[TestServer] = []

    async def start(shape: Shape) -> str:
        async def answer(request: web.Request) -> web.Response:
            await request.read()
            kind = "text/event-stream" if shape.streamed else "application/json"
            return web.Response(body=shape.payload, content_type=kind)

        app = web.Application()
        app.router.add_post("/{path:.*}", answer)
        server = TestServer(app)
        await server.start_server()
        running.append(server)
        return str(server.make_url("/")).rstrip("/")

    yield start
    for server in running:
        await server.close()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
async def test_our_backend_reads_the_shape(shape: Shape, serve: Any) -> None:
    url = await serve(shape)
    address = ADDRESSES[shape.target](url)
    prompt = prompts.raw(shape.prompt)
    answer: Completion
    async with AsyncPhi2Client(shape.target, **address, **shape.settings) as phi:
        if shape.streamed:
            async with phi.stream(prompt) as stream:
                text = "".join([chunk.raw async for chunk in stream])
            answer = stream.completion
            assert text == shape.text
        else:
            answer = await phi.generate(prompt)
    assert answer.raw_text == shape.text
    assert answer.finish_reason == shape.finish
    counts = (answer.usage.input, answer.usage.output_billed)
    assert tuple(c.value if c else None for c in counts) == shape.counts


@pytest.mark.parametrize(
    "shape", [shape for shape in SHAPES if shape.sdk], ids=lambda shape: shape.name
)
async def test_the_vendors_sdk_reads_the_shape_as_we_do(shape: Shape, serve: Any) -> None:
    url = await serve(shape)
    read = {"azure": _azure, "hub": _hub, "openai": _openai}[str(shape.sdk)]
    assert await asyncio.to_thread(read, url, shape) == shape.text


def _azure(url: str, shape: Shape) -> str:
    client: Any = ChatCompletionsClient(
        url, AzureKeyCredential(KEY), retry_policy=RetryPolicy.no_retries()
    )
    with client:
        if not shape.settings:
            reply = client.send_request(HttpRequest("POST", "/score", json=CARD_REQUEST))
            echo = len("Instruct: What guides ships?\nOutput:")
            return str(reply.json()["output"][0][echo:])
        if not shape.streamed:
            return str(client.complete(messages=[UserMessage("x")]).choices[0].message.content)
        chunks = list(client.complete(messages=[UserMessage("x")], stream=True))
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)


def _hub(url: str, shape: Shape) -> str:
    client = InferenceClient(model=url, token=KEY)
    if not shape.streamed:
        return client.text_generation("x", details=True).generated_text
    events = client.text_generation("x", details=True, stream=True)
    return "".join(event.token.text for event in events if not event.token.special)


def _openai(url: str, shape: Shape) -> str:
    chat = shape.settings.get("route") == "chat"
    with openai.OpenAI(base_url=f"{url}/v1", api_key=KEY, max_retries=0) as client:
        if not chat:
            chunks = client.completions.create(model="m", prompt="x", stream=True)
            return "".join(chunk.choices[0].text for chunk in chunks)
        message: Any = {"role": "user", "content": "x"}
        if not shape.streamed:
            reply = client.chat.completions.create(model="m", messages=[message])
            return reply.choices[0].message.content or ""
        parts = client.chat.completions.create(model="m", messages=[message], stream=True)
        return "".join(part.choices[0].delta.content or "" for part in parts)


def test_every_shape_names_its_source() -> None:
    assert all("." in shape.source.split("/")[0] for shape in SHAPES)
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)


# --------------------------------------------------------------------------- requests


async def test_our_score_request_is_the_cards_and_turns_top_k_off(emulator: Emulator) -> None:
    sampling = Sampling(top_p=0.1, temperature=0.1, max_tokens=100)
    async with AsyncPhi2Client("azure") as phi:
        await phi.generate(prompts.raw("Instruct: What guides ships?\nOutput:"), sampling)
    body = emulator.azure.calls[-1].body
    assert body["input_data"]["parameters"].pop("top_k") == -1
    assert body == CARD_REQUEST


# --------------------------------------------------------------------------- the emulators


def _outline(value: Any) -> Any:
    """Keys, nesting and kinds of values; a list's items count as alike."""
    if isinstance(value, dict):
        return {key: _outline(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_outline(value[0])] if value else []
    return "number" if isinstance(value, int | float) else type(value).__name__


async def _emulated(url: str, path: str, body: Any) -> bytes:
    headers = {"Authorization": f"Bearer {KEY}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(url + path, json=body) as reply,
    ):
        assert reply.status == 200
        return await reply.read()


async def test_the_emulated_score_has_the_cards_outline(emulator: Emulator) -> None:
    said = json.loads(await _emulated(emulator.azure.url, "/score", CARD_REQUEST))
    card = next(shape for shape in SHAPES if shape.target == "azure")
    assert _outline(said) == _outline(card.body)


@pytest.mark.parametrize("shape", TGI[:2], ids=lambda shape: shape.name)
async def test_the_emulated_tgi_has_the_outline_of_the_recordings(
    shape: Shape, emulator: Emulator
) -> None:
    path = "/generate_stream" if shape.streamed else "/generate"
    body = {"inputs": "x", "parameters": {"details": True}}
    said = await _emulated(emulator.hf.url, path, body)
    emulated, recorded = _documents(said), _documents(shape.payload)
    for ours, theirs in ((emulated[0], recorded[0]), (emulated[-1], recorded[-1])):
        if not shape.streamed:
            for null in ("best_of_sequences", "top_tokens"):  # null in the recording: left out
                assert theirs["details"].pop(null, None) is None
            ours["details"]["seed"] = theirs["details"]["seed"]  # ours answers greedily: no seed
        assert _outline(ours) == _outline(theirs)


def _documents(payload: bytes) -> list[Any]:
    if payload.startswith(b"{"):
        return [json.loads(payload)]
    lines = payload.decode().splitlines()
    return [json.loads(line.removeprefix("data:")) for line in lines if line]


async def test_the_emulated_chat_has_every_key_that_both_recordings_share(
    emulator: Emulator,
) -> None:
    body = {"model": "microsoft/phi-2", "messages": [{"role": "user", "content": "x"}]}
    said = json.loads(await _emulated(emulator.openai.url, "/v1/chat/completions", body))
    recorded = [
        shape.body
        for shape in SHAPES
        if isinstance(shape.body, dict) and shape.body.get("object") == "chat.completion"
    ]
    first, second = recorded
    for keys in (
        (first.keys() & second.keys()) - {"system_fingerprint"},
        first["choices"][0].keys() & second["choices"][0].keys(),
    ):
        assert keys <= said.keys() | said["choices"][0].keys()
    assert {"role", "content"} <= said["choices"][0]["message"].keys()
    assert {"prompt_tokens", "completion_tokens", "total_tokens"} <= said["usage"].keys()


# --------------------------------------------------------------------------- Clarifai


class _Recorded(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Answers GetModel, and every prediction with the documentation's reply."""

    def service(self, handler_call_details: Any) -> Any:
        if handler_call_details.method.endswith("GenerateModelOutputs"):
            return grpc.unary_stream_rpc_method_handler(self.stream)
        if handler_call_details.method.endswith("GetModel"):
            return grpc.unary_unary_rpc_method_handler(self.model)
        return grpc.unary_unary_rpc_method_handler(self.unary)

    async def model(self, body: bytes, context: Any) -> bytes:
        trained = resources_pb2.Model(id="phi-2", model_type_id="text-to-text")
        ok = status_pb2.Status(code=status_code_pb2.SUCCESS)
        reply: bytes = service_pb2.SingleModelResponse(status=ok, model=trained).SerializeToString()
        return reply

    async def unary(self, body: bytes, context: Any) -> bytes:
        return _clarifai_reply()

    async def stream(self, body: bytes, context: Any) -> AsyncIterator[bytes]:
        yield _clarifai_reply()


def _clarifai_reply() -> bytes:
    message = ParseDict(CLARIFAI, service_pb2.MultiOutputResponse())
    data: bytes = message.SerializeToString()
    return data


@pytest.fixture
async def recorded() -> AsyncIterator[str]:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([_Recorded()])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"http://127.0.0.1:{port}"
    await server.stop(None)


async def test_clarifais_documented_reply_is_read_by_both(recorded: str) -> None:
    prompt = prompts.raw("Instruct: What guides ships?\nOutput:")
    async with AsyncPhi2Client("clarifai", pat=KEY, base=recorded) as phi:
        answer = await phi.generate(prompt)
        async with phi.stream(prompt) as stream:
            streamed = "".join([chunk.raw async for chunk in stream])
    assert answer.raw_text == streamed == TEXT
    assert answer.model == "phi-2"
    assert answer.request_id == CLARIFAI["status"]["req_id"]
    assert answer.usage.input is not None
    assert answer.usage.output_billed is not None
    assert (answer.usage.input.value, answer.usage.output_billed.value) == (7, 5)

    def theirs() -> str:
        model = Model(
            url="https://clarifai.com/microsoft/text-generation/models/phi-2",
            pat=KEY,
            base_url=recorded,
        )
        reply = model.predict_by_bytes(prompt.text.encode(), input_type="text")
        return str(reply.outputs[0].data.text.raw)

    assert await asyncio.to_thread(theirs) == TEXT


async def test_the_emulated_clarifai_fills_what_the_documentation_shows(
    emulator: Emulator,
) -> None:
    request = service_pb2.PostModelOutputsRequest(model_id="phi-2")
    request.user_app_id.user_id, request.user_app_id.app_id = "microsoft", "text-generation"
    request.inputs.add().data.text.raw = "x"
    async with grpc.aio.insecure_channel(emulator.clarifai.url) as channel:
        call = channel.unary_unary("/clarifai.api.V2/PostModelOutputs", None, None)
        data = await call(request.SerializeToString(), metadata=(("authorization", f"Key {KEY}"),))
    reply = service_pb2.MultiOutputResponse.FromString(data)
    said = MessageToDict(reply, preserving_proto_field_name=True)
    assert said["status"]["code"] == "SUCCESS"
    shown = CLARIFAI["outputs"][0]
    assert shown.keys() <= said["outputs"][0].keys()
    assert "raw" in said["outputs"][0]["data"]["text"]
