"""The report on a terminal and in Markdown."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.report.build import build, build_from
from phi2sdk.report.decision import outcome
from phi2sdk.report.files import HTML, write_reports
from phi2sdk.report.format import dollars, seconds
from phi2sdk.report.markdown import markdown
from phi2sdk.report.options import Analysis
from phi2sdk.report.overview import overview
from phi2sdk.report.requirements import Requirement
from phi2sdk.report.schema import Report
from phi2sdk.report.terminal import show
from phi2sdk.text import for_markdown
from tests.measure.making import answer, failure
from tests.report.making import measured_of, report_of, run_of, screen

PRICE = {"parts": [{"model": "per-request", "usd": 0.02, "source": "a|b", "date": "2026-01-01"}]}
RESUME = "phi2 compare --resume --output run"


@pytest.fixture
def report() -> Report:
    records = [answer(f"p{i}", target=t) for i in range(8) for t in ("local", "a_cloud")]
    records += [answer(f"p{i}", target="batch", streamed=False, chunks_ms=(90,)) for i in range(8)]
    records += [failure(f"p{i}", target="broken", outcome="timeout") for i in range(8)]
    return report_of(records, prices={"a_cloud": PRICE}, simulated=["a_cloud"])


def row(text: str, target: str) -> str:
    """The row of a target in the table of a screen."""
    return next(line for line in text.splitlines() if line.startswith(f"{target} "))


def test_the_verdict_is_the_first_line_and_the_decision_the_next(report: Report) -> None:
    for text in (screen(report), markdown(report)):
        lines = [line for line in text.splitlines() if line and not line.startswith("#")]
        assert lines[0] == "Valid: requests were sent within 0.0 ms of schedule (p99)."
        assert lines[1] == "Simulated: emulators answered for a_cloud."
        assert lines[2].startswith("Choose a")


def test_the_table_fits_80_columns_and_cuts_nothing(report: Report) -> None:
    text = screen(report)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text


def test_headers_have_the_unit_and_every_value_is_in_it(report: Report) -> None:
    titles = [column.title for column in overview(report).columns]
    assert titles == [
        "target",
        "outcome",
        "cost (USD per 1,000 summaries)",
        "TTFT p50 (s)",
        "E2E p50 (s)",
        "E2E p95 (s)",
        "output tokens/s",
        "exact match (%)",
        "same model?",
        "failures",
    ]
    fast = report_of([answer(f"p{i}") for i in range(8)])
    assert [column.title for column in overview(fast).columns][3:5] == [
        "TTFT p50 (ms)",
        "E2E p50 (ms)",
    ]
    assert " 20.0 " in row(screen(fast), "t")


def test_what_is_simulated_unknown_censored_or_too_few_is_marked(report: Report) -> None:
    text = screen(report)
    assert "~0.0100 " in row(text, "a_cloud")
    assert "~20 " in row(text, "a_cloud")
    assert "unknown" in row(text, "local")
    assert "0.0200* " in row(text, "local")
    assert ">60.0" in row(text, "broken")
    assert " - " in row(text, "batch")
    assert "8 of 8" in row(text, "broken")
    assert "; ~ simulated; * too few prompts for an interval; - does not apply" in " ".join(
        text.split()
    )
    assert "Failed requests: broken 8 of 8 (" in text


def test_text_of_others_is_never_markup_nor_control() -> None:
    evil = "[red]x[/red] \x1b[31m\x07 <script> | `code` \u202e"
    broken = failure("p")
    object.__setattr__(broken, "message", evil)
    report = report_of([answer("q"), broken])
    text = screen(report)
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


def test_the_demo_says_what_is_simulated_before_its_table(report: Report) -> None:
    run = report.run.model_copy(update={"demo": True})
    demo = report.model_copy(update={"run": run})
    said = "The latencies of the emulators are simulated, and all prices are examples."
    text = " ".join(screen(demo).split())
    assert text.index(said) < text.index(" target ")
    assert for_markdown(said) in markdown(demo)
    assert "Simulated: emulators answered for a_cloud." in screen(report)


def test_no_color_goes_where_no_terminal_is_and_none_with_no_color(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = io.StringIO()
    show(report, Console(file=out))
    assert "\x1b" not in out.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = io.StringIO()
    show(report, Console(file=terminal, force_terminal=True))
    assert "\x1b[3" not in terminal.getvalue()  # bold is not a color


def test_an_incomplete_run_says_how_to_continue() -> None:
    report = report_of([answer("p")], repetitions=3)
    said = "Incomplete: 1 of 3 requests are recorded."
    assert screen(report, 200).splitlines()[1] == said
    assert screen(report, 200, resume=RESUME).splitlines()[1] == f"{said} To continue: {RESUME}"
    assert said in markdown(report)


def test_the_last_lines_name_the_page_and_the_command_for_more(
    report: Report, tmp_path: Path
) -> None:
    last = screen(report, 300, tmp_path).splitlines()[-2:]
    assert last[0] == f"Report: {tmp_path / HTML}"
    assert last[1].startswith(f"Details: phi2 report {tmp_path} --section ")


def test_a_run_with_too_few_answers_crowns_nobody_in_any_writer() -> None:
    """15 of 128 requests are recorded, as after an interruption."""
    records = [answer(f"p{i}", target=t) for i in range(8) for t in ("a", "b")][:15]
    report = report_of(records, prices={"a": PRICE, "b": PRICE}, repetitions=8)
    why = "No decision, because there are too few answers (a: only 8 of 64 requests were answered)."
    decision = report.decision
    assert decision is not None
    assert decision.winner is None
    assert decision.sentence.startswith(why)
    assert "--resume" in decision.sentence
    assert decision.would_change == ()
    for text in (screen(report, 300), report.to_json(), report._repr_html_()):
        assert why in text
    assert {outcome(report, name).text for name in "ab"} == {"too few answers"}
    assert for_markdown(why) in markdown(report)


def test_an_invalid_run_crowns_nobody_and_says_what_to_do() -> None:
    records = [
        answer(f"p{i}", target=t, send_ms=80, chunks_ms=(100,)) for i in range(8) for t in "ab"
    ]
    report = report_of(records, prices={"a": PRICE})
    decision = report.decision
    assert decision is not None
    assert decision.winner is None
    lines = screen(report, 300).splitlines()
    assert lines[0].startswith("INVALID: requests were sent late by 80.0 ms (p99), and at most 10")
    assert lines[1] == (
        "No decision, because the run is invalid. Close other programs or lower the load "
        "(--concurrency or --rate) and run again."
    )
    assert "chosen" not in screen(report, 300)


def test_a_lag_just_above_the_limit_does_not_contradict_itself() -> None:
    records = [answer(f"p{i}", send_ms=10.0004, chunks_ms=(100,)) for i in range(8)]
    sentence = report_of(records).validity.sentence
    assert "sent late by 10.0004 ms (p99), and at most 10.0000 ms is allowed" in sentence


def test_two_prompts_give_no_interval_anywhere() -> None:
    names = ("a", "b")
    records = [
        answer(f"p{i}", target=t, repetition=r) for i in range(2) for t in names for r in (0, 1)
    ]
    run = run_of(records, prices={"a": PRICE, "b": PRICE})
    asked = Analysis(volume=100, baseline="gpt-4", slo={"e2e": 1.0})
    document = json.loads(build(run, estimating_tokenizer(), asked).to_json())

    def ends(value: object) -> Iterator[object]:
        if isinstance(value, dict):
            yield from (value.get("low"), value.get("high"))
            for one in value.values():
                yield from ends(one)
        elif isinstance(value, list):
            for one in value:
                yield from ends(one)

    assert set(ends(document)) == {None}


def test_requirements_that_fail_say_what_was_found_within_one_screen() -> None:
    records = [answer(f"p{i}", target=t) for i in range(8) for t in ("a", "b")]
    texts = [f"targets.a.latency.e2e.p50 < {limit}" for limit in (0.001, 0.002, 0.003, 0.004)]
    asked = Analysis(requirements=tuple(map(Requirement.parse, texts)))
    report = build(run_of(records, prices={"b": PRICE}), estimating_tokenizer(), asked)
    text = screen(report, 300)
    assert (
        f"- The requirement {texts[0]!r} is not met: the measured value is 0.02 [0.02, 0.02]."
    ) in text.splitlines()
    assert "- 2 more requirements are not met (see report.md)." in text.splitlines()
    assert f"a (does not meet {texts[0]!r} and 3 more)" in text


def test_files_are_written_whole(tmp_path: Path) -> None:
    measured = measured_of([answer(f"p{i}") for i in range(8)])
    report = build_from(measured)
    write_reports(report, tmp_path, measured)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json", "report.md"]
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


def test_a_requirement_that_is_not_shown_is_excluded_in_the_same_words() -> None:
    records = [answer(f"p{i}", target=t) for i in range(8) for t in ("a", "b")]
    rule = "targets.a.latency.e2e.p95 < 1"
    asked = Analysis(requirements=(Requirement.parse(rule),))
    text = screen(build(run_of(records, prices={"b": PRICE}), estimating_tokenizer(), asked), 300)
    assert f"a (is not shown to meet {rule!r})" in text
    assert f"The requirement {rule!r} is not shown to be met: the measured value is 0.02" in text
