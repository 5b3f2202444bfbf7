"""The vendor's client works with the gateway as with its own server."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from phi2sdk.emulator import Fault, ScriptedEngine
from tests.serve.serving import Served, contents

HELLO: Any = [{"role": "user", "content": "Explain tides."}]


async def test_a_single_user_message_is_an_instruction_and_others_are_a_chat(
    gateway: Served,
) -> None:
    phi, calls = gateway.sdk, gateway.emulator.openai.calls
    said = await phi.chat.completions.with_raw_response.create(model="openai", messages=HELLO)
    answer = said.parse().choices[0]
    assert (answer.message.content, answer.finish_reason) == ("Tides follow the moon.", "stop")
    assert said.headers["x-phi2-format"] == "instruct"
    assert calls[-1].prompt == "Instruct: Explain tides.\nOutput:"
    turns: Any = [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": [{"type": "text", "text": "Hi."}], "name": "Alice"},
        {"role": "assistant", "content": "Hello."},
        *HELLO,
    ]
    said = await phi.chat.completions.with_raw_response.create(model="openai", messages=turns)
    assert said.headers["x-phi2-format"] == "chat"
    assert calls[-1].prompt == (
        "System: Be short.\nAlice: Hi.\nAssistant: Hello.\nUser: Explain tides.\nAssistant:"
    )


async def test_the_prompt_of_a_completion_and_its_answer_are_unchanged(gateway: Served) -> None:
    prompt = "  def tides():\n\t"
    said = await gateway.sdk.completions.create(model="openai", prompt=prompt, temperature=0)
    assert gateway.emulator.openai.calls[-1].prompt == prompt
    assert said.choices[0].text == " Tides follow the moon."
    assert said.usage is not None
    assert said.usage.completion_tokens == 6


@pytest.mark.parametrize("target", ["openai", "hf", "azure", "safe"])
async def test_a_stream_has_the_same_text_as_the_whole_answer(target: str, gateway: Served) -> None:
    phi = gateway.sdk
    whole = await phi.chat.completions.create(model=target, messages=HELLO)
    stream = await phi.chat.completions.create(
        model=target,
        messages=HELLO,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    assert contents(chunks) == whole.choices[0].message.content == "Tides follow the moon."
    assert chunks[0].choices[0].delta.role == "assistant"
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    receipts = [chunk.model_extra["phi2"] for chunk in chunks if chunk.usage and chunk.model_extra]
    assert [one["target"] for one in receipts] == [target] * len(usages)
    assert all(one["attempts"] == 1 and one["cost_usd"] > 0 for one in receipts)
    assert [usage.completion_tokens for usage in usages] == (
        [] if target in ("azure", "safe") else [6]
    )


async def test_the_synchronous_client_works(gateway: Served) -> None:
    def ask() -> str:
        with openai.OpenAI(base_url=gateway.gateway.url, api_key="none", max_retries=0) as phi:
            stream = phi.completions.create(model="openai", prompt="Tides?", stream=True)
            return "".join(chunk.choices[0].text for chunk in stream)

    assert await asyncio.to_thread(ask) == " Tides follow the moon."


async def test_several_prompts_and_choices_have_indices_and_their_own_seeds(
    gateway: Served,
) -> None:
    gateway.emulator.engine = ScriptedEngine(lambda prompt: f" about {prompt}")
    phi, calls = gateway.sdk, gateway.emulator.openai.calls
    said = await phi.completions.create(
        model="openai", prompt=["tides", "moons"], n=2, seed=7, temperature=0.5
    )
    assert [(c.index, c.text) for c in said.choices] == [
        *((0, " about tides"), (1, " about tides"), (2, " about moons"), (3, " about moons"))
    ]
    seeds = [call.decoding.seed for call in calls if call.decoding is not None]
    assert sorted(str(seed) for seed in seeds) == ["7", "7", "8", "8"]
    assert said.usage is not None
    assert said.usage.prompt_tokens == 2  # each prompt once
    stream = await phi.completions.create(model="openai", prompt=["a", "b"], stream=True)
    texts: dict[int, str] = {}
    async for chunk in stream:
        index = chunk.choices[0].index
        texts[index] = texts.get(index, "") + chunk.choices[0].text
    assert texts == {0: " about a", 1: " about b"}


async def test_models_are_listed_with_capabilities_and_shown_one_by_one(gateway: Served) -> None:
    phi = gateway.sdk
    listed = {model.id: model for model in (await phi.models.list()).data}
    assert list(listed) == ["openai", "azure", "hf", "safe"]
    safe = await phi.models.retrieve("safe")
    assert safe.owned_by == "route"
    assert [one["name"] for one in safe.model_extra["targets"]] == ["azure", "openai"]  # type: ignore[index]
    assert listed["hf"].model_extra["capabilities"]["logprobs"] is True  # type: ignore[index]
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt-4'"):
        await phi.models.retrieve("gpt-4")


@pytest.mark.parametrize(
    ("status", "raised", "code"),
    [
        (429, openai.RateLimitError, "rate_limit_exceeded"),
        (401, openai.InternalServerError, "provider_authentication_failed"),
        (500, openai.InternalServerError, "provider_error"),
        (503, openai.InternalServerError, "provider_overloaded"),
    ],
)
async def test_a_failure_at_the_provider_has_the_right_class_and_code(
    status: int, raised: type[openai.APIStatusError], code: str, gateway: Served
) -> None:
    fault = Fault("status", status=status, headers={"Retry-After": "7"} if status == 429 else {})
    gateway.emulator.openai.faults.push(fault)
    with pytest.raises(raised) as caught:
        await gateway.sdk.completions.create(model="openai", prompt="Tides?")
    assert caught.value.code == code
    assert caught.value.response.headers["x-phi2-target"] == "openai"
    assert caught.value.response.headers["x-phi2-request-id"]
    assert caught.value.response.headers.get("Retry-After") == ("7" if status == 429 else None)
