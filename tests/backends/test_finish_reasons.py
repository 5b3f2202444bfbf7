"""An answer is complete only where the server says so: one rule for all routes, streamed or not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from phi2sdk.backends.azure import AzureBackend
from phi2sdk.backends.base import Backend
from phi2sdk.backends.hf import HFBackend
from phi2sdk.backends.openai import OpenAIBackend
from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.completion import Count
from phi2sdk.emulator import Emulator, Fault, ScriptedEngine
from phi2sdk.errors import BadResponse, ContextLengthExceeded, InvalidRequest, ProviderFault

from .conftest import ANSWER, KEY, PROMPT, ask, request

ROUTES = ["completions", "chat", "tgi", "azure chat", "azure tgi", "hf completions"]
TEXT = "Half an ans"


def _open(providers: Emulator, route: str) -> tuple[Backend, Any]:
    """A backend, and the emulated server that it asks."""
    azure, hf, openai = providers.azure, providers.hf, providers.openai
    if route.startswith("azure"):
        style: Any = route.partition(" ")[2]
        return AzureBackend(endpoint=azure.url, key=KEY, style=style), azure
    if route in ("tgi", "hf completions"):
        kind: Any = route.split()[-1]
        return HFBackend(endpoint=hf.url, token=KEY, route=kind, server="tgi"), hf
    return OpenAIBackend(base_url=openai.url + "/v1", api_key=KEY, route=route), openai  # type: ignore[arg-type]


Open = Callable[[str], tuple[Backend, Any]]


@pytest.fixture
async def open_route(providers: Emulator) -> AsyncIterator[Open]:
    made: list[Backend] = []

    def build(route: str) -> tuple[Backend, Any]:
        backend, server = _open(providers, route)
        made.append(backend)
        return backend, server

    yield build
    for backend in made:
        await backend.close()


def reply(route: str, reason: Any, *, stream: bool) -> Fault:
    """Status 200 with a text and a finish reason, as the route says them."""
    if "tgi" in route:
        details = {"finish_reason": reason, "generated_tokens": 3, "tokens": []}
        token = {"id": 1, "text": TEXT, "logprob": -0.1, "special": False}
        whole: Any = {"generated_text": TEXT, "details": details}
        events: list[Any] = [{"token": token, "details": details}]
    else:
        said = {"content": TEXT}
        usage = {"prompt_tokens": 9, "completion_tokens": 3}
        texts = {"text": TEXT, "message": said, "delta": said}
        whole = {"choices": [{**texts, "finish_reason": reason}], "usage": usage}
        events = [whole]
    if not stream:
        return Fault("status", status=200, body=whole)
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events)
    if "tgi" not in route:
        body += "data: [DONE]\n\n"
    return Fault("status", status=200, headers={"Content-Type": "text/event-stream"}, body=body)


async def streamed_text(phi: AsyncPhi2Client, **sampling: Any) -> str:
    async with phi.stream(PROMPT, **{"max_tokens": 64, **sampling}) as chunks:
        return "".join([chunk.text async for chunk in chunks])


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reason", ["abort", "error", "", None, "something new", 7])
async def test_an_answer_without_a_good_reason_to_end_is_broken_and_keeps_its_text(
    open_route: Open, route: str, stream: bool, reason: Any
) -> None:
    backend, server = open_route(route)
    server.faults.push(reply(route, reason, stream=stream))
    async with AsyncPhi2Client(backend, attempts=3) as phi:
        asked = streamed_text(phi) if stream else phi.generate(PROMPT, max_tokens=64)
        with pytest.raises(BadResponse) as raised:
            await asked
    assert raised.value.partial == TEXT
    assert len(server.calls) == 1


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        ("repetition", "stop"),
        ("eos_token", "stop"),
        ("stop_sequence", "stop"),
        ("length", "length"),
        ("content_filter", "filter"),
    ],
)
async def test_the_receipt_keeps_the_servers_own_word(
    open_route: Open, route: str, stream: bool, reason: str, finish: str
) -> None:
    backend, server = open_route(route)
    server.faults.push(reply(route, reason, stream=stream))
    answer = await ask(backend, request(stream=stream))
    assert (answer.text, answer.finish_reason) == (TEXT, finish)
    assert answer.receipt.finish_reason == reason


@pytest.mark.parametrize("route", ["completions", "chat", "azure chat", "hf completions"])
async def test_an_error_in_a_reply_with_status_200_has_its_error_class(
    open_route: Open, route: str
) -> None:
    backend, server = open_route(route)
    body = {"error": {"message": "CUDA out of memory", "type": "server_error"}}
    server.faults.push(Fault("status", status=200, body=body))
    with pytest.raises(ProviderFault, match="CUDA"):
        await ask(backend, request(stream=False))


# ------------------------------------------------------------------ limits of the server


@pytest.mark.parametrize("server", ["vllm", "llamacpp"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_prompt_that_is_too_long_is_named(
    providers: Emulator, server: Any, stream: bool
) -> None:
    providers.openai.server = server
    providers.openai.engine = ScriptedEngine(ANSWER, context_length=4)
    made = OpenAIBackend(base_url=providers.openai.url + "/v1", api_key=KEY, server=server)
    with pytest.raises(ContextLengthExceeded) as raised:
        await ask(made, request(stream=stream))
    assert raised.value.status == 400
    await made.close()


@pytest.mark.parametrize("server", ["vllm", "llamacpp"])
@pytest.mark.parametrize("stream", [True, False])
async def test_the_receipt_says_that_the_server_clipped_max_tokens(
    providers: Emulator, server: Any, stream: bool
) -> None:
    providers.openai.server = server
    engine = ScriptedEngine("a b c d e f g h", context_length=40, eos=False)
    providers.openai.engine = engine
    made = OpenAIBackend(base_url=providers.openai.url + "/v1", api_key=KEY, server=server)
    room = 40 - engine.count(PROMPT.text)
    clipped = await ask(made, request(stream=stream, max_tokens=2048))
    fate = clipped.receipt.fate("max_tokens")
    assert clipped.finish_reason == "length"
    assert (fate.fate, fate.value) == ("clipped", 2048)
    assert f"reduced it to {room}" in fate.note
    kept = await ask(made, request(stream=stream, max_tokens=room))
    assert kept.receipt.fate("max_tokens").fate == "sent"
    await made.close()


# ------------------------------------------------------------------ TGI


@pytest.mark.parametrize("route", ["completions", "chat"])
async def test_a_wrong_request_on_tgis_openai_streams_is_not_tried_again(
    providers: Emulator, route: Any
) -> None:
    made = HFBackend(endpoint=providers.hf.url, token=KEY, route=route, server="tgi")
    async with AsyncPhi2Client(made, attempts=3) as phi:
        with pytest.raises(InvalidRequest) as raised:
            await streamed_text(phi, max_tokens=5000, temperature=0.5)
    assert raised.value.status == 422
    assert len(providers.hf.calls) == 1


@pytest.mark.parametrize(("status", "error"), [(422, InvalidRequest), (424, ProviderFault)])
@pytest.mark.parametrize("route", ["completions", "chat"])
async def test_an_error_event_of_tgis_openai_streams_has_its_own_status(
    providers: Emulator, route: Any, status: int, error: Any
) -> None:
    body = {"error": {"message": "no", "http_status_code": status}}
    providers.hf.faults.push(Fault("error_event", after=1, body=body))
    made = HFBackend(endpoint=providers.hf.url, token=KEY, route=route, server="tgi")
    with pytest.raises(error) as raised:
        await ask(made, request(temperature=0.5))
    assert raised.value.status == status
    await made.close()


async def test_an_error_event_without_a_status_has_none(providers: Emulator, hf: HFBackend) -> None:
    providers.hf.faults.push(Fault("error_event", after=1))
    with pytest.raises(ProviderFault) as raised:
        await ask(hf)
    assert raised.value.status is None


@pytest.mark.parametrize("stream", [True, False])
async def test_tgi_tells_the_prompts_tokens_streamed_or_not(
    providers: Emulator, hf: HFBackend, stream: bool
) -> None:
    answer = await ask(hf, request(stream=stream))
    assert answer.usage.input == Count(providers.hf.calls[-1].prompt_tokens)


@pytest.mark.parametrize("said", ["-1", "many", "9" * 400, "²", ""])
def test_a_header_without_a_valid_count_is_ignored(hf: HFBackend, said: str) -> None:
    assert hf._route.input_told({"x-prompt-tokens": said}) is None
