"""The emulated OpenAI-compatible servers refuse, clip and fail as the real ones do."""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

from phi2sdk.emulator import Emulator, ScriptedEngine

Session = aiohttp.ClientSession
MODEL = "microsoft/phi-2"


async def complete(emulator: Emulator, http: Session, server: Any, **body: Any) -> tuple[int, Any]:
    emulator.openai.server = server
    url = f"{emulator.openai.url}/v1/completions"
    asked = {"model": MODEL, "prompt": "one two", "max_tokens": 4, **body}
    async with http.post(url, json=asked) as reply:
        return reply.status, await reply.json()


async def test_llamacpp_refuses_to_look_back_over_minus_one_tokens(
    emulator: Emulator, http: Session
) -> None:
    status, reply = await complete(emulator, http, "llamacpp", repeat_penalty=1.2, repeat_last_n=-1)
    assert status == 400
    assert (reply["error"]["code"], reply["error"]["type"]) == (400, "invalid_request_error")
    assert "repeat_last_n" in reply["error"]["message"]
    status, _ = await complete(emulator, http, "llamacpp", repeat_penalty=1.2, repeat_last_n=2048)
    assert status == 200


async def test_llamacpp_drops_unknown_keys_and_uses_its_own_defaults(
    emulator: Emulator, http: Session
) -> None:
    status, _ = await complete(emulator, http, "llamacpp", repetition_penalty=1.5)
    assert status == 200
    decoding = emulator.openai.calls[-1].decoding
    assert decoding is not None
    assert (decoding.top_k, decoding.min_p, decoding.repetition_penalty) == (40, 0.05, 1.0)


@pytest.mark.parametrize("key", ["top_k", "min_p", "repetition_penalty"])
async def test_transformers_serve_refuses_samplers_with_422(
    emulator: Emulator, http: Session, key: str
) -> None:
    status, reply = await complete(emulator, http, "transformers", **{key: 1})
    assert status == 422
    assert key in reply["detail"]


async def test_transformers_serve_samples_only_where_the_generation_config_says_so(
    emulator: Emulator, http: Session
) -> None:
    await complete(emulator, http, "transformers", temperature=0.9)
    greedy = emulator.openai.calls[-1].decoding
    config = '{"do_sample": true, "top_k": 0}'
    await complete(emulator, http, "transformers", temperature=0.9, generation_config=config)
    sampled = emulator.openai.calls[-1].decoding
    assert greedy is not None
    assert sampled is not None
    assert (greedy.temperature, sampled.temperature, sampled.top_k) == (0.0, 0.9, None)


@pytest.mark.parametrize(
    ("server", "error"),
    [
        ("vllm", {"type": "BadRequestError", "param": "input_tokens", "code": 400}),
        ("llamacpp", {"type": "exceed_context_size_error", "code": 400}),
    ],
)
async def test_a_long_answer_is_clipped_and_a_long_prompt_refused(
    emulator: Emulator, http: Session, server: str, error: dict[str, Any]
) -> None:
    emulator.openai.engine = ScriptedEngine("a b c d e f g h i j", context_length=8, eos=False)
    prompt = "one two three"
    count = emulator.openai.engine.count(prompt)
    status, reply = await complete(emulator, http, server, prompt=prompt, max_tokens=100)
    assert status == 200
    assert reply["choices"][0]["finish_reason"] == "length"
    assert reply["usage"]["completion_tokens"] == 8 - count
    status, reply = await complete(emulator, http, server, prompt="one two " * 9)
    assert status == 400
    assert error.items() <= reply["error"].items()


async def test_transformers_serve_writes_past_the_context(
    emulator: Emulator, http: Session
) -> None:
    emulator.openai.engine = ScriptedEngine("a b c d e f g h i j", context_length=8, eos=False)
    status, reply = await complete(emulator, http, "transformers", max_tokens=20)
    assert status == 200
    assert reply["usage"]["completion_tokens"] == 20
