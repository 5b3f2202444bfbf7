"""The functions of the page: sort, filter, search, and show differences."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.report.html.conftest import Opened, expand
from tests.report.html.making import large_run, write_page

Open = Callable[..., Opened]


@pytest.fixture
def page(open_page: Open, varied: Path) -> Page:
    page = open_page(varied).page
    expand(page)
    return page


def first_column(page: Page) -> list[str]:
    return page.locator("#decision-table tbody .name").all_inner_texts()


def test_a_column_is_sorted_in_both_directions_with_unknown_values_last(page: Page) -> None:
    cost = page.locator("#decision-table th", has_text="USD").locator("button")
    cost.click()
    assert first_column(page)[:2] == ["cheap", "hourly"]
    cost.click()
    assert first_column(page)[:2] == ["hourly", "cheap"]
    page.locator("#decision-table th", has_text="E2E p95").locator("button").click()
    assert first_column(page) == ["local", "hourly", "cheap", "batch", "broken"]


def matching(page: Page) -> str:
    return page.locator("#matching").inner_text()


def test_prompts_are_filtered_by_their_outcome(page: Page) -> None:
    assert matching(page) == "80 prompts"
    page.select_option("#filter", "failed")
    assert matching(page) == "27 of 80 prompts"
    page.select_option("#filter", "differs")
    page.select_option("#filter-target", "hourly")
    assert matching(page) == "10 of 80 prompts"
    page.select_option("#filter", "unstable")
    page.select_option("#filter-target", "")
    assert page.locator(".prompt .id").all_text_contents() == ["p007", "p027", "p047", "p067"]
    page.select_option("#filter", "retried")
    assert page.locator(".prompt .id").all_text_contents() == ["p005"]


def test_search_finds_prompts_answers_and_errors(page: Page) -> None:
    for words, found in (("P042", 1), ("very", 10), ("timeout happened", 27), ("nowhere", 0)):
        page.fill("#search", words)
        expect(page.locator(".prompt")).to_have_count(found)
        assert matching(page).startswith(f"{found} of 80")


def test_prompts_are_sorted(page: Page) -> None:
    page.select_option("#order", "id")
    assert page.locator(".prompt .id").first.text_content() == "p000"
    page.select_option("#order", "differs")
    page.select_option("#filter-target", "cheap")
    page.select_option("#filter", "differs")
    assert page.locator(".prompt .id").count() == 4
    page.select_option("#order", "slow")
    page.select_option("#filter", "all")
    page.select_option("#filter-target", "")
    first = page.locator(".prompt").first
    assert first.locator(".state.failed").count() == 1


def open_only(page: Page) -> None:
    """Open the only prompt that is listed."""
    page.locator(".prompt summary").click()
    expect(page.locator(".answer")).to_have_count(5)


def test_the_difference_is_marked_from_the_first_divergence_on(page: Page) -> None:
    page.fill("#search", "p003")
    expect(page.locator(".prompt")).to_have_count(1)
    open_only(page)
    card = page.locator(".answer", has_text="hourly")
    reference = page.locator(".answer", has_text="local").locator(".answer-text").first
    text = card.locator(".answer-text").first
    assert text.locator("ins").all_inner_texts() == [" very"] * 3
    assert text.locator("del").count() == 0
    fork = text.locator(".fork")
    assert fork.count() == 1
    assert fork.get_attribute("aria-label") == "first difference, after 1 tokens"
    before = text.evaluate(
        "e => { const r = document.createRange(); r.setStart(e, 0);"
        "r.setEndBefore(e.querySelector('.fork')); return r.toString(); }"
    )
    assert before == reference.inner_text().split(" ")[0]
    assert text.inner_text().replace(" very", "") == reference.inner_text()
    assert "differs after 1 tokens" in card.inner_text()


def test_receipts_state_attempts_waits_and_the_text_after_the_cut(page: Page) -> None:
    page.select_option("#filter", "retried")
    open_only(page)
    card = page.locator(".answer", has_text="hourly").inner_text()
    assert "2 attempts, waited 250 ms" in card
    assert "After the cut: Instruct: more" in card
    assert "finish reason stop" in card
    simulated = page.locator(".answer", has_text="cheap").inner_text()
    assert "E2E ~" in simulated


def test_a_target_can_be_taken_out_of_the_charts(page: Page) -> None:
    names = page.locator("#plot-ladder svg text", has_text="batch")
    assert names.count() > 0
    page.locator("#shown label", has_text="batch").click()
    assert names.count() == 0
    assert page.locator(".prompt").first.locator(".state").count() == 4


def test_the_measure_of_agreement_is_chosen(page: Page) -> None:
    assert page.locator(".matrix:visible").count() == 1
    page.locator("#measure label", has_text="edit similarity").click()
    assert page.locator(".matrix:visible").get_attribute("data-measure") == "edit_similarity"


def test_many_prompts_are_listed_a_hundred_at_a_time(open_page: Open, tmp_path: Path) -> None:
    opened = open_page(write_page(tmp_path, large_run(prompts=350, targets=2, repetitions=1)))
    page = opened.page
    expand(page)
    assert page.locator(".prompt").count() == 100
    assert matching(page) == "350 prompts, the first 100 listed"
    page.get_by_role("button", name="Show 100 more").click()
    assert page.locator(".prompt").count() == 200
    page.fill("#search", "p349")
    expect(page.locator(".prompt")).to_have_count(1)
    assert page.locator(".prompt .id").text_content() == "p349"
