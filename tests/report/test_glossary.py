"""The glossary: one definition for each term, behind every column of every table."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from phi2sdk.analysis.metrics import SCHEDULE_LAG, latencies
from phi2sdk.report import agreement, identity, overview
from phi2sdk.report.glossary import GLOSSARY, alphabetical, anchor
from phi2sdk.report.glossary_evaluation import EVALUATION
from phi2sdk.report.markdown import markdown
from phi2sdk.report.schema import Report
from phi2sdk.report.section import Column, Section
from phi2sdk.text import for_markdown
from tests.report.html.making import EVERYTHING, examined_as, page_of, varied_run
from tools.glossary import document

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "glossary.md"


@pytest.fixture(scope="module")
def made() -> tuple[Report, str]:
    return page_of(varied_run(), EVERYTHING, **examined_as("local", "hourly"))


def every_section(report: Report) -> list[Section]:
    examined = [
        table
        for one in identity.examined(report)
        for table in (one.evidence, one.candidates)
        if table is not None
    ]
    matrices = [agreement.matrix(report, measure) for measure in agreement.MEASURES]
    _, calibrations = identity.calibration(report.identity_calibration)
    sections = [*overview.sections(report), *matrices, *examined, *calibrations]
    return [overview.overview(report), *sections]


def test_a_column_without_a_term_cannot_be_made() -> None:
    with pytest.raises(KeyError, match="no_such_term"):
        Column("a title", "no_such_term")
    with pytest.raises(KeyError, match="p12"):
        Column("TTFT p12", "ttft", "p12")


def test_every_column_of_every_section_has_a_definition(made: tuple[Report, str]) -> None:
    sections = every_section(made[0])
    assert len(sections) > 15
    for section in sections:
        for column in section.columns:
            assert column.term in GLOSSARY
            assert column.meaning.startswith(GLOSSARY[column.term].meaning)


def test_every_column_of_the_page_links_to_a_definition_on_the_page(
    made: tuple[Report, str],
) -> None:
    text = made[1]
    links = set(re.findall(r'class="term" href="#([^"]+)"', text))
    assert {"term-ttft", "term-cost", "term-same-model", "term-exact-match"} <= links
    assert links <= set(re.findall(r'<div id="([^"]+)"', text))


def test_the_page_of_a_comparison_does_not_define_the_terms_of_an_evaluation(
    made: tuple[Report, str],
) -> None:
    assert 'id="term-ttft"' in made[1]
    assert [key for key in EVALUATION if f'id="{anchor(key)}"' in made[1]] == []


def test_a_definition_is_made_of_complete_sentences_and_stands_once() -> None:
    assert len({term.name for term in GLOSSARY.values()}) == len(GLOSSARY)
    for term in GLOSSARY.values():
        assert term.meaning[0].isupper() or term.meaning.startswith(term.name)
        assert term.meaning.endswith(".")
        assert len(term.meaning) < 200
        assert not term.more or term.more.endswith(".")
    names = [term.name.casefold() for _, term in alphabetical()]
    assert names == sorted(names)


def test_every_latency_has_a_definition_with_its_formula() -> None:
    report_of_latencies = latencies(None)  # type: ignore[arg-type]
    for metric in (*report_of_latencies, SCHEDULE_LAG):
        assert GLOSSARY[metric.name].formula
    assert [field.name for field in fields(SCHEDULE_LAG)] == ["name", "values"]


def test_an_anchor_can_be_part_of_an_address() -> None:
    assert anchor("p_value") == "term-p-value"
    assert all(re.fullmatch(r"term-[a-z0-9-]+", anchor(key)) for key in GLOSSARY)
    with pytest.raises(KeyError, match="glossary has no term"):
        anchor("unknown")


def test_the_documentation_has_the_same_definitions() -> None:
    assert PAGE.read_text(encoding="utf-8") == document(), (
        "run python tools/glossary.py > docs/reference/glossary.md"
    )


def test_markdown_explains_each_term_of_its_first_table_once(made: tuple[Report, str]) -> None:
    text = markdown(made[0])
    explained = text[text.index("## Definitions of the columns") :].split("\n## ")[0]
    for key in ("cost", "ttft", "e2e", "p50", "p95", "exact_match", "same_model"):
        assert explained.count(for_markdown(GLOSSARY[key].meaning)) == 1
