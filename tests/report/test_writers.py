"""The report on a terminal and in Markdown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from phi2sdk.report.build import build_from
from phi2sdk.report.files import FORMATS, HTML, write_reports
from phi2sdk.report.format import dollars, seconds
from phi2sdk.report.markdown import markdown
from phi2sdk.report.schema import Report
from phi2sdk.report.terminal import show
from phi2sdk.text import for_markdown
from tests.measure.making import answer, failure
from tests.report.making import measured_of, report_of

PRICE = {"parts": [{"model": "per-request", "usd": 0.02, "source": "a|b", "date": "2026-01-01"}]}


def shown(report: Report, width: int = 80) -> str:
    out = io.StringIO()
    show(report, Console(file=out, width=width, color_system=None))
    return out.getvalue()


@pytest.fixture
def report() -> Report:
    records = [answer(f"p{i}", target=t) for i in range(8) for t in ("local", "a_cloud")]
    records += [answer(f"p{i}", target="batch", streamed=False, chunks_ms=(90,)) for i in range(8)]
    records += [failure(f"p{i}", target="broken", outcome="timeout") for i in range(8)]
    return report_of(records, prices={"a_cloud": PRICE}, simulated=["a_cloud"])


def test_the_verdict_is_the_first_line(report: Report) -> None:
    assert shown(report).splitlines()[0].startswith("Valid: requests left within")
    assert markdown(report).splitlines()[0].startswith("Valid: requests left within")


def test_the_table_fits_80_columns_and_cuts_nothing(report: Report) -> None:
    text = shown(report)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_what_is_simulated_unknown_censored_or_too_few_is_marked(report: Report) -> None:
    table = shown(report).split("target", 1)[1].splitlines()[1:5]
    lines = {line.split()[0]: line for line in table}
    assert "~10.0 ms" in lines["a_cloud"]
    assert "~$20" in lines["a_cloud"]
    assert "unknown" in lines["local"]
    assert "20.0 ms*" in lines["local"]
    assert ">60.0 s" in lines["broken"]
    assert " - " in lines["batch"]
    assert "broken: 8 of 8 failed" in shown(report)


def test_text_of_others_is_never_markup_nor_control() -> None:
    evil = "[red]x[/red] \x1b[31m\x07 <script> | `code` \u202e"
    broken = failure("p")
    object.__setattr__(broken, "message", evil)
    report = report_of([answer("q"), broken])
    text = shown(report)
    assert "[red]x[/red]" in text
    assert "\x1b" not in text
    assert "\x07" not in text
    page = markdown(report)
    assert "<script>" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_a_cell_cannot_break_a_markdown_table() -> None:
    assert for_markdown("a|b\nc") == "a&#124;b c"
    assert for_markdown("*x* <b>") == "\\*x\\* &#60;b&#62;"


@pytest.mark.parametrize(
    "text",
    ["~29.1 ms", "~$0.022", "local_float32", "2026-11-20; $4.7e-06 (hf/aws-l4)", "1.5 times", "-1"],
)
def test_figures_and_names_stay_readable_in_markdown(text: str) -> None:
    assert for_markdown(text) == text


@pytest.mark.parametrize(
    ("text", "inert"),
    [
        ("~~gone~~", "\\~\\~gone\\~\\~"),
        ("$x$", "\\$x\\$"),
        ("_x_ a_b", "\\_x\\_ a_b"),
        ("# title", "\\# title"),
        ("- item", "\\- item"),
        ("1. item", "1\\. item"),
        ("===", "\\==="),
        ("![x](http://a.b)", "!\\[x\\](http&#58;//a.b)"),
        ("see www.a.b or x@a.b", "see www&#46;a.b or x&#64;a.b"),
        ("&lt;", "&#38;lt;"),
    ],
)
def test_what_markdown_would_act_on_is_inert(text: str, inert: str) -> None:
    assert for_markdown(text) == inert


def test_the_demo_says_so_and_ends_with_what_it_found(report: Report) -> None:
    run = report.run.model_copy(update={"demo": True})
    demo = report.model_copy(update={"run": run})
    assert "Demo: a small model" in markdown(demo)
    last = " ".join(shown(demo).split("In short: ")[1].split())
    assert "has the lowest median latency" in last
    assert "~a_cloud is the cheapest of those with a known price" in last
    assert "answered just as local" in last
    assert "In short" not in shown(report)


def test_there_is_no_color_without_a_terminal(report: Report) -> None:
    out = io.StringIO()
    show(report, Console(file=out))
    assert "\x1b" not in out.getvalue()


def test_an_incomplete_run_says_so() -> None:
    report = report_of([answer("p")], repetitions=3)
    assert "Incomplete: 1 of 3 requests" in shown(report)
    assert "Incomplete: 1 of 3 requests" in markdown(report)


def test_files_are_written_whole(tmp_path: Path) -> None:
    measured = measured_of([answer(f"p{i}") for i in range(8)])
    report = build_from(measured)
    write_reports(report, tmp_path, measured)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*FORMATS, HTML])
    text = (tmp_path / "report.json").read_text(encoding="utf-8")
    assert type(report).model_validate_json(text) == report


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0123456, "12.3 ms"), (0.00123, "1.23 ms"), (0.999, "999 ms"), (12.34, "12.3 s")],
)
def test_seconds_have_three_digits(value: float, text: str) -> None:
    assert seconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "$0"), (1.5, "$1.5"), (0.0234, "$0.0234"), (0.0000234, "$2.34e-05")]
)
def test_dollars_show_something(value: float, text: str) -> None:
    assert dollars(value) == text
