"""A text is judged in the pieces in which the model would have written it."""

from __future__ import annotations

import json

import pytest

from phi2sdk.analysis.agreement import pair_up
from phi2sdk.analysis.regret import (
    TIE,
    Greedy,
    Regret,
    Scored,
    TargetRegret,
    greedy_answers,
    near_tie,
    regret_of,
    score_greedy,
)
from phi2sdk.analysis.retokenize import score_as_written
from phi2sdk.backends.engine import LocalModel
from phi2sdk.logprobs import Score
from phi2sdk.prompts import instruct
from phi2sdk.sampling import Sampling
from tests.measure.making import answer, failure

SUBJECTS = ("lead", "Zorblathe", "the K2-18 mill", "naïve café tea", "rain", "old oats")
PROMPTS = {name: instruct(f"Write a paragraph about {name}.").text for name in SUBJECTS}


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel.load("demo", dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def written(model: LocalModel) -> dict[str, str]:
    """The model's own greedy answers."""
    sampling = Sampling(max_tokens=32, temperature=0.0)
    return {
        name: "".join(step.text for step in model.tokens(prompt, sampling) if not step.special)
        for name, prompt in PROMPTS.items()
    }


def test_the_models_own_text_has_no_regret_whatever_its_pieces(
    model: LocalModel, written: dict[str, str]
) -> None:
    found = score_greedy(model, PROMPTS, [Greedy(name, (0,), written[name]) for name in SUBJECTS])
    for scored in found:
        assert scored is not None
        regret = Regret.of(scored)
        assert (regret.off, regret.first) == (0, None)
        assert regret.maximum < 1e-4
        assert regret.tokens > 3


def test_a_text_that_was_cut_inside_a_piece_is_judged_up_to_there(
    model: LocalModel, written: dict[str, str]
) -> None:
    text = written["rain"]
    beginnings = [text[:end] for end in range(1, len(text))]
    scores = score_as_written(model, [(PROMPTS["rain"], beginning) for beginning in beginnings])
    for beginning, score in zip(beginnings, scores, strict=True):
        assert score is not None
        assert max(score.regret, default=0.0) < 1e-4
        assert beginning.startswith(b"".join(map(model.piece, score.ids)).decode())


def test_another_word_is_found_where_it_stands(model: LocalModel, written: dict[str, str]) -> None:
    words = written["rain"].split(" ")
    other = " ".join([*words[:4], "quarrels", *words[5:]])
    pairing = pair_up([answer("rain", text="a", raw=written["rain"])],
                      [answer("rain", text="b", raw=other)])  # fmt: skip
    answers = greedy_answers(pairing)
    found = regret_of(answers, score_greedy(model, PROMPTS, answers))
    (fork,) = found.forks
    assert fork.regret.at_fork is not None
    assert fork.regret.at_fork > 1
    assert fork.regret.at_fork == fork.regret.at_first
    assert found.maximum >= fork.regret.at_fork
    assert TargetRegret.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_what_cannot_be_scored_is_left_out_and_the_rest_is_not(model: LocalModel) -> None:
    endless = "rain " * 3000
    texts = ["", "\ufffd", " rain", "é\x00\x1b[31m 雨 🙂", endless]
    empty, broken, short, strange, long = score_as_written(
        model, [(PROMPTS["rain"], text) for text in texts]
    )
    assert empty is None
    assert broken is None
    assert short is not None
    assert strange is not None
    assert long is not None
    assert len(long.ids) < model.context_length
    assert score_as_written(model, [(endless, "rain"), ("", "rain")]) == [None, None]


def test_trimmed_white_space_is_put_back_and_equal_texts_count_once() -> None:
    a = [answer("p", repetition=r, text="one two", raw=" one two") for r in (0, 1)]
    b = [answer("p", repetition=r, text="one two", raw="one two") for r in (0, 1)]
    assert greedy_answers(pair_up(a, b)) == [Greedy("p", (0, 1), " one two", None)]
    c = [answer("p", text="one three", raw="one three"), failure("p", repetition=1)]
    assert greedy_answers(pair_up(a, c)) == [Greedy("p", (0,), " one three", 6)]
    assert greedy_answers(pair_up(a, [answer("p", text="", raw="")])) == []


def scored(margins: tuple[float, ...], argmax: tuple[int, ...]) -> Score:
    none = (0.0,) * len(margins)
    return Score(argmax, none, none, none, argmax, none, margins)


def test_what_is_a_tie_comes_from_the_honest_precisions() -> None:
    a = scored((0.5, 0.02, 3.0), (1, 2, 3))
    assert near_tie([]) == near_tie([(a, a)]) == TIE
    b = scored((0.45, 0.03, 3.01), (1, 9, 3))  # at the second token the other one is more likely
    assert near_tie([(a, b)]) == pytest.approx(1.5 * 0.05)
    many = [(scored((1.0,), (1,)), scored((1.01,), (1,)))] * 200
    assert near_tie([*many, (scored((9.0,), (1,)), scored((5.0,), (1,)))]) == pytest.approx(0.015)


def test_a_token_of_no_probability_has_a_regret_that_can_be_written_down() -> None:
    never = Score((1,), (float("-inf"),), (0,), (0,), (2,), (-0.1,), (9.0,))
    found = regret_of([Greedy("p", (0,), "x", 0)], [Scored(never, 0)])
    assert found.maximum == 1e4
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["maximum"] == 1e4


def test_a_regret_is_above_what_is_a_tie_or_not() -> None:
    score = Score((1, 2), (-1.0, -0.5), (0, 0), (0, 0), (1, 3), (-1.0, -0.4), (0, 0))
    regret = Regret.of(Scored(score, 1), 0.2)
    assert (regret.tokens, regret.off, regret.first) == (2, 1, None)
    assert regret.at_fork == regret.maximum == pytest.approx(0.1)
    assert Regret.of(Scored(score, 9)).first == 1
    assert Regret.of(Scored(score, 9)).at_fork is None
