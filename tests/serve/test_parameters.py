"""No parameter is dropped: it is sent, it has no effect, or it is refused by its name."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.serve.serving import Served

ASK: dict[str, Any] = {"model": "openai", "prompt": "Tides?"}
CHAT: dict[str, Any] = {"model": "openai", "messages": [{"role": "user", "content": "Tides?"}]}


async def test_sampling_parameters_reach_the_target_under_the_names_of_openai_and_vllm(
    gateway: Served,
) -> None:
    sampling = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.05,
        "seed": 3,
        "repetition_penalty": 1.1,
        "stop": ["X"],
        "max_tokens": 5,
    }
    status, _, _ = await gateway.post("/v1/completions", ASK | sampling)
    assert status == 200
    decoding = gateway.emulator.openai.calls[-1].decoding
    assert decoding is not None
    stop = decoding.stop
    assert {name: getattr(decoding, name) for name in sampling} == sampling | {"stop": stop}
    assert stop == ("X",)


@pytest.mark.parametrize(
    ("route", "ask", "tokens"),
    [("/v1/completions", ASK, 16), ("/v1/chat/completions", CHAT, 256)],
)
async def test_the_defaults_are_those_of_the_protocol(
    route: str, ask: dict[str, Any], tokens: int, gateway: Served
) -> None:
    await gateway.post(route, ask | {"top_k": -1, "max_tokens": None})
    decoding = gateway.emulator.openai.calls[-1].decoding
    assert decoding is not None
    assert (decoding.max_tokens, decoding.temperature, decoding.top_k) == (tokens, 1.0, None)


NEUTRAL = {
    "user": "me",
    "metadata": {"a": "b"},
    "store": True,
    "service_tier": "auto",
    "n": 1,
    "stream_options": {"include_usage": True},
    "presence_penalty": 0,
    "frequency_penalty": 0.0,
    "logit_bias": {},
    "seed": None,
    "stop": None,
}


@pytest.mark.parametrize(
    ("route", "ask", "more"),
    [
        ("/v1/completions", ASK, {"suffix": None, "best_of": 1, "echo": False}),
        (
            "/v1/chat/completions",
            CHAT,
            {
                "tools": [],
                "tool_choice": "auto",
                "parallel_tool_calls": True,
                "response_format": {"type": "text"},
                "modalities": ["text"],
            },
        ),
    ],
)
async def test_parameters_without_effect_are_accepted(
    route: str, ask: dict[str, Any], more: dict[str, Any], gateway: Served
) -> None:
    status, document, _ = await gateway.post(route, ask | NEUTRAL | more)
    assert status == 200, document


@pytest.mark.parametrize(
    ("ask", "param", "code"),
    [
        (ASK | {"frobnicate": 1}, "frobnicate", "unknown_parameter"),
        (ASK | {"presence_penalty": 0.5}, "presence_penalty", "invalid_value"),
        (ASK | {"logit_bias": {"50256": -100}}, "logit_bias", "invalid_value"),
        (ASK | {"best_of": 3}, "best_of", "invalid_value"),
        (ASK | {"suffix": "end"}, "suffix", "invalid_value"),
        (ASK | {"n": 9}, "n", "invalid_value"),
        (ASK | {"temperature": -1}, "temperature", "invalid_request"),
        (ASK | {"top_p": 0}, "top_p", "invalid_request"),
        (ASK | {"temperature": "hot"}, "temperature", "invalid_value"),
        (ASK | {"max_tokens": True}, "max_tokens", "invalid_value"),
        (ASK | {"max_tokens": 0}, "max_tokens", "invalid_value"),
        (ASK | {"stream_options": {"other": 1}}, "stream_options", "unknown_parameter"),
        (ASK | {"prompt": ""}, "prompt", "invalid_request"),
        (ASK | {"prompt": "a<|endoftext|>b"}, "prompt", "invalid_request"),
        (ASK | {"prompt": [1, 2, 3]}, "prompt", "unsupported_parameter"),
        (ASK | {"prompt": {"text": "a"}}, "prompt", "invalid_value"),
        (ASK | {"logprobs": 1}, "logprobs", "unsupported_parameter"),
        ({"prompt": "Tides?"}, "model", "missing_parameter"),
        (CHAT | {"tools": [{"type": "function"}]}, "tools", "invalid_value"),
        (CHAT | {"response_format": {"type": "json_object"}}, "response_format", "invalid_value"),
        (CHAT | {"messages": []}, "messages", "invalid_value"),
        (CHAT | {"messages": [{"role": "tool", "content": "x"}]}, "messages", "invalid_value"),
        (CHAT | {"top_logprobs": 2}, "top_logprobs", "invalid_value"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_cannot_be_done_is_400_with_the_name_of_the_parameter(
    ask: dict[str, Any], param: str, code: str, gateway: Served
) -> None:
    route = "/v1/chat/completions" if "messages" in ask else "/v1/completions"
    status, document, _ = await gateway.post(route, ask)
    error = document["error"]
    assert (status, error["param"], error["code"]) == (400, param, code), error
    assert error["type"] == "invalid_request_error"
    assert gateway.emulator.openai.calls == []


@pytest.mark.parametrize(("target", "param"), [("azure", "repetition_penalty"), ("hf", "min_p")])
async def test_a_parameter_that_the_target_does_not_have_is_400_with_its_name(
    target: str, param: str, gateway: Served
) -> None:
    with pytest.raises(openai.BadRequestError, match="or use another model") as caught:
        await gateway.sdk.completions.create(
            model=target, prompt="Tides?", extra_body={param: 0.5, "temperature": 0.7}
        )
    assert (caught.value.param, caught.value.code) == (param, "unsupported_parameter")


async def test_a_misspelled_parameter_is_answered_with_the_right_name(gateway: Served) -> None:
    _, document, _ = await gateway.post("/v1/completions", ASK | {"max_token": 5})
    assert "Did you mean max_tokens?" in document["error"]["message"]


async def test_a_control_token_is_allowed_on_request(gateway: Served) -> None:
    ask = ASK | {"prompt": "a<|endoftext|>b"}
    status, document, _ = await gateway.post("/v1/completions", ask)
    assert status == 400
    assert "set allow_control_tokens to true in the request" in document["error"]["message"]
    status, _, _ = await gateway.post("/v1/completions", ask | {"allow_control_tokens": True})
    assert status == 200


async def test_a_usage_that_the_target_does_not_tell_is_left_out_and_never_0(
    gateway: Served,
) -> None:
    _, document, headers = await gateway.post("/v1/completions", ASK | {"model": "azure"})
    assert document["choices"][0]["text"] == " Tides follow the moon."
    assert "usage" not in document
    assert "x-phi2-cost-usd" not in headers


async def test_the_receipt_names_target_attempts_and_cost(gateway: Served) -> None:
    _, document, headers = await gateway.post("/v1/completions", ASK)
    used = document["usage"]
    usd = (used["prompt_tokens"] * 1000 + used["completion_tokens"] * 2000) / 1e6
    assert float(headers["x-phi2-cost-usd"]) == pytest.approx(usd)
    assert (headers["x-phi2-target"], headers["x-phi2-attempts"]) == ("openai", "1")
    assert document["id"] == f"cmpl-{headers['x-phi2-request-id']}"


async def test_the_prompt_is_returned_with_the_log_probabilities_that_the_target_tells(
    gateway: Served,
) -> None:
    ask: dict[str, Any] = {
        "model": "openai",
        "prompt": "the tides rise",
        "echo": True,
        "temperature": 0,
    }
    said = await gateway.sdk.completions.create(**ask, max_tokens=0, logprobs=1)
    found = said.choices[0].logprobs
    assert said.choices[0].text == "the tides rise"
    assert found is not None
    assert found.tokens == ["the", " tides", " rise"]
    assert found.text_offset == [0, 3, 9]
    assert found.token_logprobs is not None
    assert found.token_logprobs[0] is None
    assert all(p < 0 for p in found.token_logprobs[1:])
    said = await gateway.sdk.completions.create(**ask, max_tokens=1, logprobs=1)
    found = said.choices[0].logprobs
    assert found is not None
    assert found.tokens == ["the", " tides", " rise", " Tides"]
    assert found.token_logprobs is not None
    assert found.token_logprobs[-1] is None  # the target does not tell it


async def test_a_target_that_tells_log_probabilities_of_its_answer_serves_them(
    gateway: Served,
) -> None:
    said = await gateway.sdk.chat.completions.create(
        model="hf",
        messages=[{"role": "user", "content": "Tides?"}],
        logprobs=True,
        top_logprobs=1,
        temperature=0,
    )
    found = said.choices[0].logprobs
    assert found is not None
    assert found.content is not None
    assert "".join(token.token for token in found.content) == " Tides follow the moon."
    assert all(token.top_logprobs[0].logprob == token.logprob < 0 for token in found.content)
