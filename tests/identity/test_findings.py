"""Caps, cuts, white space and repeats are named, undone on both sides, and accuse nobody."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from phi2sdk.identity.findings import (
    Comparable,
    comparable,
    count_finding,
    finish_finding,
    same_words,
)
from phi2sdk.identity.mmd import mmd_test
from phi2sdk.measure.records import Key, Record
from phi2sdk.measure.sampled import Answers
from tests.measure.making import answer

PROMPTS = tuple(f"p{number}" for number in range(12))
WORDS = (
    "the", "a", "of", "rivers", "glass", "moves", "slowly", "under", "cold", "water", "because",
    "most", "old", "ships", "carry", "salt",
)  # fmt: skip
RUNS = 20
LEVEL = 0.05


class Codec:
    """A token is a run of letters with the white space before it, or a mark."""

    def encode(self, text: str) -> list[int]:
        self.text = text
        return list(range(len(self._pieces(text))))

    def decode(self, ids: list[int]) -> str:
        return "".join(self._pieces(self.text)[: len(ids)])

    def _pieces(self, text: str) -> list[str]:
        return re.findall(r"\s*[A-Za-z]{1,4}|\s*\S|\s+$", text)


def written(rng: np.random.Generator, prompt: str) -> str:
    """A text of one to nine sentences; the prompt chooses the words, one in three breaks lines."""
    first = int(prompt[1:]) % 5
    sentences = []
    for _ in range(rng.integers(1, 10)):
        count = int(rng.integers(3, 12))
        chosen = [WORDS[min(len(WORDS) - 1, int(first + rng.geometric(0.2)))] for _ in range(count)]
        sentences.append(" ".join(chosen).capitalize() + ".")
    return " " + ("\n" if rng.random() < 0.33 else " ").join(sentences)


def answers(rng: np.random.Generator, each: int) -> Answers:
    prompts = [prompt for prompt in PROMPTS for _ in range(each)]
    return Answers.of_texts(prompts, [written(rng, prompt) for prompt in prompts])


def changed(own: Answers, change: Callable[[str], str]) -> Answers:
    return Answers.of_texts(own.prompts, [change(text) for text in own.texts])


def _capped(text: str) -> str:
    codec = Codec()
    return codec.decode(codec.encode(text)[:40])


def _cached(own: Answers) -> Answers:
    first: dict[str, str] = {}
    texts = [first.setdefault(p, t) for p, t in zip(own.prompts, own.texts, strict=True)]
    return Answers.of_texts(own.prompts, texts)


HARMLESS: Mapping[str, tuple[str, str, Callable[[Answers], Answers]]] = {
    "capped": ("length", "capped", lambda own: changed(own, _capped)),
    "first sentence": (
        "length",
        "first-sentence",
        lambda own: changed(own, lambda text: text[: text.index(".") + 1]),
    ),
    "cut": (
        "length",
        "cut",
        lambda own: changed(own, lambda text: text[: len(text) * 3 // 5]),
    ),
    "line breaks": (
        "white-space",
        "line-breaks",
        lambda own: changed(own, lambda text: text.replace("\n", " ")),
    ),
    "cached": ("repeats", "repeats", _cached),
}


def look(rng: np.random.Generator, change: Callable[[Answers], Answers], each: int) -> Comparable:
    control = {name: answers(rng, each) for name in ("float32", "bfloat16")}
    return comparable(change(answers(rng, each)), control, Codec(), level=LEVEL)


def rejects(found: Comparable, seed: int) -> bool:
    mine, theirs = by_prompt(found.target), by_prompt(found.control["float32"])
    return mmd_test(mine, theirs, permutations=199, seed=seed).p <= LEVEL


def by_prompt(side: Answers) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {prompt: [] for prompt in side.prompts}
    for prompt, text in zip(side.prompts, side.first_lines(), strict=True):
        texts[prompt].append(text)
    return texts


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_change_is_named_and_not_taken_for_another_model(name: str) -> None:
    subject, kind, change = HARMLESS[name]
    rng = np.random.default_rng(7)
    named = accused = 0
    for run in range(RUNS):
        found = look(rng, change, each=8)
        named += {name: one.kind for name, one in found.findings.items()} == {subject: kind}
        accused += rejects(found, run)
    assert named >= 0.95 * RUNS
    assert accused <= stats.binom.ppf(0.999, RUNS, LEVEL)


def test_without_the_findings_a_cap_would_be_taken_for_another_model() -> None:
    rng = np.random.default_rng(8)
    accused = 0
    for run in range(10):
        own = HARMLESS["capped"][2](answers(rng, 8))
        accused += rejects(Comparable(own, {"float32": answers(rng, 8)}), run)
    assert accused >= 8


def test_honest_answers_have_findings_as_seldom_as_the_level_says() -> None:
    rng = np.random.default_rng(9)
    found = sum(bool(look(rng, lambda own: own, each=3).findings) for _ in range(RUNS))
    assert found <= stats.binom.ppf(0.999, RUNS, LEVEL)


def test_nothing_changes_without_a_finding() -> None:
    rng = np.random.default_rng(10)
    target, control = answers(rng, 3), {"float32": answers(rng, 3)}
    found = comparable(target, control, Codec(), level=1e-9)
    assert found == Comparable(target, control)
    nothing = Answers((), (), (), {})
    assert comparable(nothing, control, Codec(), level=LEVEL) == Comparable(nothing, control)


def test_single_words_are_compared_as_they_are_and_not_cut_to_nothing() -> None:
    rng = np.random.default_rng(12)
    texts = [f" {WORDS[rng.integers(len(WORDS))]}" for _ in range(96)]
    target = Answers.of_texts([prompt for prompt in PROMPTS for _ in range(8)], texts)
    found = comparable(target, {"float32": answers(rng, 8)}, Codec(), level=LEVEL)
    assert found.findings["length"].kind in ("capped", "cut")
    assert len(found.target.texts) > 24
    assert rejects(found, 0)


def test_greedy_answers_show_changed_white_space_where_the_sampled_ones_are_too_few() -> None:
    rng = np.random.default_rng(11)
    target, control = answers(rng, 1), {"float32": answers(rng, 1)}
    found = comparable(target, control, Codec(), level=1e-9, spaces_differ=True)
    assert found.findings["white-space"].kind == "greedy-answers"
    assert not any("\n" in text for text in (*found.target.texts, *found.control["float32"].texts))
    assert all(text.startswith(" ") for text in found.target.texts)


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [("one\ntwo", "one two", True), (" one", "one", False), ("one", "two", False)],
)
def test_only_white_space_inside_of_a_text_counts(a: str, b: str, same: bool) -> None:
    assert same_words(a, b) is same


# ------------------------------------------------------- finish reasons and token counts


def records(texts: Sequence[str], reason: str | None) -> list[Record]:
    return [
        replace(
            answer("1", text=text, raw=text),
            key=Key("sampled", "x", "p", number),
            finish_reason=reason,
        )
        for number, text in enumerate(texts)
    ]


def test_a_finish_reason_of_length_before_max_tokens_is_reported() -> None:
    short = records([" one two three"] * 8, "length")
    found = finish_finding(short, Codec(), 64, None)
    assert found is not None
    assert found.figures["early"] == 8
    assert finish_finding(records([" one two three."] * 8, "stop"), Codec(), 64, None) is None
    assert finish_finding(records([" one two"] * 8, None), Codec(), 64, None) is None
    assert finish_finding(records([" one"] * 2, "length"), Codec(), 64, None) is None


def test_a_finish_reason_of_stop_at_a_cap_in_mid_sentence_is_reported() -> None:
    found = finish_finding(records([" one two three"] * 8, "stop"), Codec(), 64, cap=4)
    assert found is not None
    assert found.figures["unfinished"] == 8
    whole = records([" one two tree."] * 8, "stop")
    assert finish_finding(whole, Codec(), 64, cap=4) is None


@pytest.mark.parametrize(("extra", "reported"), [(0, False), (5, True)])
def test_token_counts_are_reported_where_most_of_them_differ(extra: int, reported: bool) -> None:
    texts = [" one two"] * 8
    own = Answers(("p",) * 8, tuple(texts), ((2 + extra, False),) * 8, {})
    found = count_finding(own.spelt([(1, 2)] * 8))
    assert (found is not None) is reported
    if found is not None:
        assert found.figures == {"differ": 8, "answers": 8, "counted": 56, "tokens": 16}


def test_a_property_of_few_answers_that_a_target_never_has_is_named() -> None:
    """A few of the control's answers break lines, and none of 200 of the target does."""
    rng = np.random.default_rng(1)
    plain = [changed(answers(rng, each), _on_one_line) for each in (17, 34)]
    texts = list(plain[1].texts)
    for at in rng.choice(len(texts), 16, replace=False):
        texts[at] = texts[at].replace(" ", "\n", 2).replace("\n", " ", 1)
    control = Answers.of_texts(plain[1].prompts, texts)
    found = comparable(plain[0], {"float32": control}, Codec())
    assert found.findings["white-space"].kind == "line-breaks"
    always = changed(plain[0], lambda text: " " + text.strip().replace(" ", "\n", 1))
    found = comparable(always, {"float32": control}, Codec())
    assert found.findings["white-space"].kind == "line-breaks"


def _on_one_line(text: str) -> str:
    return " " + " ".join(text.split())
