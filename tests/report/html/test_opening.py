"""The page in a browser: it opens anywhere, offends nobody, and fits."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ViewportSize, expect

from tests.measure.making import answer, failure
from tests.report.html.conftest import DESKTOP, PHONE, Opened
from tests.report.html.making import write_page
from tests.report.making import run_of

Open = Callable[..., Opened]

LOOKS = [
    pytest.param({}, id="light"),
    pytest.param({"color_scheme": "dark"}, id="dark"),
    pytest.param({"viewport": PHONE}, id="phone"),
    pytest.param({"viewport": PHONE, "color_scheme": "dark"}, id="phone, dark"),
]
CHARTS = ("cost-p95", "cost-same", "ecdf", "ladder", "time", "curve", "parting")


@pytest.mark.parametrize("look", LOOKS)
def test_it_opens_without_network_and_without_complaint(
    look: dict[str, object], open_page: Open, varied: Path
) -> None:
    opened = open_page(varied, **look)
    assert opened.complaints == []
    assert opened.requests == [varied.as_uri()]
    for name in CHARTS:
        assert opened.page.locator(f"#plot-{name} svg path, #plot-{name} svg circle").count() > 0


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_no_violation(look: dict[str, object], open_page: Open, varied: Path) -> None:
    page = open_page(varied, **look).page
    page.select_option("#filter", "differs")
    page.locator(".prompt summary").first.click()
    expect(page.locator(".answer")).to_have_count(5)
    page.evaluate(
        "document.querySelectorAll('details').forEach(d => { d.open = d.open || "
        "d.className === 'numbers'; })"
    )
    expect(page.locator("[data-candidates] svg rect")).to_have_count(2)
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE, ViewportSize(width=768, height=1024)])
def test_nothing_sticks_out_sideways(viewport: ViewportSize, open_page: Open, varied: Path) -> None:
    page = open_page(varied, viewport=viewport).page
    page.locator(".prompt summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


def test_the_first_screen_holds_the_verdict_and_the_table(open_page: Open, varied: Path) -> None:
    page = open_page(varied).page
    first_screen = "e => e.getBoundingClientRect().bottom <= innerHeight"
    assert page.locator(".validity").first.evaluate(first_screen)
    assert page.locator("h1").evaluate(first_screen)
    assert page.locator("h1").inner_text().startswith("cheap")
    assert page.locator("#decision-table tbody tr").first.evaluate(first_screen)


def test_the_theme_follows_the_system_and_the_switch(open_page: Open, varied: Path) -> None:
    page = open_page(varied, color_scheme="dark").page

    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    dark = ground()
    button = page.get_by_role("button", name="Theme")
    button.click()
    assert button.inner_text() == "Theme: light"
    light = ground()
    assert light != dark
    button.click()
    assert button.inner_text() == "Theme: dark"
    assert ground() == dark
    page.reload()
    assert button.inner_text() == "Theme: dark"


def test_it_prints_whole(open_page: Open, varied: Path) -> None:
    """A4 and Letter, landscape: no table is wider than the paper, no chart is missing."""
    page = open_page(varied, viewport={"width": 1032, "height": 700}).page
    page.emulate_media(media="print")
    wide = page.evaluate(
        "[...document.querySelectorAll('.scroll, .plot, main')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1 || e.getBoundingClientRect().right > 1033)"
        ".map(e => e.getAttribute('aria-label'))"
    )
    assert wide == []
    assert page.locator(".bar").is_hidden()
    for paper in ("A4", "Letter"):
        pdf = page.pdf(format=paper, landscape=True)
        assert 5 < len(re.findall(rb"/Type\s*/Page\b", pdf)) < 40


def test_the_keyboard_reaches_and_works_everything(open_page: Open, varied: Path) -> None:
    page = open_page(varied).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("#metric input[value=e2e]").focus()
    page.keyboard.press("ArrowLeft")
    assert page.locator("#metric input[value=ttft]").is_checked()
    assert "first token" in (page.locator("#plot-ecdf svg").get_attribute("aria-label") or "")
    head = page.locator("#decision-table th", has_text="E2E p50")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    page.locator(".prompt summary").nth(3).focus()
    page.keyboard.press("Enter")
    expect(page.locator(".prompt").nth(3).locator(".answer")).to_have_count(5)
    focusable = page.evaluate(
        "[...document.querySelectorAll('a, button, input, select, summary, .scroll')]"
        ".filter(e => e.tabIndex < 0).length"
    )
    assert focusable == 0


def test_a_run_with_next_to_nothing_opens_too(open_page: Open, tmp_path: Path) -> None:
    opened = open_page(write_page(tmp_path, run_of([answer("only")])))
    assert opened.complaints == []
    assert "No choice" in opened.page.locator("h1").inner_text()
    assert opened.page.locator(".prompt").count() == 1


def test_a_run_in_which_nothing_was_answered_opens_too(open_page: Open, tmp_path: Path) -> None:
    run = run_of([failure(f"p{i}", target=name) for i in range(3) for name in ("a", "b")])
    opened = open_page(write_page(tmp_path, run))
    assert opened.complaints == []
    assert opened.page.locator(".validity.bad").count() == 1
    assert opened.page.locator("#matching").inner_text() == "3 prompts"


def test_a_price_of_zero_is_told_apart_from_an_unknown_one(open_page: Open, tmp_path: Path) -> None:
    price = {"model": "per-request", "usd": 0.0, "source": "a gift", "date": "2026-11-01"}
    records = [answer(f"p{i}", target=name) for i in range(8) for name in ("a", "b")]
    run = run_of(records, prices={"a": {"parts": [price]}})
    opened = open_page(write_page(tmp_path, run))
    assert opened.complaints == []
    said = opened.page.locator("#unplaced").inner_text()
    assert "b, whose cost is unknown" in said
    assert "a, at a price of 0" in said
    cells = opened.page.locator("#decision-table tbody tr td:nth-of-type(2)").all_inner_texts()
    assert cells[0].startswith("$0")
    assert cells[1].startswith("unknown")
