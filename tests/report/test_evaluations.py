"""The report of an evaluation: its numbers, sentences, requirements, and its files."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from subprocess import run
from xml.etree import ElementTree

import jsonschema
import pytest
from rich.console import Console

from phi2sdk.analysis.evaluation import paired_difference
from phi2sdk.analysis.statistics import wilson
from phi2sdk.errors import ConfigurationError
from phi2sdk.report.evaluation_files import (
    ShownEvaluation,
    evaluation_markdown,
    show_evaluation,
    write_evaluation,
)
from phi2sdk.report.evaluation_schema import EvaluatedTarget, EvaluationReport
from phi2sdk.report.evaluation_sections import comparisons, further, headlines, scores, sections
from phi2sdk.report.evaluations import check_requirements, evaluation_report
from phi2sdk.report.requirements import Requirement
from phi2sdk.report.schema import Interval, json_schema, published_schema
from tests.report.evaluated import FIGURES, report_on, result, varied

RIGHT = (1.0,) * 70 + (0.0,) * 30
WORSE = (0.0,) * 20 + (1.0,) * 50 + (0.0,) * 30


@pytest.fixture(scope="module")
def report() -> EvaluationReport:
    return report_on(*varied(), simulated=["azure"])


def screen(report: EvaluationReport, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False, markup=False)
    show_evaluation(report, console, Path("run"))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_published_schema_is_that_of_the_models() -> None:
    assert published_schema("evaluation") == json_schema(EvaluationReport, "evaluation"), (
        "write it anew with the command in CONTRIBUTING.md, Documentation"
    )


def test_a_report_validates_against_the_published_schema_and_reads_back(
    report: EvaluationReport,
) -> None:
    document = json.loads(report.to_json())
    jsonschema.validate(document, json.loads(published_schema("evaluation")))
    assert document["schema"] == "phi2sdk.evaluation/1"
    assert EvaluationReport.model_validate(document) == report


def test_a_score_is_at_its_path_with_its_interval_beside_cost_and_time() -> None:
    found = json.loads(report_on(result(values=RIGHT)).to_json())["evaluations"]["boolq"]["local"]
    expected = wilson(70, 100)
    assert found["accuracy"] == {"value": 0.7, "low": expected.low, "high": expected.high}
    assert (found["n"], found["failed"], found["calls"]) == (100, 0, 200)
    assert (found["cost_usd"], found["seconds"], found["method"]) == (0.0042, 7.25, "likelihood")


def test_a_target_is_compared_with_the_first_one_item_by_item() -> None:
    found = report_on(result(values=RIGHT), result(target="int4", values=WORSE))
    by_target = found.evaluations["boolq"]
    assert by_target["local"].comparisons == {}
    pair = by_target["int4"].comparisons["local"]
    assert pair.difference == Interval.of(paired_difference(20, 0, 100))
    assert (pair.items, pair.only_this, pair.only_other, pair.verdict) == (100, 0, 20, "worse")
    assert pair.p == 2 / 2**20
    assert pair.sentence == (
        "int4 is worse than local on boolq: the difference in accuracy is -20.0 points "
        "[-28.9, -13.3] (p = 2e-06, 100 items)."
    )


def test_items_are_paired_by_their_id_and_not_by_index() -> None:
    shuffled = result(target="int4", values=RIGHT)
    found = report_on(
        result(values=RIGHT), result(target="int4", values=RIGHT, items=shuffled.items[::-1])
    )
    pair = found.evaluations["boolq"]["int4"].comparisons["local"]
    assert (pair.only_this, pair.only_other) == (0, 0)


def test_a_task_that_the_reference_cannot_answer_has_another_reference() -> None:
    found = report_on(
        result("gsm8k", "azure"),
        result("gsm8k", values=RIGHT),
        result(values=RIGHT),
        result(target="int4", values=WORSE),
        figures={},
    )
    assert list(found.evaluations["boolq"]["int4"].comparisons) == ["local"]
    assert comparisons(found).title == "Comparison with azure and local"
    assert comparisons(found).lines[0] == (
        "azure does not answer boolq, so the reference of this task is local."
    )


def test_p_values_are_adjusted_for_all_comparisons_of_the_run() -> None:
    few = (0.0,) * 6 + RIGHT[6:]
    alone = report_on(result(values=RIGHT), result(target="int4", values=few))
    assert alone.evaluations["boolq"]["int4"].comparisons["local"].verdict == "worse"
    others = [
        result(task, target, values=RIGHT)
        for task in ("piqa", "gsm8k")
        for target in ("local", "int4")
    ]
    among = report_on(result(values=RIGHT), result(target="int4", values=few), *others)
    pair = among.evaluations["boolq"]["int4"].comparisons["local"]
    assert (pair.verdict, pair.p) == ("not shown", 3 * 2 / 2**6)


def test_a_score_that_is_not_a_mean_has_neither_interval_nor_comparison(
    report: EvaluationReport,
) -> None:
    found = report.evaluations["wikitext"]["local_int4"]
    assert found.main == Interval(value=15.1)
    assert found.comparisons == {}
    assert "word_perplexity" not in found.rates


def test_the_score_of_a_group_that_is_the_mean_of_its_tasks_has_an_interval() -> None:
    items = [(f"a/{n}", float(n < 9)) for n in range(10)]
    items += [(f"b/{n}", float(n < 50)) for n in range(100)]
    made = result("group", values=[value for _, value in items])
    renamed = tuple(
        type(one)(id, one.values) for (id, _), one in zip(items, made.items, strict=True)
    )
    both = [
        result("group", target, made_values, items=renamed, aggregate={"accuracy": 0.7})
        for target, made_values in (("local", [v for _, v in items]), ("azure", [1.0]))
    ]
    found = report_on(*both).evaluations["group"]["local"].main
    assert found is not None
    assert found.value == pytest.approx(0.7)
    assert found.low is not None
    assert found.high is not None
    assert 0.5 < found.low < 0.7 < found.high < 0.85


def test_a_metric_of_which_less_is_better_is_no_share() -> None:
    better = frozenset({"error_rate"})
    found = report_on(result(metric="error_rate", lower_is_better=better))
    assert found.evaluations["boolq"]["local"].rates == ()
    assert scores(found).rows[0][2].text == "error rate"


def test_lower_is_better_for_a_metric_that_says_so() -> None:
    better = frozenset({"loss"})
    values = [1.0 + n / 100 for n in range(50)]
    found = report_on(
        result(metric="loss", values=values, lower_is_better=better),
        result(metric="loss", values=[v + 0.5 for v in values], target="int4",
               lower_is_better=better),
    )  # fmt: skip
    pair = found.evaluations["boolq"]["int4"].comparisons["local"]
    assert pair.verdict == "worse"
    assert pair.difference.value == pytest.approx(0.5)
    assert "the difference in loss is +0.5" in pair.sentence


@pytest.mark.parametrize(("right", "against"), [(70, "below"), (82, "within"), (95, "above")])
def test_a_score_is_below_within_or_above_the_published_figure(right: int, against: str) -> None:
    values = [1.0] * (3 * right) + [0.0] * (300 - 3 * right)
    found = report_on(result(values=values)).evaluations["boolq"]["local"].published
    assert found is not None
    assert (found.name, found.value, found.against) == ("BoolQ", 0.833, against)


def test_a_figure_that_is_not_comparable_is_not_beside_the_score(report: EvaluationReport) -> None:
    assert report.evaluations["gsm8k"]["local"].published is not None
    assert report.evaluations["gsm8k"]["local"].published.against is None
    table = scores(report)
    column = [one.title for one in table.columns].index("published")
    shown = {(row[0].text, row[1].text): row[column].text for row in table.rows}
    assert shown["boolq", "local"] == "83.3"
    assert shown["gsm8k", "local"] == "not comparable"
    assert shown["squad", "local"] == "-"
    lines = [line for section in sections(report) for line in section.lines]
    assert "Not comparable with the figure: gsm8k. The published prompt is not known." in lines
    (source,) = (line for line in lines if "boolq" in line)
    assert "<https://www.microsoft.com/" in source
    assert "boolq 83.3% (accuracy, 0 shots); gsm8k 61.1% (exact match, 8 shots, Rounded)" in source


@pytest.mark.parametrize(
    ("shots", "reason", "said"),
    [
        (5, None, "The published prompt has 0 examples, and this one 5."),
        (0, "The source has no prompt.", "The source has no prompt."),
    ],
)
def test_another_prompt_is_not_comparable(shots: int, reason: str | None, said: str) -> None:
    figures = {"boolq": replace(FIGURES["boolq"], reason=reason)}
    found = report_on(result(shots=shots), figures=figures).evaluations["boolq"]["local"]
    assert found.published is not None
    assert (found.published.against, found.not_comparable) == (None, said)


def test_failed_items_are_counted_with_their_errors(report: EvaluationReport) -> None:
    found = report.evaluations["boolq"]["azure"]
    assert (found.n, found.failed, found.errors) == (294, 6, {"RateLimited": 6})
    nothing = report.evaluations["squad"]["azure"]
    assert (nothing.n, nothing.main, nothing.comparisons) == (0, None, {})
    assert any(
        line.startswith("azure failed on 206 of 800 items (206 x RateLimited).")
        for line in headlines(report)
    )


def test_the_result_is_in_sentences_first() -> None:
    found = report_on(
        result(values=RIGHT), result(target="int4", values=WORSE), result(target="b", values=RIGHT)
    )
    assert headlines(found) == [
        "int4 is worse than local on boolq (-20.0 points [-28.9, -13.3]).",
        "No difference from local is shown in 1 of 2 comparisons.",
        "The score of local is below the published figure on boolq.",
        "The score of int4 is below the published figure on boolq.",
        "The score of b is below the published figure on boolq.",
    ]


def test_an_incomplete_evaluation_says_so_first() -> None:
    found = report_on(result(), result(target="azure"), result("gsm8k"), complete=False, figures={})
    assert headlines(found)[0] == ("Incomplete: 3 of 4 results of a target on a task are recorded.")


def test_further_metrics_have_a_table_of_their_own() -> None:
    one = result()
    items = tuple(
        type(item)(item.item, {**item.values, "accuracy_normalized": 1.0}) for item in one.items
    )
    found = report_on(result(items=items, metrics=("accuracy", "accuracy_normalized")))
    assert [cell.text for cell in further(found).rows[0]] == [
        "boolq", "local", "accuracy normalized (%)", "100.0",
    ]  # fmt: skip
    assert len(scores(found).rows) == 1
    assert not comparisons(found).rows


def test_a_metric_may_have_the_name_of_another_field() -> None:
    found = report_on(result(metric="calls")).evaluations["boolq"]["local"]
    assert found.calls == 200
    assert found.metrics == ("calls_score",)
    assert found.main is not None
    assert found.main.value == 0.6


def test_the_screen_fits_80_columns_with_its_intervals(report: EvaluationReport) -> None:
    text = screen(report)
    assert max(map(len, text.splitlines())) <= 80
    row = next(line for line in text.splitlines() if line.startswith("boolq    local "))
    assert "83.7 [79.1, 87.4]" in row
    assert "Report: run/report.html" in text


def test_the_name_of_a_generative_variant_is_in_one_line() -> None:
    text = screen(report_on(result("demo_multiple_choice_generative"), figures={}))
    assert "demo_multiple_choice_generative  local" in text
    assert text.startswith("Scores")


def test_a_wide_screen_has_every_column(report: EvaluationReport) -> None:
    text = screen(report, 200)
    for title in ("shots", "items", "(USD)", "(s)", " one ", "0 / 64"):
        assert title in text


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ("evaluations.boolq.local.accuracy.value > 0.6", "holds"),
        ("evaluations.boolq.local.accuracy > 0.6", "holds"),
        ("evaluations.boolq.local.accuracy > 0.65", "not shown"),
        ("evaluations.boolq.local.accuracy > 80%", "fails"),
        ("evaluations.boolq.int4.comparisons.local.difference > -30%", "holds"),
        ("evaluations.boolq.int4.comparisons.local.difference > -10%", "fails"),
        ("evaluations.boolq.int4.failed == 0", "holds"),
        ("evaluations.boolq.int4.cost_usd < 1", "not shown"),
    ],
)
def test_a_requirement_holds_fails_or_is_not_shown(rule: str, outcome: str) -> None:
    found = report_on(
        result(values=RIGHT),
        result(target="int4", values=WORSE, cost_usd=None),
        require=[rule],
    )
    assert [one.outcome for one in found.requirements] == [outcome]


def test_a_requirement_on_an_unknown_path_is_refused_with_similar_paths() -> None:
    rule = "evaluations.bolq.local.accuracy > 0.6"
    near = "similar paths: evaluations.boolq.local.accuracy"
    with pytest.raises(ConfigurationError, match=near):
        report_on(result(), require=[rule])
    with pytest.raises(ConfigurationError, match=near):
        check_requirements([Requirement.parse(rule)], {"boolq": ["accuracy"]}, ["local", "int4"])


def test_requirements_can_be_checked_before_anything_is_sent() -> None:
    rules = (
        "evaluations.boolq.local.accuracy > 0.6",
        "evaluations.boolq.int4.comparisons.local.difference.low > -2%",
        "evaluations.boolq.int4.cost_usd < 1",
    )
    check_requirements([*map(Requirement.parse, rules)], {"boolq": ["accuracy"]}, ["local", "int4"])


def test_an_incomplete_evaluation_does_not_show_a_requirement_on_what_is_missing() -> None:
    found = report_on(result(), require=["evaluations.gsm8k.local.f1 > 0.6"], complete=False)
    assert [one.outcome for one in found.requirements] == ["not shown"]


def test_the_folder_gets_every_file(tmp_path: Path) -> None:
    rules = ("evaluations.boolq.local.accuracy > 10%", "evaluations.boolq.local.n > 1000")
    write_evaluation(report_on(result(), require=rules), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "junit.xml", "report.html", "report.json", "report.md",
    ]  # fmt: skip
    suite = ElementTree.fromstring((tmp_path / "junit.xml").read_text(encoding="utf-8"))
    assert suite.get("name") == "phi2 evaluate"
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    write_evaluation(report_on(result()), tmp_path)
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["requirements"] == []


def test_an_evaluation_without_results_has_a_report(tmp_path: Path) -> None:
    begun = report_on(result(), complete=False).run
    report = evaluation_report(begun, {"local": EvaluatedTarget(backend="local")}, ())
    write_evaluation(report, tmp_path)
    assert "Incomplete: 0 of 1 results" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert screen(report).startswith("Incomplete: 0 of 1 results")


def test_a_notebook_shows_the_sentences_and_the_tables(report: EvaluationReport) -> None:
    text = ShownEvaluation(**dict(report))._repr_html_()
    assert "local_int4 is worse than local on boolq" in text
    assert "83.7 [79.1, 87.4]" in text
    assert "<script" not in text


def test_a_comparison_loads_nothing_of_an_evaluation() -> None:
    modules = run(
        [sys.executable, "-c", "import sys, phi2sdk.pipeline; print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert "phi2sdk.report.html.page" in modules
    assert [name for name in modules if "evaluation" in name or name.endswith("published")] == [
        "phi2sdk.report.glossary_evaluation"
    ]


def test_markdown_has_every_table_and_defines_its_columns(report: EvaluationReport) -> None:
    text = evaluation_markdown(report)
    for section in sections(report):
        assert f"## {section.title}" in text
    assert "| boolq | local_int4 | accuracy (%) | 62.3 \\[56.7, 67.6\\] |" in text
    assert text.count("A metric is a measure of the answers to a task") == 1
