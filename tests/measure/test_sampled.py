"""Which sampled answers are used, and what is said of the others."""

from __future__ import annotations

from dataclasses import replace

from phi2sdk.completion import Count, Usage
from phi2sdk.measure.records import Record
from phi2sdk.measure.sampled import Answers, leading_space, usable
from phi2sdk.prompts import END_OF_TEXT
from tests.measure.making import answer, failure


def sampled(text: str, **changes: object) -> Record:
    return replace(answer(arm="sampled", text=text, raw=text), **changes)  # type: ignore[arg-type]


def test_what_cannot_be_scored_is_counted_by_its_cause() -> None:
    found = usable(
        [
            sampled(" one two"),
            sampled(""),
            sampled(END_OF_TEXT),
            sampled(" half \ufffd"),
            sampled(" no", outcome="filtered"),
            failure(),
            failure(outcome="timeout", error="Timeout"),
        ]
    )
    assert found.texts == (" one two",)
    assert found.left_out == {"empty": 2, "failed": 2, "filtered": 1, "not re-tokenized": 1}


def test_what_comes_after_the_end_of_text_is_not_the_answers() -> None:
    assert usable([sampled(f" one{END_OF_TEXT} two")]).texts == (" one",)


def test_white_space_that_a_provider_trims_is_put_back() -> None:
    assert leading_space([" a", " b", " c"]) == " "
    assert leading_space(["\n\na", "b", "c"]) is None
    assert leading_space([]) is None
    trimmed = usable([sampled("one"), sampled("two")], leading=" ")
    assert trimmed.texts == (" one", " two")
    assert trimmed.restored == " "
    own = usable([sampled(" one"), sampled("two")], leading=" ")
    assert own.texts == (" one", "two")
    assert own.restored is None


def test_answers_that_the_provider_counts_differently_are_reported() -> None:
    usage = Usage(Count(3), Count(5))
    records = [sampled(" a b", usage=usage), sampled(" c d", usage=usage, finish_reason="length")]
    found = usable(records).spelt([(1, 2, 3, 4), (1, 2, 3, 4)])
    assert found.counts_differ == 1  # the first may have counted end-of-text
    assert usable([sampled(" a", usage=Usage())]).spelt([(1,)]).counts_differ == 0


def test_only_first_lines_are_compared_as_texts() -> None:
    found = Answers.of_texts(["p", "p", "q"], [" one \nInstruct: more", "\n two", ""])
    assert found.first_lines() == ("one", "two")


def test_a_route_that_wraps_is_told() -> None:
    assert usable([sampled(" a", wrapped=True)]).wrapped
