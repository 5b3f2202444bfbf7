"""Each way in which answers can differ is told by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi2sdk.analysis.agreement import pair_up
from phi2sdk.analysis.diagnosis import Cause, Diagnosis, Unexplained, diagnose
from phi2sdk.analysis.regret import AnswerRegret, Regret, TargetRegret
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from tests.measure.making import answer, failure

TOKENIZER = estimating_tokenizer()
SENTENCE = "the sea is deep and cold and full of fish that nobody has ever counted so far"
WORDS = SENTENCE.split()


def reference(count: int = 20) -> list[Record]:
    return [answer(f"p{i}", text=" ".join(WORDS[i % 3 :]), raw=written(i)) for i in range(count)]


def written(i: int) -> str:
    return " " + " ".join(WORDS[i % 3 :])


def changed(change: Callable[[str], str], count: int = 20) -> list[Record]:
    return [
        answer(f"p{i}", text=change(written(i)).strip(), raw=change(written(i)))
        for i in range(count)
    ]


def found(other: list[Record], regret: TargetRegret | None = None) -> Diagnosis:
    diagnosis = diagnose(pair_up(reference(), other), TOKENIZER, regret)
    assert diagnosis is not None
    return diagnosis


def regrets(*values: float, tie: float = 0.01) -> TargetRegret:
    """The answer to prompt i parts at token 4, where its regret is the i-th value."""
    forks = []
    for i, value in enumerate(values):
        first = (4, value) if value > tie else (None, None)
        forks.append(AnswerRegret(f"p{i}", (0,), Regret(9, 1, value, value, *first)))
    return TargetRegret(tie, len(values), 9 * len(values), len(values), max(values), tuple(forks))


def replaced(text: str) -> str:
    return text.replace("fish", "ships")


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (lambda text: text, "equal"),
        (str.strip, "white space"),
        (lambda text: f"Well, {text}", "beginning"),
        (lambda text: f"{text} because the sea is large", "runs on"),
        (lambda text: "", "empty"),
        (replaced, "not scored"),
    ],
)
def test_each_signature_gives_its_cause(change: Callable[[str], str], cause: Cause) -> None:
    assert found(changed(change)).cause == cause


def test_answers_that_all_end_at_one_place_were_cut_there() -> None:
    cut = found(changed(lambda text: " ".join(text.split(" ")[:8])))
    assert (cut.cause, cut.cut_at) == ("cut short", 7)
    ends = found(
        [
            answer(f"p{i}", text=" ".join(written(i).split()[: 2 + i % 12]), raw=f"{i}")
            for i in range(20)
        ]
    )
    assert (ends.cause, ends.cut_at) == ("cut short", None)


def test_what_differs_only_past_the_stop_was_not_stopped_there() -> None:
    other = [answer(r.key.prompt, text=r.text, raw=f"{r.raw}\nInstruct: more") for r in reference()]
    assert found(other).cause == "stop kept"


@pytest.mark.parametrize(
    ("values", "cause"),
    [
        ([0.001] * 20, "numerics"),
        ([0.001] * 18 + [2.3], "few unexplained"),
        ([0.4] * 20, "another precision"),
        ([4.0] * 20, "another model"),
    ],
)
def test_the_regret_tells_numerics_from_another_model(values: list[float], cause: Cause) -> None:
    same = len(values) < 20
    other = changed(replaced)[: len(values)] + (reference()[len(values) :] if same else [])
    diagnosis = found(other, regrets(*values))
    assert diagnosis.cause == cause
    assert diagnosis.tie == 0.01


@pytest.mark.parametrize(("template", "cause"), [("chat", "another template"), (None, "beginning")])
def test_another_template_is_asserted_only_where_the_weights_would_have_written_in_it(
    template: str | None, cause: Cause
) -> None:
    other = changed(lambda text: f"Well, {text}")
    assert found(other).cause == "beginning"
    diagnosis = found(other, replace(regrets(*[4.0] * 20), template=template))
    assert (diagnosis.cause, diagnosis.template) == (cause, template)


def test_the_worst_unexplained_token_is_named() -> None:
    diagnosis = found(changed(replaced), regrets(*[0.001] * 18, 2.3, 0.5))
    assert diagnosis.unexplained == Unexplained("p18", 5, 2.3)
    assert diagnosis.kinds == {"tie": 18, "unexplained": 2}


def test_a_target_with_a_different_answer_each_time_samples() -> None:
    a = [answer(f"p{i}", repetition=r, text="one two three") for i in range(10) for r in (0, 1)]
    b = [answer(f"p{i}", repetition=r, text=f"one two {r}") for i in range(10) for r in (0, 1)]
    diagnosis = diagnose(pair_up(a, b), TOKENIZER)
    assert diagnosis is not None
    assert (diagnosis.cause, diagnosis.varies) == ("sampling", 10)


def test_without_a_pair_there_is_nothing_to_say() -> None:
    assert diagnose(pair_up([answer("p")], [failure("p")]), TOKENIZER) is None


texts = st.text(alphabet="ab \n\u0301é🙂\x00\x1b", max_size=8)


@given(st.lists(st.tuples(texts, texts, st.booleans()), max_size=6))
@settings(max_examples=100)
def test_whatever_was_answered_is_counted(sides: list[tuple[str, str, bool]]) -> None:
    a = [answer(f"p{i}", text=x.strip(), raw=x) for i, (x, _, _) in enumerate(sides)]
    b = [
        answer(f"p{i}", text=y.strip(), raw=y) if ok else failure(f"p{i}")
        for i, (_, y, ok) in enumerate(sides)
    ]
    pairing = pair_up(a, b)
    diagnosis = diagnose(pairing, TOKENIZER)
    if diagnosis is None:
        assert not pairing.pairs
        return
    differ = sum(x != y for x, y, ok in sides if ok)
    assert diagnosis.differ == sum(diagnosis.kinds.values()) == differ
    assert (diagnosis.cause == "equal") == (differ == 0)
