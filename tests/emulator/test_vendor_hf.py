"""huggingface_hub's clients drive the emulator."""

from __future__ import annotations

import pytest
from huggingface_hub import AsyncInferenceClient, InferenceClient
from huggingface_hub.errors import GenerationError, HfHubHTTPError, ValidationError

from phi2sdk.emulator import Emulator, Fault

from .conftest import ANSWER


def test_text_generation_plain_and_with_details(threaded: Emulator) -> None:
    client = InferenceClient(model=threaded.hf.url, token="test-key")
    text = client.text_generation("Hello", max_new_tokens=50, return_full_text=False)
    assert text == ANSWER
    full = client.text_generation("Hello", details=True, decoder_input_details=True, seed=4)
    assert full.generated_text == "Hello" + ANSWER
    assert full.details is not None
    assert full.details.finish_reason == "eos_token"
    assert full.details.tokens[-1].special
    assert full.details.generated_tokens == len(full.details.tokens)
    assert [token.text for token in full.details.prefill] == ["Hello"]


def test_text_generation_streams(threaded: Emulator) -> None:
    client = InferenceClient(model=threaded.hf.url, token="test-key")
    events = list(
        client.text_generation(
            "Hello", stream=True, details=True, stop=["."], return_full_text=False
        )
    )
    assert events[-1].generated_text == "Light guides ships."
    assert events[-1].details is not None
    assert events[-1].details.finish_reason == "stop_sequence"
    assert [event.index for event in events] == list(range(1, len(events) + 1))


async def test_the_asynchronous_client_streams_and_chats(threaded: Emulator) -> None:
    client = AsyncInferenceClient(model=threaded.hf.url, token="test-key")
    pieces = [piece async for piece in await client.text_generation("Hello", stream=True)]
    assert "".join(pieces) == ANSWER + "<|endoftext|>"
    reply = await client.chat_completion([{"role": "user", "content": "Hello"}], max_tokens=50)
    assert reply.choices[0].message.content == ANSWER
    chunks = [
        chunk
        async for chunk in await client.chat_completion(
            [{"role": "user", "content": "Hello"}], stream=True
        )
    ]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == ANSWER
    await client.close()  # type: ignore[no-untyped-call]


def test_errors_become_the_sdks_own_classes(threaded: Emulator) -> None:
    client = InferenceClient(model=threaded.hf.url, token="test-key")
    with pytest.raises(ValidationError):
        client.text_generation("Hello", temperature=0.0)
    with pytest.raises(ValidationError):
        list(client.text_generation("Hello", top_p=1.0, stream=True))
    threaded.hf.faults.push(Fault("error_event", after=2))
    with pytest.raises(GenerationError):
        list(client.text_generation("Hello", stream=True))
    with pytest.raises(HfHubHTTPError, match="401"):
        InferenceClient(model=threaded.hf.url, token="wrong").text_generation("Hello")
