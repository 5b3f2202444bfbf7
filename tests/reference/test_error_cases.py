"""If a vendor's SDK raises an error, this package raises the matching class.

Their side of the HTTP cases runs through respx where the SDK is built on httpx2 (openai,
huggingface_hub), else against a server; ours always against a server: the same status, headers and
body.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import httpx2
import openai
import pytest
import respx
from aiohttp import web
from aiohttp.test_utils import TestServer, unused_port
from azure.ai.inference import ChatCompletionsClient
from azure.ai.inference.models import UserMessage
from azure.core import exceptions as azure
from azure.core.credentials import AzureKeyCredential
from azure.core.pipeline.policies import RetryPolicy
from azure.core.rest import HttpRequest
from clarifai.client.model import Model
from clarifai_grpc.grpc.api.status import status_code_pb2
from huggingface_hub import InferenceClient

from phi2sdk import AsyncPhi2Client, errors
from phi2sdk.emulator import Emulator, Fault
from phi2sdk.transport.http import Timeouts

from .error_cases import AZURE_CHAT, AZURE_SCORE, HUB, OPENAI, Case
from .vendors import KEY

URL = "https://provider.example"


@pytest.fixture
async def refusing() -> AsyncIterator[Any]:
    """A server that gives the same refusal to every request."""
    running: list[TestServer] = []

    async def start(case: Case) -> str:
        async def refuse(request: web.Request) -> web.Response:
            await request.read()
            return web.Response(
                body=case.payload,
                status=case.status,
                content_type=case.kind,
                headers=dict(case.headers),
            )

        app = web.Application()
        app.router.add_post("/{path:.*}", refuse)
        running.append(TestServer(app))
        await running[-1].start_server()
        return str(running[-1].make_url("/")).rstrip("/")

    yield start
    for server in running:
        await server.close()


async def raised(target: str, case: Case | None = None, **settings: Any) -> errors.Phi2Error:
    async with AsyncPhi2Client(target, attempts=1, **settings) as phi:
        with pytest.raises(errors.Phi2Error) as caught:
            await phi.generate("What guides ships?")
    if case is not None:
        assert type(caught.value) is case.ours
        assert caught.value.status == case.status
        assert caught.value.retry_after == case.retry_after
        assert KEY not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("case", OPENAI, ids=lambda case: case.name)
async def test_openai_and_we_name_the_same_failure(
    case: Case, refusing: Any, httpx2_mock: respx.MockRouter
) -> None:
    httpx2_mock.post(f"{URL}/v1/completions").mock(return_value=_replied(case))
    with (
        openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.completions.create(model="m", prompt="x")
    assert type(caught.value) is case.theirs
    await raised("openai", case, base_url=f"{await refusing(case)}/v1", api_key=KEY)


@pytest.mark.parametrize("case", HUB, ids=lambda case: case.name)
async def test_huggingface_hub_and_we_name_the_same_failure(
    case: Case, refusing: Any, httpx2_mock: respx.MockRouter
) -> None:
    httpx2_mock.post(URL).mock(return_value=_replied(case))
    with pytest.raises(case.theirs) as caught:
        InferenceClient(model=URL, token=KEY).text_generation("x", details=True)
    assert type(caught.value) is case.theirs
    await raised("hf", case, endpoint=await refusing(case), token=KEY)


@pytest.mark.parametrize("case", AZURE_CHAT, ids=lambda case: case.name)
async def test_azure_ai_inference_and_we_name_the_same_failure_of_chat(
    case: Case, refusing: Any
) -> None:
    url = await refusing(case)

    def theirs() -> None:
        with _azure(url) as client:
            client.complete(messages=[UserMessage("x")])

    with pytest.raises(azure.HttpResponseError) as caught:
        await asyncio.to_thread(theirs)
    assert type(caught.value) is case.theirs
    await raised("azure", case, endpoint=url, key=KEY, style="chat")


@pytest.mark.parametrize("case", AZURE_SCORE, ids=lambda case: case.name)
async def test_azure_core_and_we_name_the_same_failure_of_score(case: Case, refusing: Any) -> None:
    url = await refusing(case)

    def theirs() -> None:
        with _azure(url) as client:
            response = client.send_request(HttpRequest("POST", "/score", json={}))
            azure.map_error(response.status_code, response, _AZURE_CORE)
            response.raise_for_status()

    with pytest.raises(azure.HttpResponseError) as caught:
        await asyncio.to_thread(theirs)
    assert type(caught.value) is case.theirs
    await raised("azure", case, endpoint=url, key=KEY)


@pytest.mark.parametrize(
    ("code", "ours"),
    [(21202, errors.InvalidRequest), (21200, errors.ModelNotFound), (40001, errors.InvalidRequest)],
)
async def test_clarifai_raises_a_bare_exception_where_we_name_the_failure(
    code: int, ours: type[errors.Phi2Error], emulator: Emulator
) -> None:
    emulator.clarifai.faults.clear()
    emulator.clarifai.faults.push(Fault("clarifai", status=code), times=2)

    def theirs() -> None:
        model = Model(
            url=emulator.clarifai.address.url,
            pat=KEY,
            base_url=f"http://{emulator.clarifai.url}",
        )
        model.predict_by_bytes(b"x", input_type="text")

    with pytest.raises(Exception, match=status_code_pb2.StatusCode.Name(code)) as caught:
        await asyncio.to_thread(theirs)
    assert type(caught.value) is Exception
    error = await raised("clarifai", pat=KEY)
    assert (type(error), error.code) == (ours, str(code))


async def test_no_connection_is_a_connection_error_for_both(httpx2_mock: respx.MockRouter) -> None:
    httpx2_mock.post(f"{URL}/v1/completions").mock(side_effect=httpx2.ConnectError("no"))
    with (
        openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0) as client,
        pytest.raises(openai.APIConnectionError),
    ):
        client.completions.create(model="m", prompt="x")
    closed = f"http://127.0.0.1:{unused_port()}/v1"
    assert type(await raised("openai", base_url=closed)) is errors.ConnectionFailed


async def test_silence_is_a_timeout_for_both(httpx2_mock: respx.MockRouter) -> None:
    httpx2_mock.post(f"{URL}/v1/completions").mock(side_effect=httpx2.ReadTimeout("no"))
    with (
        openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0) as client,
        pytest.raises(openai.APITimeoutError),
    ):
        client.completions.create(model="m", prompt="x")

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        left.set()

    left = asyncio.Event()
    silent = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with silent:
        url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/v1"
        error = await raised("openai", server="vllm", base_url=url, timeouts=Timeouts(idle=0.05))
        await left.wait()
    assert type(error) is errors.Timeout


async def test_a_body_that_is_not_json_leaks_from_openai_and_is_a_bad_response_here(
    refusing: Any, httpx2_mock: respx.MockRouter
) -> None:
    case = Case("no json", 200, '{"a":', json.JSONDecodeError, errors.BadResponse)
    broken = httpx.Response(200, content=case.payload, headers=_JSON)
    httpx2_mock.post(f"{URL}/v1/completions").mock(return_value=broken)
    with (
        openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0) as client,
        pytest.raises(case.theirs),
    ):
        client.completions.create(model="m", prompt="x")
    error = await raised("openai", base_url=f"{await refusing(case)}/v1")
    assert type(error) is errors.BadResponse


_JSON = {"content-type": "application/json"}

_AZURE_CORE = {
    401: azure.ClientAuthenticationError,
    404: azure.ResourceNotFoundError,
    409: azure.ResourceExistsError,
    304: azure.ResourceNotModifiedError,
}
"""What the SDK's own methods map; ``send_request`` leaves it to its caller."""


def _azure(url: str) -> Any:
    return ChatCompletionsClient(
        url, AzureKeyCredential(KEY), retry_policy=RetryPolicy.no_retries()
    )


def _replied(case: Case) -> httpx.Response:
    headers = {"content-type": case.kind, **case.headers}
    return httpx.Response(case.status, content=case.payload, headers=headers)
