"""The emulators refuse what the real servers refuse, in their words."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from phi2sdk.emulator import Emulator, ScriptedEngine
from phi2sdk.emulator.score import ScoreStyle

from .conftest import ANSWER

Session = aiohttp.ClientSession
MODEL = "microsoft/phi-2"


async def post(http: Session, url: str, body: Any, **options: Any) -> tuple[int, Any]:
    async with http.post(url, json=body, **options) as reply:
        text = await reply.text()
        is_json = reply.content_type == "application/json"
        return reply.status, json.loads(text) if is_json else text


@pytest.mark.parametrize(
    "parameters",
    [
        {"temperature": 0},
        {"temperature": -1.0},
        {"top_p": 1.0},
        {"top_p": 0},
        {"top_k": 0},
        {"max_new_tokens": 0},
        {"max_new_tokens": 1.5},
        {"max_new_tokens": 2048},
        {"repetition_penalty": 0},
        {"stop": ["a", "b", "c", "d", "e"]},
        {"stop": [1]},
        {"best_of": 2},
        {"do_sample": "yes"},
        {"seed": -1},
    ],
    ids=str,
)
@pytest.mark.parametrize("provider", ["hf", "azure"])
async def test_tgi_refuses_parameters_out_of_range(
    emulator: Emulator, http: Session, parameters: dict[str, Any], provider: str
) -> None:
    url = getattr(emulator, provider).url
    body = {"inputs": "Hello", "parameters": parameters}
    status, reply = await post(http, f"{url}/generate", body)
    assert (status, reply["error_type"]) == (422, "validation")
    status, events = await post(http, f"{url}/generate_stream", body)
    assert status == 200
    assert json.loads(events.removeprefix("data:"))["error_type"] == "validation"


async def test_tgi_refuses_a_missing_or_empty_prompt(emulator: Emulator, http: Session) -> None:
    for body in ({}, {"inputs": ""}, {"inputs": 7}, [1]):
        assert (await post(http, f"{emulator.hf.url}/generate", body))[0] == 422


async def test_tgi_samples_as_soon_as_a_parameter_shapes_the_distribution(
    emulator: Emulator, http: Session
) -> None:
    for parameters, temperature in (
        ({}, 0.0),
        ({"do_sample": True}, 1.0),
        ({"temperature": 0.5}, 0.5),
        ({"top_k": 5, "do_sample": False}, 1.0),
    ):
        await post(http, emulator.hf.url + "/", {"inputs": "Hello", "parameters": parameters})
        decoding = emulator.hf.calls[-1].decoding
        assert decoding is not None
        assert decoding.temperature == temperature


async def test_tgi_keeps_the_stop_and_root_echoes_the_prompt(
    emulator: Emulator, http: Session
) -> None:
    body = {"inputs": "Hello", "parameters": {"stop": ["."], "details": True}}
    _, reply = await post(http, f"{emulator.hf.url}/generate", body)
    assert reply["generated_text"] == "Light guides ships."
    assert reply["details"]["finish_reason"] == "stop_sequence"
    _, listed = await post(http, emulator.hf.url + "/", body)
    assert listed[0]["generated_text"] == "HelloLight guides ships."


async def test_tgi_passes_over_a_stop_that_ends_inside_a_token(
    emulator: Emulator, http: Session
) -> None:
    body = {"inputs": "Hello", "parameters": {"stop": ["gui"]}}
    _, reply = await post(http, f"{emulator.hf.url}/generate", body)
    assert reply["generated_text"] == ANSWER


async def test_tgi_writes_events_with_or_without_the_space(
    emulator: Emulator, http: Session
) -> None:
    url = f"{emulator.hf.url}/generate_stream"
    body = {"inputs": "Hello", "parameters": {"max_new_tokens": 1}}
    assert (await post(http, url, body))[1].startswith("data: {")
    emulator.hf.tgi.sse_space = False
    _, events = await post(http, url, body)
    assert events.startswith("data:{")
    assert "[DONE]" not in events


async def test_tgi_shows_itself(emulator: Emulator, http: Session) -> None:
    async with http.get(f"{emulator.hf.url}/info") as reply:
        info = await reply.json()
    assert (info["model_id"], info["max_total_tokens"]) == (MODEL, 2048)
    _, tokens = await post(http, f"{emulator.hf.url}/tokenize", {"inputs": "Hello there."})
    assert [token["text"] for token in tokens] == ["Hello", " there", "."]
    async with http.get(f"{emulator.hf.url}/health") as reply:
        assert reply.status == 200


async def test_tgi_chat_takes_temperature_0_and_completions_do_not(
    emulator: Emulator, http: Session
) -> None:
    chat = {"messages": [{"role": "user", "content": "Hello"}], "temperature": 0}
    assert (await post(http, f"{emulator.hf.url}/v1/chat/completions", chat))[0] == 200
    text = {"prompt": "Hello", "temperature": 0}
    assert (await post(http, f"{emulator.hf.url}/v1/completions", text))[0] == 422
    emulator.hf.messages.chat_template = False
    assert (await post(http, f"{emulator.hf.url}/v1/chat/completions", chat))[0] == 422


async def test_a_sleeping_endpoint_answers_503_until_it_is_awake(
    emulator: Emulator, http: Session
) -> None:
    url, body = f"{emulator.hf.url}/generate", {"inputs": "Hello"}
    emulator.hf.sleep(refusals=2)
    assert [(await post(http, url, body))[0] for _ in range(3)] == [503, 503, 200]
    emulator.hf.sleep(0.05)
    assert (await post(http, url, body))[0] == 503
    held = await post(http, url, body, headers={"X-Scale-Up-Timeout": "600"})
    assert held[0] == 200


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"stop": ["a", "b", "c", "d", "e"]}, 400, None),
        ({"temperature": 2.5}, 400, None),
        ({"top_p": 0}, 400, None),
        ({"max_tokens": 0}, 400, None),
        ({"max_tokens": 2048}, 400, "context_length_exceeded"),
        ({"n": 2}, 400, None),
        ({"logprobs": 6}, 400, None),
        ({"presence_penalty": 0.5}, 400, None),
        ({"stream_options": {"include_usage": True}}, 400, None),
        ({"repeat_penalty": 1.1}, 400, "unknown_parameter"),
        ({"prompt": ["a", "b"]}, 400, None),
        ({"model": "phi"}, 404, "model_not_found"),
        ({"model": None}, 400, None),
    ],
    ids=str,
)
async def test_openai_refuses_what_it_does_not_take(
    emulator: Emulator, http: Session, changes: dict[str, Any], status: int, code: str | None
) -> None:
    body = {"model": MODEL, "prompt": "Hello", **changes}
    answered, reply = await post(http, f"{emulator.openai.url}/v1/completions", body)
    assert (answered, reply["error"]["code"]) == (status, code)
    meter = emulator.openai.meter
    assert (meter.prompt_tokens, meter.completion_tokens) == (0, 0)


async def test_openai_cuts_the_stop_and_completes_16_tokens_by_default(
    emulator: Emulator, http: Session
) -> None:
    emulator.engine = ScriptedEngine("one two three END four", eos=False)
    url = f"{emulator.openai.url}/v1/completions"
    _, reply = await post(http, url, {"model": MODEL, "prompt": "Hello", "stop": " END"})
    assert reply["choices"][0] == {
        "index": 0,
        "finish_reason": "stop",
        "logprobs": None,
        "text": "one two three",
    }
    _, reply = await post(http, url, {"model": MODEL, "prompt": "Hello"})
    assert reply["usage"]["completion_tokens"] == 16
    assert reply["choices"][0]["finish_reason"] == "length"


async def test_openai_without_a_template_refuses_chat(emulator: Emulator, http: Session) -> None:
    emulator.openai.chat_template = False
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}]}
    status, reply = await post(http, f"{emulator.openai.url}/v1/chat/completions", body)
    assert (status, reply["error"]["code"]) == (400, "chat_template_missing")


async def test_openai_streams_role_text_finish_usage_and_done(
    emulator: Emulator, http: Session
) -> None:
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": "Hello"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 2,
    }
    _, text = await post(http, f"{emulator.openai.url}/v1/chat/completions", body)
    *events, done, end = text.split("\n\n")
    assert (done, end) == ("data: [DONE]", "")
    chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert [chunk["choices"][0]["delta"] for chunk in chunks[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "Light"},
        {"content": " guides"},
        {},
    ]
    assert chunks[-2]["choices"][0]["finish_reason"] == "length"
    assert (chunks[-1]["choices"], chunks[-1]["usage"]["completion_tokens"]) == ([], 2)
    assert len({chunk["id"] for chunk in chunks}) == 1


SCORE_BODIES = [
    {"input_data": {"input_string": ["One", "Two"], "parameters": {"max_new_tokens": 2}}},
    {"input_data": ["One", "Two"], "params": {"max_new_tokens": 2, "return_full_text": False}},
]


@pytest.mark.parametrize("body", SCORE_BODIES)
async def test_score_takes_both_bodies_and_answers_the_first_prompt(
    emulator: Emulator, http: Session, body: dict[str, Any]
) -> None:
    url = f"{emulator.azure.url}/score"
    assert await post(http, url, body) == (200, {"output": ["OneLight guides"]})
    emulator.azure.style = ScoreStyle(reply="list", echo=False)
    assert await post(http, url, body) == (200, ["Light guides"])
    emulator.azure.style = ScoreStyle(reply="frame", engine="older", echo=False)
    both = [{"0": "Light guides"}, {"1": "Light guides"}]
    assert await post(http, url, body) == (200, both)


async def test_score_drops_what_it_does_not_know_and_is_greedy_on_request(
    emulator: Emulator, http: Session
) -> None:
    body = {
        "input_data": {
            "input_string": ["One"],
            "parameters": {"do_sample": False, "temperature": 0.9, "seed": 3, "min_p": 0.5},
        }
    }
    await post(http, f"{emulator.azure.url}/score", body)
    decoding = emulator.azure.calls[0].decoding
    assert decoding is not None
    assert (decoding.temperature, decoding.seed, decoding.min_p) == (0.0, None, 0.0)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"input_data": []},
        {"input_data": {"input_string": [1]}},
        {"input_data": ["One"], "params": {"max_new_tokens": 4000}},
        {"input_data": ["One"], "params": {"temperature": -1}},
    ],
    ids=str,
)
async def test_score_returns_an_error_of_the_model_as_424(
    emulator: Emulator, http: Session, body: dict[str, Any]
) -> None:
    async with http.post(f"{emulator.azure.url}/score", json=body) as reply:
        assert reply.status == 424
        assert reply.headers["ms-azureml-model-error-statuscode"] == "400"


async def test_azure_picks_deployments_and_refuses_extra_keys(
    emulator: Emulator, http: Session
) -> None:
    url = emulator.azure.url
    known, other = ({"azureml-model-deployment": name} for name in ("phi-2", "green"))
    assert (await post(http, f"{url}/score", SCORE_BODIES[0], headers=known))[0] == 200
    assert (await post(http, f"{url}/score", SCORE_BODIES[0], headers=other))[0] == 404
    chat = {"messages": [{"role": "user", "content": "Hello"}], "top_k": 4}
    path = f"{url}/chat/completions"
    assert (await post(http, path, chat))[0] == 400
    path += "?api-version=2024-05-01-preview"
    assert (await post(http, path, chat))[0] == 400
    for handling, top_k in (("pass-through", 4), ("drop", None)):
        status, _ = await post(http, path, chat, headers={"extra-parameters": handling})
        decoding = emulator.azure.calls[-1].decoding
        assert decoding is not None
        assert (status, decoding.top_k) == (200, top_k)


@pytest.mark.parametrize(
    ("provider", "path", "expected"),
    [
        ("azure", "/score", "key_auth_access_denied"),
        ("azure", "/generate", "key_auth_access_denied"),
        ("azure", "/chat/completions", "key_auth_access_denied"),
        ("azure", "/openai/v1/completions", "invalid_api_key"),
        ("hf", "/generate", "error"),
        ("hf", "/v1/completions", "error"),
        ("openai", "/v1/completions", "invalid_api_key"),
        ("openai", "/v1/models", "invalid_api_key"),
    ],
)
@pytest.mark.parametrize("header", ["Bearer wrong", "test-key", ""])
async def test_every_route_checks_the_key(
    emulator: Emulator, http: Session, provider: str, path: str, expected: str, header: str
) -> None:
    server = getattr(emulator, provider)
    method = "GET" if path.endswith("models") else "POST"
    async with http.request(
        method, server.url + path, json={}, headers={"Authorization": header}
    ) as reply:
        assert reply.status == 401
        assert expected in await reply.text()
    call = server.calls[0]
    assert not call.authorized
    assert call.headers["authorization"] == "***"


async def test_unknown_routes_and_bad_json_have_the_providers_form(
    emulator: Emulator, http: Session
) -> None:
    assert (await post(http, f"{emulator.openai.url}/v1/nothing", {}))[0] == 404
    async with http.post(f"{emulator.openai.url}/v1/completions", data=b"{") as reply:
        assert (await reply.json())["error"]["code"] == "invalid_json"
    assert emulator.openai.calls[-1].body is None
    assert emulator.openai.calls[-1].raw == b"{"
