"""For the same parameters our call is the vendor's SDK's own, up to the table of differences."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from phi2sdk import Phi2Client, prompts
from phi2sdk.emulator import Call, Emulator

from .conftest import ANSWER
from .differences import ABSENT, differences
from .table import DIFFERENCES, expected, rendered
from .vendors import GREEDY, KEY, PAIRS, Pair

DOCS = Path(__file__).parents[2] / "docs" / "contributing" / "wire.md"

CASES = [
    pytest.param(pair, name, stream, id=f"{pair.name}, {name}{', streamed' * stream}")
    for pair in PAIRS.values()
    for name in pair.samplings
    for stream in ((False, True) if pair.streams else (False,))
]


@pytest.mark.parametrize(("pair", "sampling", "stream"), CASES)
def test_the_sdk_is_satisfied_and_our_call_is_its_own_up_to_the_table(
    pair: Pair, sampling: str, stream: bool, emulator: Emulator
) -> None:
    asked = pair.samplings[sampling]
    our_text, ours = pair.drive(emulator, pair.ours, asked, stream)
    their_text, theirs = pair.drive(emulator, pair.theirs, asked, stream)
    assert (our_text, their_text) == (ANSWER, ANSWER)
    assert ours.authorized
    found = differences(ours, theirs)
    lines = expected(pair.name, stream=stream)
    assert {place: both for place, both in found.items() if place not in lines} == {}
    assert lines.keys() - found.keys() == set(), "lines of the table that hold no longer"
    wrong = {place: both for place, both in found.items() if not lines[place].holds(*both)}
    assert wrong == {}
    assert ours.decoding == theirs.decoding, "the server understood the same"
    assert ours.prompt == theirs.prompt


def test_every_line_of_the_table_is_about_some_pair() -> None:
    for line in DIFFERENCES:
        assert any(re.fullmatch(line.pairs, name) for name in PAIRS), line


def test_the_documentation_shows_the_table_as_it_is_enforced() -> None:
    assert rendered(tuple(PAIRS)) in DOCS.read_text(encoding="utf-8")


def test_a_changed_value_is_the_only_difference_reported(emulator: Emulator) -> None:
    pair = PAIRS["openai completions / openai"]
    _, call = pair.drive(emulator, pair.ours, GREEDY, stream=True)
    for path, changed in _each_changed(call.body):
        other = replace(call, body=changed)
        assert list(differences(call, other)) == [path]
    other = replace(call, headers={**call.headers, "content-type": "text/plain"})
    assert differences(call, other) == {
        "header content-type": ("application/json", "text/plain"),
    }
    del other.headers["content-type"]  # type: ignore[attr-defined]
    assert differences(call, other)["header content-type"][1] == ABSENT


def _each_changed(body: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for key, value in body.items():
        changed = deepcopy(body)
        if isinstance(value, dict):
            inner = next(iter(value))
            changed[key][inner] = "changed"
            yield f"body.{key}.{inner}", changed
        else:
            changed[key] = "changed"
            yield f"body.{key}", changed


def test_the_published_clarifai_example_gives_the_same_text_through_both(
    emulator: Emulator,
) -> None:
    from clarifai.client.model import Model

    url = "https://clarifai.com/microsoft/text-generation/models/phi-2"
    prompt = "What's the future of AI?"
    params: dict[str, Any] = {"temperature": 0.7, "max_tokens": 200, "top_k": 50, "top_p": 0.95}

    model = Model(url=url, pat=KEY, base_url=f"http://{emulator.clarifai.url}")
    reply = model.predict_by_bytes(prompt.encode(), input_type="text", inference_params=params)
    theirs: Call = emulator.clarifai.calls[-1]
    with Phi2Client("clarifai", model=url) as phi:
        answer = phi.generate(prompts.raw(prompt), **params)
    ours: Call = emulator.clarifai.calls[-1]

    assert answer.text == reply.outputs[0].data.text.raw == ANSWER
    assert ours.path == theirs.path == "PostModelOutputs"
    assert ours.body.inputs == theirs.body.inputs
    sent = [call.body.model.model_version.output_info.params for call in (ours, theirs)]
    assert sent[0] == sent[1]
    assert {name: sent[0][name] for name in params} == params
    assert answer.usage.output_billed is not None
    assert answer.usage.output_billed.value == reply.outputs[0].completion_tokens
