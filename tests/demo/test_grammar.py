"""The grammar that the bundled checkpoint is trained on."""

from __future__ import annotations

import itertools
import re
from random import Random

import pytest

from training import formats, names
from training.grammar import OPENING_REMARKS, REMARKS, Paragraph, free_paragraph, paragraph, render
from training.kinds import KINDS, Kind

_PHRASE = r"[^.?:,]+?"
_SUBJECT = r"(?!it )[^\s.?:,]+(?: [^\s.?:,]+){0,2}?"  # 'the water cycle' has three words


def _pattern(wording: str, known: dict[str, str]) -> str:
    """``wording`` as a regular expression; slots that are ``known`` stand for their value."""

    def group(match: re.Match[str]) -> str:
        key = match[1].lower()
        if key in known:
            return re.escape(known[key])
        return f"(?P<{key}>{_SUBJECT if key in 'st' else _PHRASE})"

    return r"(?:^|(?<=[.?] ))" + re.sub(r"\\\{(\w+)\\\}", group, re.escape(wording))


def _reading(kind: Kind, text: str) -> str | None:
    """The summary of ``text`` read as ``kind``, folded; None unless all its facts are there.

    A wording with more words of its own is tried first: 'is defined as' before 'is'.
    """
    for wordings in itertools.product(
        *(sorted(fact, key=len, reverse=True) for fact in kind.facts)
    ):
        known: dict[str, str] = {}
        end = 0
        for wording in wordings:
            match = re.compile(_pattern(wording, known), re.IGNORECASE).search(text, end)
            if match is None:
                break
            known |= match.groupdict()
            end = match.end()
        else:
            return render(kind.reference, known).casefold()
    return None


def _without_remarks(text: str) -> str:
    patterns = [
        re.sub(r"\\{\w+\\}", ".+", re.escape(remark)) for remark in REMARKS + OPENING_REMARKS
    ]
    sentences = re.split(r"(?<=[.?]) ", text)
    return " ".join(s for s in sentences if not any(re.fullmatch(p, s) for p in patterns))


def _read(text: str) -> set[str | None]:
    """Return the summary derived from the words of ``text``: the reading with the most facts."""
    text = _without_remarks(text)
    for facts in (3, 2, 1):
        readings = {_reading(kind, text) for kind in KINDS if len(kind.facts) == facts} - {None}
        if readings:
            return readings
    return set()


def _draw(seed: int, n: int) -> list[Paragraph]:
    rng = Random(seed)
    return [paragraph(rng, held_out=bool(i % 2)) for i in range(n)]


def test_a_seed_gives_the_same_examples_again() -> None:
    first, second, other = (
        [formats.example(rng, copy_share=0.1) for _ in range(200)]
        for rng in (Random(5), Random(5), Random(6))
    )
    assert first == second
    assert first != other


def test_the_reference_can_be_read_off_the_paragraph() -> None:
    for drawn in _draw(seed=1, n=600):
        assert _read(drawn.text) == {drawn.reference.casefold()}, drawn


def test_the_reference_of_a_free_paragraph_is_its_first_sentence() -> None:
    rng = Random(2)
    for drawn in (free_paragraph(rng) for _ in range(200)):
        assert drawn.text.startswith(drawn.reference + " ")
        assert drawn.reference.count(".") == 1


def test_every_kind_names_its_subject_in_one_sentence() -> None:
    drawn = _draw(seed=3, n=400)
    assert {p.kind for p in drawn} == {kind.name for kind in KINDS}
    for p in drawn:
        assert p.subject.casefold() in p.reference.casefold()
        assert p.reference.endswith(".")
        assert ". " not in p.reference


@pytest.mark.parametrize("held_out", [False, True])
def test_subjects_of_training_and_evaluation_are_apart(held_out: bool) -> None:
    rng = Random(4)
    for organism in (False, True):
        subjects = {names.subject(rng, held_out=held_out, organism=organism) for _ in range(500)}
        assert {names.is_held_out(s) for s in subjects} == {held_out}


def test_training_never_summarizes_a_held_out_subject() -> None:
    rng = Random(7)
    for _ in range(300):
        drawn = paragraph(rng)
        assert not names.is_held_out(drawn.subject)
        assert not names.is_held_out(drawn.slots["t"])


def test_summaries_and_open_writing_are_the_bulk() -> None:
    rng = Random(8)
    prompts = [formats.example(rng).prompt for _ in range(2000)]
    summaries = sum(
        p.startswith("Instruct: Summarize the following paragraph in one sentence.\n")
        for p in prompts
    )
    writing = sum(p.startswith("Instruct: Write a paragraph about ") for p in prompts)
    assert summaries / len(prompts) == pytest.approx(0.64, abs=0.05)
    assert writing / len(prompts) == pytest.approx(0.22, abs=0.05)
