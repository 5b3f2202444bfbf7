"""The founding promise: one prompt, the same bytes and the same cut text on every backend.

The emulators serve the bundled checkpoint greedily in float32, over their real wires; the local
backend runs the same checkpoint itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from phi2sdk import Phi2Client, Sampling, prompts
from phi2sdk.backends.engine import LocalModel
from phi2sdk.demo import checkpoint_path
from phi2sdk.emulator import Emulator, ModelEngine
from phi2sdk.prompts import Prompt

PROMPTS: dict[str, Prompt] = {
    "instruct": prompts.instruct("Write a paragraph about glass."),
    "summary": prompts.summarize("Copper is a soft metal. It carries current and heat very well."),
    "qa": prompts.qa("What is rain?"),
    "chat": prompts.chat([("Alice", "Any suggestions?")], reply_as="Bob"),
    "code": prompts.code('def double(n):\n    """Return twice n."""\n'),
    "raw": prompts.raw("The river Ünäl — 東 — begins", stop=["the", " a "]),
}
SAMPLING = Sampling(max_tokens=48)

TARGETS: dict[str, tuple[str, dict[str, Any]]] = {
    "azure score": ("azure", {"style": "score"}),
    "azure tgi": ("azure", {"style": "tgi"}),
    "clarifai": ("clarifai", {}),
    "hf": ("hf", {}),
    "openai": ("openai", {}),
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    engine = ModelEngine(
        LocalModel.load(checkpoint_path(), dtype="float32"), name="microsoft/phi-2"
    )
    try:
        with Emulator(engine).running() as running:
            yield running
    finally:
        engine.close()


@pytest.fixture(scope="module")
def expected() -> dict[str, str]:
    with Phi2Client("local", model=str(checkpoint_path()), dtype="float32") as phi:
        return {name: phi.generate(prompt, SAMPLING).text for name, prompt in PROMPTS.items()}


@pytest.fixture
def environment(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    return emulator


@pytest.mark.parametrize("format", PROMPTS)
@pytest.mark.parametrize("target", TARGETS)
def test_the_same_prompt_bytes_and_the_same_cut_text(
    target: str, format: str, environment: Emulator, expected: dict[str, str]
) -> None:
    backend, settings = TARGETS[target]
    server = getattr(environment, backend)
    prompt = PROMPTS[format]
    with Phi2Client(backend, **settings) as phi:
        whole = phi.generate(prompt, SAMPLING)
        stream = phi.stream(prompt, SAMPLING)
        streamed = "".join(chunk.text for chunk in stream)
    assert whole.text == expected[format]
    assert stream.completion.text == expected[format]
    assert streamed.strip() == expected[format].strip()
    assert not whole.receipt.wrapped
    for call in server.calls[-2:]:
        assert call.prompt.encode() == prompt.text.encode() == whole.receipt.prompt.encode()


def test_the_answers_are_real_text(expected: dict[str, str]) -> None:
    assert all(expected.values())
    assert len(set(expected.values())) == len(PROMPTS)


@pytest.mark.parametrize(
    ("backend", "settings"),
    [
        ("openai", {"route": "chat"}),
        ("azure", {"style": "chat"}),
        ("hf", {"route": "chat", "server": "tgi"}),
    ],
)
def test_a_chat_route_is_marked_as_wrapped_and_is_seen_to_differ(
    backend: str, settings: dict[str, Any], environment: Emulator, expected: dict[str, str]
) -> None:
    server = getattr(environment, backend)
    differing = 0
    with Phi2Client(backend, **settings) as phi:
        for name, prompt in PROMPTS.items():
            answer = phi.generate(prompt, SAMPLING)
            assert answer.receipt.wrapped
            assert server.calls[-1].prompt != prompt.text, "the server's template surrounds it"
            differing += answer.text != expected[name]
    assert differing > 0
