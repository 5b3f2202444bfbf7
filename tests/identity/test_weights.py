"""The weights in the line-up: one is loaded at a time, and scores the same calls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from phi2sdk.backends.engine.likelihood import divergences
from phi2sdk.backends.engine.phi import Matrix
from phi2sdk.backends.engine.scoring import Pass, PromptAndText
from phi2sdk.errors import ConfigurationError
from phi2sdk.identity.control_samples import spread
from phi2sdk.identity.score_calls import (
    PENALTIES,
    SYSTEM,
    TRUNCATIONS,
    ScoredCall,
    other_templates,
    score_calls,
    with_system,
)
from phi2sdk.identity.weights import GROUP, Loader, Weights, parse_honest
from phi2sdk.sampling import Sampling

INSTRUCT = "Instruct: Write a paragraph about rivers.\nOutput:"
BARE = "Write a paragraph about rivers."


def test_quantized_and_other_weights_are_candidates_and_precisions_are_not() -> None:
    weights = Weights(model="demo", honest=("float32", "bfloat16"), others=("/models/other",))
    assert weights.candidates == ("int4", "int3", "other:other")
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
    assert len(told) == 4  # float32, bfloat16, int4, int3: each once
    assert table.honest == ("float32", "bfloat16")
    assert set(table.candidates) == {
        "int4", "int3", "template=chat", *TRUNCATIONS, *PENALTIES, *SYSTEM
    }  # fmt: skip
    assert table.logp["bfloat16"] == pytest.approx(table.logp["float32"], rel=0.05)
    assert table.logp["float32"][0] < table.logp["float32"][1] < 0
    assert table.tokens.tolist() == [len(ids), 3, len(ids)]
    assert table.at_temperature(1.0) == pytest.approx(table.logp["float32"], abs=1e-2)
    assert np.abs(table.candidates["int4"] - table.logp["float32"]).max() > 1e-3
    sent = with_system(SYSTEM["system=helpful"], BARE)
    (alone,) = score_calls(loader, [ScoredCall(0, sent, ids)]).logp["float32"]
    assert table.candidates["system=helpful"][2] == pytest.approx(alone, abs=0.5)  # in bfloat16


def test_int3_weights_have_eight_values_in_a_group_and_diverge_more_than_int4() -> None:
    loader = Loader(Weights(model="demo", honest=("float32",)))
    model = loader.load("float32")
    text = [(model.encode(INSTRUCT), model.encode(" Rivers are a kind of engine."))]
    far = {}
    for name in ("int3", "int4"):
        other = Loader(loader.weights).load(name)
        (found,) = divergences(model, Sampling(temperature=1.0), other, text, text)
        far[name] = found.kl
    matrix = Loader(loader.weights).load("int3").phi.blocks[0].wide
    assert isinstance(matrix, Matrix)
    assert all(len(row.unique()) <= 8 for row in matrix.weight[:9].view(-1, GROUP))
    assert far["int3"] > 2 * far["int4"] > 0


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
