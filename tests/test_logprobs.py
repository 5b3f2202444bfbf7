"""Scoring a given text through the client."""

from __future__ import annotations

import pytest

from phi2sdk import Phi2Client, prompts
from phi2sdk.errors import InvalidRequest
from tests.scripted import ScriptedBackend


def test_the_greedy_answer_of_the_model_is_its_most_likely_text() -> None:
    with Phi2Client("local", model="demo", dtype="float32") as phi:
        prompt = prompts.instruct("Write a paragraph about glass.")
        answer = phi.generate(prompt, max_tokens=24)
        own = phi.score(prompt, answer.raw_text)
        other = phi.score(prompt, answer.raw_text[::-1])
    assert own.argmax == own.ids
    assert own.total > other.total
    shared = min(len(own.ids), len(answer.logprobs))
    assert own.logprob[:shared] == pytest.approx(answer.logprobs[:shared], abs=1e-4)


def test_a_hosted_target_says_that_it_cannot_score() -> None:
    with (
        Phi2Client(ScriptedBackend(["x"])) as phi,
        pytest.raises(InvalidRequest, match="scripted cannot score a given text"),
    ):
        phi.score("question", "answer")
