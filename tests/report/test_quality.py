"""Quality in the report: from the run's folder to what a reader sees."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import Run
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.prompts import summarize
from phi2sdk.report.build import build
from phi2sdk.report.markdown import markdown
from phi2sdk.report.options import Analysis
from phi2sdk.report.quality import sections
from phi2sdk.report.schema import Report, published_schema
from tests.measure.making import answer, failure
from tests.report.making import report_of, run_of, screen, shown_sections

SOURCES = {
    f"p{i}": f"In 19{i}0 the painter Anna{i} sold {i} works in Rome. Then rain fell."
    for i in range(8)
}
SCHEMA = jsonschema.Draft202012Validator(json.loads(published_schema()))
REFERENCES = {f"p{i}": f"The painter Anna{i} sold works in Rome." for i in range(8)}


def asked(records: list[Record], *, references: bool = True, task: str = "summarize") -> Run:
    run = run_of(records)
    prompts = {id: summarize(text).text for id, text in SOURCES.items()}
    more = {"references": REFERENCES} if references else {}
    return replace(
        run,
        info={
            **run.info,
            "configuration": {**run.configuration, "prompts": prompts, "task": task, **more},
        },
    )


def good_and_bad() -> list[Record]:
    made = [answer(id, target="good", text=text) for id, text in REFERENCES.items()]
    made += [
        answer(id, target="bad", text=f"In 2001 the famous Bob sang. {text} And so on and on.")
        for id, text in REFERENCES.items()
    ]
    return [*made, *(failure(id, target="broken") for id in REFERENCES)]


def report(run: Run) -> Report:
    return build(run, estimating_tokenizer())


def test_a_good_answer_scores_above_one_that_makes_things_up() -> None:
    targets = report(asked(good_and_bad())).targets
    good, bad = targets["good"].quality, targets["bad"].quality
    assert good is not None
    assert bad is not None
    assert targets["broken"].quality is None
    assert good.rouge_l is not None
    assert bad.rouge_l is not None
    assert good.rouge_l.value.value == 1 > bad.rouge_l.value.value
    assert good.rouge_l.baseline is not None
    assert 0.5 < good.rouge_l.baseline < 1
    assert good.faithful is not None
    assert bad.faithful is not None
    assert (good.faithful.value.value, good.unsupported and good.unsupported.value) == (1, 0)
    assert bad.faithful.value.value == 0.5  # 2001 and Bob, beside Anna and Rome
    assert bad.unsupported is not None
    assert bad.unsupported.value == 1
    assert good.past_first_sentence is not None
    assert good.past_first_sentence.value == 0
    assert good.unknown == {"cosine": "no --quality-model was given"}


def test_the_words_of_the_template_support_nothing() -> None:
    records = [answer(id, text="They sold 1 of Them.") for id in REFERENCES]
    found = report(asked(records)).targets["t"].quality
    assert found is not None
    assert found.faithful is not None
    assert found.faithful.value.value == pytest.approx(1 / 16)  # p1 alone has the number


def test_the_table_shows_what_there_is() -> None:
    whole = report(asked(good_and_bad()))
    (section,) = sections(whole)
    assert [column.title for column in section.columns] == [
        "target",
        "ROUGE-L",
        "chrF",
        "faithful facts",
        "unsupported facts (%)",
        "tokens per answer",
        "length ratio",
        "after first sentence (%)",
    ]
    assert section.rows[0][1].text == "1.000"
    assert section.rows[0][1].below.startswith("chance 0.")
    assert section.rows[1][4].text == "100"
    (bare,) = sections(report(asked(good_and_bad(), references=False, task="prompt")))
    assert [column.title for column in bare.columns] == [
        "target",
        "tokens per answer",
        "after first sentence (%)",
    ]
    assert any("no references" in line for line in bare.lines)
    assert "## Quality of the answers" in markdown(whole)
    assert all(len(line) <= 80 for line in shown_sections(whole, "quality").splitlines())


def test_a_quality_model_that_is_not_there_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ConfigurationError, match="no quality model"):
        Analysis(quality_model=Path("missing")).check(["t"])


answers = st.text(alphabet="aB1. é猫\x00\x1b\n,\u0301\u202e", max_size=12)


@given(st.data())
@settings(max_examples=25, deadline=None)
def test_no_report_has_nan_or_infinity(data: st.DataObject) -> None:
    records: list[Record] = []
    for target in ("a", "b", "c"):
        for i in range(data.draw(st.integers(0, 3))):
            for repetition in range(data.draw(st.integers(1, 2))):
                text = data.draw(answers)
                ok = data.draw(st.booleans())
                made = (
                    answer(
                        f"p{i}", target=target, repetition=repetition, text=text.strip(), raw=text
                    )
                    if ok
                    else failure(f"p{i}", target=target, repetition=repetition)
                )
                records.append(made)
    if not records:
        return
    found = report(asked(records, references=data.draw(st.booleans())))
    document = json.loads(found.to_json(), parse_constant=_refused)
    SCHEMA.validate(document)
    _no_nan(found.model_dump())
    assert screen(found)
    assert shown_sections(found)
    markdown(found)


def _refused(name: str) -> float:
    raise AssertionError(f"{name} in the report")


def _no_nan(value: object) -> None:
    if isinstance(value, dict):
        for one in value.values():
            _no_nan(one)
    elif isinstance(value, list | tuple):
        for one in value:
            _no_nan(one)
    elif isinstance(value, float):
        assert abs(value) < float("inf"), value


def test_no_number_is_infinite_in_a_report_without_answers() -> None:
    _no_nan(report_of([failure("p", target="a"), failure("p", target="b")]).model_dump())
