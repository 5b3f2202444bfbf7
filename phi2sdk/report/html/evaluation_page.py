"""Render the report of an evaluation as one HTML file."""

from __future__ import annotations

from typing import Any

from phi2sdk.report.evaluation_schema import EvaluationReport
from phi2sdk.report.evaluation_sections import (
    comparisons,
    further,
    headlines,
    published,
    scores,
    spent,
)
from phi2sdk.report.glossary import COMPARISON, alphabetical
from phi2sdk.report.glossary_evaluation import EVALUATION
from phi2sdk.report.html import assets
from phi2sdk.report.html.render import rendered
from phi2sdk.report.requirements import requirement_line
from phi2sdk.text import for_terminal

METHOD = (
    "All targets answer the same items with the same prompts. An item is scored as the harness "
    "that defines its task scores it.",
    "Intervals are at the level of 95%: Wilson's for shares of right items, and BCa bootstraps "
    "over the items for other means. A score that is not the mean of its items has none.",
    "Two targets are compared on the same items: by McNemar's exact test with Tango's score "
    "interval of the difference, or by a permutation test with a BCa bootstrap if items are not "
    "just right or wrong. Only the main metric of a task is tested.",
    "p-values are adjusted for all comparisons of the evaluation (Holm), so that an evaluation of "
    "equal targets shows any difference in at most 5% of cases.",
    "An item that failed counts as wrong at the lower end of an interval and as right at the upper "
    "end, and a difference is shown only if it is significant with all values of such items.",
)
_SHARED = ("interval", "reference", "requirement", "simulated", "target")


def evaluation_page(report: EvaluationReport) -> str:
    """Return ``report.html`` of an evaluation: a self-contained page that loads nothing."""
    run, first, differences = report.run, scores(report), comparisons(report)
    others = (
        ("further", "Further metrics", further(report)),
        ("published", "Published figures", published(report)),
        ("spent", "Cost and time", spent(report)),
    )
    terms = {**EVALUATION, **{key: COMPARISON[key] for key in _SHARED}}
    configuration = [
        ("started", run.started),
        ("tasks", ", ".join(run.tasks)),
        ("items of a task", "all" if run.limit is None else f"at most {run.limit:,}"),
        ("reference", run.reference),
    ]
    facts = {**run.machine, **run.versions}
    return rendered(
        "evaluation.html.j2",
        assets.EVALUATION_SCRIPTS,
        data=_drawn(report),
        report=report,
        names=list(report.targets),
        headlines=headlines(report),
        requirements=[(one.outcome, requirement_line(one)) for one in report.requirements],
        charted=any(_charted(report)),
        scores=first,
        differences=differences,
        folded=[one for one in others if one[2].rows or one[2].lines],
        configuration=configuration,
        machine=[(key, "unknown" if value is None else f"{value}") for key, value in facts.items()],
        settings={name: [("backend", one.backend)] for name, one in report.targets.items()},
        method=METHOD,
        glossary=alphabetical(terms),
    )


def _drawn(report: EvaluationReport) -> dict[str, Any]:
    """Return the data of the chart: the main metrics that are shares."""
    charted = _charted(report)
    figures = {
        task: one.published.value
        for task, by_target in report.evaluations.items()
        for one in by_target.values()
        if one.published is not None and one.published.against is not None
    }
    drawn = {one["task"] for one in charted}
    return {
        "targets": [
            {
                "name": for_terminal(name),
                "simulated": one.simulated,
                "reference": name == report.run.reference,
            }
            for name, one in report.targets.items()
        ],
        "scores": charted,
        "published": [
            {"task": for_terminal(task), "value": value}
            for task, value in figures.items()
            if for_terminal(task) in drawn
        ],
    }


def _charted(report: EvaluationReport) -> list[dict[str, Any]]:
    return [
        {
            "task": for_terminal(task),
            "target": for_terminal(name),
            "title": for_terminal(f"{name}: {found.value:.1%}"),
            **found.model_dump(),
        }
        for task, by_target in report.evaluations.items()
        for name, one in by_target.items()
        if one.metrics[0] in one.rates and (found := one.main) is not None
    ]
