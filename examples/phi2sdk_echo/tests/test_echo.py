"""The backend does what every backend must do."""

from __future__ import annotations

import asyncio

import pytest

from phi2sdk import AsyncPhi2Client, Completion, Phi2Client, prompts
from phi2sdk.errors import ConfigurationError, UnsupportedParameter

PROMPT = prompts.raw("Say it once and say it again")


def test_the_client_finds_it_by_its_name() -> None:
    with Phi2Client("echo") as phi:
        assert phi.check() == "is always available"
        answer = phi.generate(PROMPT, max_tokens=3)
    assert answer.text == "Say it once"
    assert (answer.model, answer.finish_reason) == ("echo-1", "stop")
    assert str(answer.usage.output_billed) == "3"


def test_a_stream_has_the_same_text_and_is_cut_at_a_stop_sequence() -> None:
    with Phi2Client("echo", voice="loud") as phi, phi.stream(PROMPT, stop=("AND",)) as stream:
        assert "".join(chunk.text for chunk in stream) == " SAY IT ONCE "
    assert stream.completion.finish_reason == "stop"


def test_the_receipt_records_the_handling_of_each_parameter() -> None:
    with Phi2Client("echo") as phi:
        receipt = phi.explain(max_tokens=5, stop=("a", "b"))
        assert receipt.fate("max_tokens").wire == {"limit": 5}
        assert receipt.fate("stop").wire == {"until": ["a"]}
        assert receipt.fate("seed").fate == "neutral"
        with pytest.raises(UnsupportedParameter, match="seed"):
            phi.generate(PROMPT, temperature=0.5, seed=1)


def test_a_stream_that_is_left_early_is_canceled() -> None:
    async def leave() -> Completion:
        async with AsyncPhi2Client("echo") as phi, phi.stream(PROMPT) as stream:
            async for _ in stream:
                break
        return stream.completion

    answer = asyncio.run(leave())
    assert (answer.text, answer.finish_reason) == ("Say", "cancelled")


def test_the_error_names_a_wrong_setting() -> None:
    with pytest.raises(ConfigurationError, match="voice 'shrill' does not exist"):
        Phi2Client("echo", voice="shrill")
