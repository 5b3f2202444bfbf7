"""The page in a browser: it opens offline, is accessible, and fits the screen."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ViewportSize, expect

from tests.measure.making import answer, failure
from tests.report.html.conftest import DESKTOP, PHONE, Opened, expand
from tests.report.html.making import examined_as, large_run, page_of, varied_run, write_page
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
def test_it_opens_without_network_and_without_errors(
    look: dict[str, object], open_page: Open, varied: Path
) -> None:
    opened = open_page(varied, **look)
    assert opened.complaints == []
    assert opened.requests == [varied.as_uri()]
    expand(opened.page)
    for name in CHARTS:
        assert opened.page.locator(f"#plot-{name} svg path, #plot-{name} svg circle").count() > 0


@pytest.mark.parametrize("look", LOOKS)
def test_axe_finds_no_violation(look: dict[str, object], open_page: Open, varied: Path) -> None:
    page = open_page(varied, **look).page
    collapsed = Axe().run(page)
    assert collapsed.violations_count == 0, collapsed.generate_report()
    expand(page)
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
def test_the_page_fits_the_screen(viewport: ViewportSize, open_page: Open, varied: Path) -> None:
    page = open_page(varied, viewport=viewport).page
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]
    expand(page)
    page.locator(".prompt summary").first.click()
    assert page.evaluate("document.documentElement.scrollWidth") == viewport["width"]


def test_a_long_sentence_in_a_table_is_not_wrapped_word_by_word_on_a_phone(
    open_page: Open, tmp_path: Path
) -> None:
    parts = examined_as("local", "hourly")
    one = parts["identity"]["hourly"]
    long = one.evidence["score"].model_copy(update={"sentence": "A long sentence. " * 8})
    parts["identity"]["hourly"] = one.model_copy(update={"evidence": {"score": long}})
    page = open_page(write_page(tmp_path, varied_run(), **parts), viewport=PHONE).page
    expand(page)
    heights = page.locator("#identity tr").evaluate_all("rows => rows.map(e => e.offsetHeight)")
    assert 0 < max(heights) < 250


ON_SCREEN = (
    "e => { const b = e.getBoundingClientRect();"
    " return b.top >= 0 && b.bottom <= innerHeight && b.right <= innerWidth; }"
)


def test_the_first_screen_has_validity_decision_and_the_whole_table(
    open_page: Open, tmp_path: Path
) -> None:
    page = open_page(write_page(tmp_path, large_run(prompts=8, targets=8))).page
    rows = page.locator("#decision-table tbody tr")
    assert rows.count() == 8
    for part in (page.locator(".validity").first, page.locator("h1"), *rows.all()):
        assert part.evaluate(ON_SCREEN)
    assert page.locator("#decision-table thead th").last.evaluate(ON_SCREEN)


def test_the_page_is_short_until_a_section_is_opened(open_page: Open, varied: Path) -> None:
    page = open_page(varied).page
    height = "document.documentElement.scrollHeight"
    assert page.evaluate(height) < 3000
    page.locator("summary", has_text="Latency").click()
    expect(page.locator("#plot-ladder svg")).to_be_visible()
    expand(page)
    assert page.evaluate(height) > 8000
    page.get_by_role("button", name="Collapse all").click()
    expect(page.locator("details.fold[open]")).to_have_count(0)


@pytest.mark.parametrize("viewport", [DESKTOP, PHONE])
def test_the_navigation_opens_every_section(
    viewport: ViewportSize, open_page: Open, varied: Path
) -> None:
    page = open_page(varied, viewport=viewport).page
    links = page.locator("#sections a")
    menu = page.get_by_role("button", name="Sections")
    assert menu.is_visible() == (viewport == PHONE)
    assert links.count() == 1 + page.locator("details.fold").count()
    for link in links.all():
        if menu.is_visible():
            menu.click()
        assert link.evaluate(ON_SCREEN)
        link.click()
        target = page.locator(str(link.get_attribute("href")))
        expect(target).to_be_visible()
        expect(target).to_be_in_viewport()
    expect(page.locator("details.fold:not([open])")).to_have_count(0)
    if viewport == PHONE:
        expect(links.first).to_be_hidden()


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without scripts"])
@pytest.mark.parametrize("name", ["identity", "term-ttft"])
def test_a_deep_link_opens_its_section(
    name: str, scripts: bool, open_page: Open, varied: Path
) -> None:
    page = open_page(varied, f"#{name}", java_script_enabled=scripts).page
    expect(page.locator(f"#{name}")).to_be_in_viewport()
    expect(page.locator("details.fold[open]")).to_have_count(1)


def test_a_column_title_leads_to_its_definition_and_back(open_page: Open, varied: Path) -> None:
    page = open_page(varied).page
    page.locator("#decision-table").get_by_role("link", name="TTFT p50").click()
    expect(page.locator("#term-ttft")).to_be_in_viewport()
    page.go_back()
    expect(page.locator("h1")).to_be_in_viewport()


def test_without_scripts_the_text_and_the_tables_can_be_read(open_page: Open, varied: Path) -> None:
    page = open_page(varied, java_script_enabled=False).page
    expect(page.locator("#decision-table")).to_be_visible()
    page.locator("summary", has_text="Agreement").click()
    expect(page.locator(".matrix").first).to_be_visible()
    expect(page.locator("noscript p").first).to_have_text(re.compile("charts need scripts"))
    assert page.get_by_role("button", name="Expand all").count() == 0


def test_an_invalid_run_gives_no_decision_and_marks_no_target(
    open_page: Open, tmp_path: Path
) -> None:
    late = [
        answer(f"p{i}", target=name, send_ms=80, chunks_ms=(100,))
        for i in range(8)
        for name in "ab"
    ]
    price = {"model": "per-request", "usd": 1.0, "source": "a page", "date": "2026-11-01"}
    run = run_of(late, prices={"a": {"parts": [price]}, "b": {"parts": [price]}})
    page = open_page(write_page(tmp_path, run)).page
    assert page.locator(".validity.bad").inner_text().startswith("INVALID: requests were sent late")
    assert page.locator("h1").inner_text() == "No decision"
    assert page.locator(".chosen, .validity.good").count() == 0


def test_without_a_winner_the_page_says_no_decision_and_marks_no_target(
    open_page: Open, tmp_path: Path
) -> None:
    run = varied_run()
    decision = page_of(run)[0].decision
    assert decision is not None
    none = decision.model_copy(
        update={"winner": None, "sentence": "No decision: <because>.", "would_change": ()}
    )
    page = open_page(write_page(tmp_path, run, decision=none)).page
    assert page.locator("h1").inner_text() == "No decision"
    assert page.locator(".lead").inner_text() == "No decision: <because>."
    assert page.locator(".chosen").count() == 0
    assert page.get_by_text("What would change the decision").count() == 0


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


def test_everything_is_printed(open_page: Open, varied: Path) -> None:
    """No table is wider than A4 or Letter paper in landscape, and no chart is missing."""
    page = open_page(varied, viewport={"width": 1032, "height": 700}).page
    expand(page)
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


def test_printing_opens_the_sections_and_closes_them_again(open_page: Open, varied: Path) -> None:
    page = open_page(varied).page
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("details.fold:not([open])").count() == 0
    assert page.locator("#plot-time svg").count() == 1
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("details.fold[open]").count() == 0


def test_the_keyboard_reaches_every_control(open_page: Open, varied: Path) -> None:
    page = open_page(varied).page
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator("summary", has_text="Latency").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#plot-ecdf svg")).to_be_visible()
    expand(page)
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


def test_a_run_with_almost_no_data_opens_too(open_page: Open, tmp_path: Path) -> None:
    opened = open_page(write_page(tmp_path, run_of([answer("only")])))
    assert opened.complaints == []
    assert opened.page.locator("h1").inner_text() == "No decision"
    assert opened.page.locator(".prompt").count() == 1


def test_a_run_without_any_answer_opens_too(open_page: Open, tmp_path: Path) -> None:
    run = run_of([failure(f"p{i}", target=name) for i in range(3) for name in ("a", "b")])
    opened = open_page(write_page(tmp_path, run))
    assert opened.complaints == []
    assert opened.page.locator(".validity.bad").count() == 1
    assert opened.page.locator("#matching").text_content() == "3 prompts"


def test_a_price_of_zero_differs_from_an_unknown_price(open_page: Open, tmp_path: Path) -> None:
    price = {"model": "per-request", "usd": 0.0, "source": "a gift", "date": "2026-11-01"}
    records = [answer(f"p{i}", target=name) for i in range(8) for name in ("a", "b")]
    run = run_of(records, prices={"a": {"parts": [price]}})
    opened = open_page(write_page(tmp_path, run))
    assert opened.complaints == []
    said = opened.page.locator("#unplaced").inner_text()
    assert "leave out b, whose cost is unknown" in said
    assert "leave out a: a cost of 0" in said
    cells = opened.page.locator("#decision-table tbody tr td:nth-of-type(2)").all_inner_texts()
    assert cells[0].startswith("0")
    assert cells[1].startswith("unknown")
