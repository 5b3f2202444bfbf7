"""The page of an evaluation in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from phi2sdk.report.html.evaluation_page import evaluation_page
from phi2sdk.report.schema import RequirementReport
from tests.report.evaluated import report_on, result, varied
from tests.report.html.conftest import PHONE, Opened
from tests.report.html.making import HOSTILE
from tests.report.html.test_hostile import STEERING, Tags, parts_of

Open = Callable[..., Opened]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("evaluation") / "report.html"
    rules = ["evaluations.boolq.local.accuracy > 0.7", "evaluations.boolq.local_int4.n > 1000"]
    made = report_on(*varied(), require=rules, simulated=["azure"])
    path.write_text(evaluation_page(made), encoding="utf-8")
    return path


@pytest.mark.parametrize("options", [{}, {"viewport": PHONE, "color_scheme": "dark"}])
def test_the_page_draws_scores_intervals_and_published_figures(
    path: Path, open_page: Open, options: dict[str, object]
) -> None:
    found = open_page(path, **options)
    chart = found.page.locator("#plot-scores svg")
    # boolq and gsm8k have three targets, squad has two with a score; wikitext has no share.
    expect(chart.locator("[data-mark=dot] circle")).to_have_count(8)
    expect(chart.locator("[data-mark='y-rule'] line, [data-mark=rule] line").first).to_be_attached()
    expect(chart.get_by_text("published 83.3%")).to_be_visible()
    expect(chart.get_by_text("published 61.1%")).to_have_count(0)
    expect(chart.get_by_text("wikitext")).to_have_count(0)
    assert found.complaints == []
    assert [url for url in found.requests if not url.startswith("file:")] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_violation(path: Path, open_page: Open, scheme: str) -> None:
    page = open_page(path, color_scheme=scheme, viewport=PHONE).page
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    page.get_by_role("button", name="Expand all").click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_the_tables_have_the_numbers_and_can_be_sorted(path: Path, open_page: Open) -> None:
    page = open_page(path).page
    table = page.locator("#score-table")
    expect(table.locator("tbody tr")).to_have_count(11)
    expect(table.locator("tbody tr").first).to_contain_text("83.7")
    table.get_by_role("button", name="Sort by score").click()
    expect(table.locator("tbody tr").first).to_contain_text("squad")
    expect(page.locator("#comparison-table .outcome.fails")).to_have_text(["worse", "worse"])
    expect(page.locator(".requirements .fails")).to_have_count(1)


def test_every_column_links_to_a_definition_and_every_link_leads_somewhere(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    ids = set(re.findall(r'\bid="([^"]+)"', text))
    links = set(re.findall(r'href="#([^"]+)"', text))
    assert {"term-score", "term-score-difference", "comparison"} <= links
    assert links <= ids


def test_text_from_outside_is_text() -> None:
    everything = " ".join(HOSTILE).replace("\ud800", "")
    made = report_on(
        result(everything, everything, not_comparable=everything),
        result(everything, "azure", [None] * 9),
        figures={},
    )
    rule = RequirementReport(requirement=everything, holds=False, outcome="fails")
    text = evaluation_page(made.model_copy(update={"requirements": (rule,)}))
    markup, data = parts_of(text)
    assert STEERING.findall(markup) == STEERING.findall(data) == []
    assert "<" not in data
    assert json.loads(data)["targets"][1]["name"] == "azure"
    tags = {tag for tag, _ in Tags(markup).found}
    assert {"img", "iframe", "object", "embed", "base", "link"}.isdisjoint(tags)
    attributes = {name for _, found in Tags(markup).found for name in found}
    assert [name for name in attributes if name.startswith("on")] == []


def test_an_evaluation_without_shares_has_no_chart() -> None:
    made = report_on(result(metric="loss", values=[2.5, 3.5] * 10))
    assert "plot-scores" not in evaluation_page(made).split("<script")[0]
