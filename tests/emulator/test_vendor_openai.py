"""openai's own SDK drives the emulators."""

from __future__ import annotations

import openai
import pytest

from phi2sdk.emulator import Emulator, Fault

from .conftest import ANSWER

MODEL = "microsoft/phi-2"


@pytest.fixture
def bases(threaded: Emulator) -> dict[str, str]:
    return {
        "openai": f"{threaded.openai.url}/v1",
        "azure": f"{threaded.azure.url}/openai/v1",
        "tgi": f"{threaded.hf.url}/v1",
    }


@pytest.mark.parametrize("name", ["openai", "azure", "tgi"])
def test_completions_and_chat_are_understood(bases: dict[str, str], name: str) -> None:
    with openai.OpenAI(base_url=bases[name], api_key="test-key", max_retries=0) as client:
        text = client.completions.create(
            model=MODEL, prompt="Hello", max_tokens=40, temperature=0.5, seed=3
        )
        assert text.choices[0].text == ANSWER
        assert text.choices[0].finish_reason == "stop"
        assert text.usage is not None
        assert text.usage.completion_tokens > 5
        turn = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "Hello"}], max_tokens=2
        )
        assert turn.choices[0].message.content == "Light guides"
        assert turn.choices[0].finish_reason == "length"


@pytest.mark.parametrize("name", ["openai", "azure", "tgi"])
async def test_streams_are_understood(bases: dict[str, str], name: str) -> None:
    async with openai.AsyncOpenAI(
        base_url=bases[name], api_key="test-key", max_retries=0
    ) as client:
        events = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Hello"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in events]
        pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
        assert "".join(pieces) == ANSWER
        assert chunks[-1].choices == []
        assert chunks[-1].usage is not None
        assert chunks[0].choices[0].delta.role == "assistant"
        assert chunks[-2].choices[0].finish_reason == "stop"


def test_only_chat_is_wrapped_in_a_template(threaded: Emulator) -> None:
    base = f"{threaded.openai.url}/v1"
    with openai.OpenAI(base_url=base, api_key="test-key", max_retries=0) as client:
        client.completions.create(model=MODEL, prompt="Hello")
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "Hello"}])
        assert [model.id for model in client.models.list()] == [MODEL]
    assert threaded.openai.calls[0].prompt == "Hello"
    assert threaded.openai.calls[1].prompt == "User: Hello\nAssistant:"


def test_extensions_stops_logprobs_and_echo_reach_the_engine(threaded: Emulator) -> None:
    base = f"{threaded.openai.url}/v1"
    with openai.OpenAI(base_url=base, api_key="test-key", max_retries=0) as client:
        reply = client.completions.create(
            model=MODEL,
            prompt="Say it.",
            stop=[" Numbers"],
            logprobs=1,
            echo=True,
            extra_body={"top_k": 5, "min_p": 0.1, "repetition_penalty": 1.1},
        )
    assert reply.choices[0].text == "Say it.Light guides ships."
    logprobs = reply.choices[0].logprobs
    assert logprobs is not None
    assert logprobs.tokens is not None
    assert logprobs.tokens[:4] == ["Say", " it", ".", "Light"]
    decoding = threaded.openai.calls[0].decoding
    assert decoding is not None
    assert (decoding.top_k, decoding.min_p, decoding.repetition_penalty) == (5, 0.1, 1.1)
    assert decoding.max_tokens == 16


def test_errors_become_the_sdks_own_classes(threaded: Emulator) -> None:
    base = f"{threaded.openai.url}/v1"
    with (
        openai.OpenAI(base_url=base, api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.completions.create(model=MODEL, prompt="Hello")
    with openai.OpenAI(base_url=base, api_key="test-key", max_retries=0) as client:
        with pytest.raises(openai.NotFoundError) as missing:
            client.completions.create(model="gpt-4", prompt="Hello")
        assert missing.value.code == "model_not_found"
        with pytest.raises(openai.BadRequestError) as long:
            client.completions.create(model=MODEL, prompt="a " * 2000, max_tokens=500)
        assert long.value.code == "context_length_exceeded"
        threaded.openai.faults.push(Fault("status", status=429, headers={"retry-after": "1"}))
        with pytest.raises(openai.RateLimitError) as limited:
            client.completions.create(model=MODEL, prompt="Hello")
        assert limited.value.response.headers["retry-after"] == "1"
