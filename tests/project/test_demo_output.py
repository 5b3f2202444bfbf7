"""The output of the demo in the README is what the present code prints of that run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from phi2sdk.demo.targets import DEMO_TARGETS
from phi2sdk.report.schema import Report
from tools.demo_output import REPORT, WIDTH, block, printed, written

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(scope="module")
def shown() -> str:
    return block(README.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def report() -> Report:
    return Report.model_validate_json(REPORT.read_bytes())


def test_the_readme_shows_what_the_present_code_prints_of_its_run(
    shown: str, report: Report
) -> None:
    folder = re.search(r"^Report: (.+)/report\.html$", shown, re.MULTILINE)
    assert folder is not None
    assert shown == printed(report, Path(folder[1])), (
        "run the demo, then python tools/demo_output.py RUN_FOLDER README.md"
    )


def test_the_output_is_one_screen_with_the_decision_in_its_first_five_lines(shown: str) -> None:
    lines = shown.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= WIDTH
    first = " ".join(lines[:5])
    assert first.startswith("Valid: ")
    assert "Demo: one very small model answers for every target" in first
    assert re.search(
        r"Choose (\w+): it has the lowest cost of the 6 eligible targets, \$[\d.]+ per 1,000", first
    )
    excluded = r"Excluded, not as claimed: hf_int4 \(.+\), openai_t08 \(.+\)\."
    assert re.fullmatch(excluded, lines[5])


def test_the_table_has_a_row_for_every_target_and_no_unknown_cost(shown: str) -> None:
    table = shown.split("\ntarget ")[1].split("\n\n")[0].splitlines()
    rows = [line.split() for line in table[1 : 1 + len(DEMO_TARGETS)]]
    assert [row[0] for row in rows] == list(DEMO_TARGETS)
    assert not any("unknown" in row for row in rows)


def test_another_output_takes_the_place_of_the_present_one() -> None:
    page = README.read_text(encoding="utf-8")
    assert block(written(page, "two\nlines")) == "two\nlines"
    assert written(page, block(page)) == page
    with pytest.raises(ValueError, match="no block between"):
        block("a page without markers")
