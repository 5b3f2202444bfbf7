"""The weights in the line-up: one is loaded at a time, and scores the same calls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from phi2sdk.backends.engine.scoring import Pass, PromptAndText
from phi2sdk.errors import ConfigurationError
from phi2sdk.identity.control_samples import spread
from phi2sdk.identity.score_calls import ScoredCall, other_templates, score_calls
from phi2sdk.identity.weights import Loader, Weights, parse_honest

INSTRUCT = "Instruct: Write a paragraph about rivers.\nOutput:"
BARE = "Write a paragraph about rivers."


def test_what_is_not_honest_is_a_candidate() -> None:
    weights = Weights(model="demo", honest=("float32", "bfloat16"), others=("/models/other",))
    assert weights.candidates == ("float16", "int8", "int4", "other:other")
    assert parse_honest("float32, bfloat16,float32") == ("float32", "bfloat16")
    with pytest.raises(ConfigurationError, match="name at least one in --honest"):
        Weights(model="demo", honest=parse_honest(" , "))


def test_other_templates_hold_the_same_text() -> None:
    assert other_templates(INSTRUCT, "instruct") == {
        "template=qa": BARE,
        "template=chat": f"Alice: {BARE}\nBob:",
    }
    assert other_templates(BARE, "raw") == {
        "template=instruct": INSTRUCT,
        "template=chat": f"Alice: {BARE}\nBob:",
    }
    assert other_templates("Instruct: \nOutput:", "instruct") == {}


def test_calls_are_spread_evenly() -> None:
    assert spread(["a", "b", "c"], 7) == ["a", "b", "c", "a", "b", "c", "a"]


def test_calls_are_scored_by_every_variant_and_the_last_is_freed() -> None:
    told: list[str] = []
    loader = Loader(Weights(model="demo", honest=("float32", "bfloat16")), told.append)
    ids = loader.load("float32").encode(" Rivers are a kind of engine that carries water.")
    calls = [
        ScoredCall(0, INSTRUCT, ids),
        ScoredCall(0, INSTRUCT, ids[:3]),
        ScoredCall(1, BARE, ids),
    ]
    table = score_calls(loader, calls, "instruct")
    assert len(told) == 5  # float32, bfloat16, float16, int8, int4: each once
    assert table.honest == ("float32", "bfloat16")
    assert {"float16", "int8", "int4", "top_p=0.9", "top_k=20"} <= set(table.candidates)
    assert "template=chat" in table.candidates
    assert table.logp["bfloat16"] == pytest.approx(table.logp["float32"], rel=0.05)
    assert table.logp["float32"][0] < table.logp["float32"][1] < 0
    assert table.tokens.tolist() == [len(ids), 3, len(ids)]
    assert table.at_temperature(1.0) == pytest.approx(table.logp["float32"], abs=1e-2)
    assert np.abs(table.candidates["int4"] - table.logp["float32"]).max() > 1e-3


def test_an_end_is_scored_as_the_text_up_to_it_and_equal_answers_are_scored_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loader = Loader(Weights(model="demo", honest=("float32",)))
    ids = loader.load("float32").encode(" Rivers are a kind of engine that carries water.")
    cut = [ScoredCall(0, INSTRUCT, ids[:end]) for end in (2, len(ids), 5)]
    alone = score_calls(loader, cut, "instruct")
    texts: list[int] = []
    made = Pass.of

    def watched(batch: Sequence[PromptAndText]) -> Pass:
        texts.append(len(batch))
        return made(batch)

    monkeypatch.setattr(Pass, "of", watched)
    ends = ScoredCall(0, INSTRUCT, ids, ends=(2, len(ids), 5))
    other = ScoredCall(1, BARE, ids, ends=(2,))
    table = score_calls(loader, [other, ends, *cut, other], "instruct")
    assert set(texts) == {2}  # one for each prompt
    assert table.prompt.tolist() == [1, 0, 0, 0, 0, 0, 0, 1]
    assert table.tokens.tolist() == [2, *alone.tokens, *alone.tokens, 2]
    for rows in (range(1, 4), range(4, 7)):
        found = table.take(list(rows))
        assert found.loglik == pytest.approx(alone.loglik, abs=1e-4)
        assert found.drift["float32"] == pytest.approx(alone.drift["float32"], abs=1e-4)
        for name, column in found.candidates.items():
            assert column == pytest.approx(alone.candidates[name], abs=2e-3), name


def test_nothing_to_score_is_an_empty_table() -> None:
    loader = Loader(Weights(model="demo", honest=("float32",)))
    table = score_calls(loader, [], "instruct")
    assert len(table) == 0
    assert len(table.take([])) == 0


def test_a_stop_request_ends_the_loading() -> None:
    with pytest.raises(ConfigurationError, match="interrupted"):
        Loader(Weights(model="demo"), stopped=lambda: True).load("float32")
