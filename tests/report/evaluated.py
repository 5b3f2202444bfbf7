"""Evaluations for the tests of their report, without a model or a harness."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from phi2sdk.analysis.published import Published
from phi2sdk.measure.evaluations import ItemResult, TaskResult
from phi2sdk.report.evaluation_schema import EvaluatedTarget, EvaluationReport, EvaluationRun
from phi2sdk.report.evaluations import evaluation_report
from phi2sdk.report.requirements import Requirement

FIGURES = {
    "boolq": Published("BoolQ", 0.833, "accuracy", 0),
    "gsm8k": Published("GSM8K", 0.611, "exact_match", 8, "Rounded."),
}


def result(
    task: str = "boolq",
    target: str = "local",
    values: Sequence[float | None] = (1.0,) * 60 + (0.0,) * 40,
    metric: str = "accuracy",
    **changes: Any,
) -> TaskResult:
    """Return the result of a target on a task with one metric; ``None`` is a failed item."""
    items = tuple(
        ItemResult(str(number), {}, "RateLimited")
        if value is None
        else ItemResult(str(number), {metric: value})
        for number, value in enumerate(values)
    )
    known = [value for value in values if value is not None]
    told: dict[str, Any] = {
        "task": task,
        "method": "likelihood",
        "target": target,
        "items": items,
        "metrics": (metric,),
        "lower_is_better": frozenset[str](),
        "shots": 0,
        "calls": 2 * len(values),
        "input_tokens": 90 * len(values),
        "output_tokens": len(values),
        "cost_usd": 0.0042,
        "seconds": 7.25,
        "not_comparable": None,
        "aggregate": {metric: sum(known) / len(known)} if known else {},
    }
    return TaskResult(**told | changes)


def run_of(results: Sequence[TaskResult], **changes: Any) -> EvaluationRun:
    """Return the configuration of an evaluation that has these results."""
    targets = tuple(dict.fromkeys(one.target for one in results))
    told: dict[str, Any] = {
        "phi2sdk": "0.1.0",
        "started": "2026-11-21T12:00:00+00:00",
        "tasks": {one.task: targets for one in results},
        "reference": results[0].target,
        "complete": True,
    }
    return EvaluationRun(**told | changes)


def report_on(
    *results: TaskResult,
    require: Sequence[str] = (),
    figures: Mapping[str, Published] = FIGURES,
    simulated: Sequence[str] = (),
    **changes: Any,
) -> EvaluationReport:
    """Return the report of an evaluation that has these results."""
    names = dict.fromkeys(one.target for one in results)
    return evaluation_report(
        run_of(results, **changes),
        {name: EvaluatedTarget(backend="openai", simulated=name in simulated) for name in names},
        results,
        figures=figures.get,
        requirements=[Requirement.parse(text) for text in require],
    )


def varied() -> list[TaskResult]:
    """Return results of every kind: equal, worse, with failures, not rates, not comparable."""
    chance = random.Random(3)
    right = [float(chance.random() < 0.84) for _ in range(300)]
    worse = [value if chance.random() > 0.25 else 0.0 for value in right]
    failing = [None if number % 50 == 7 else value for number, value in enumerate(right)]
    other = [float(chance.random() < 0.5) for _ in range(300)]
    f1 = [round(chance.random(), 2) for _ in range(200)]
    reason = "The published prompt is not known."
    return [
        result("boolq", "local", right),
        result("boolq", "local_int4", worse),
        result("boolq", "azure", failing, cost_usd=None),
        result("gsm8k", "local", other, "exact_match", method="generation", not_comparable=reason),
        result("gsm8k", "local_int4", other[::-1], "exact_match", method="generation",
               not_comparable=reason),
        result("gsm8k", "azure", other, "exact_match", method="generation", not_comparable=reason),
        result("squad", "local", f1, "f1"),
        result("squad", "local_int4", [value * 0.8 for value in f1], "f1"),
        result("squad", "azure", [None] * 200, "f1"),
        result("wikitext", "local", [2.5] * 60, "word_perplexity",
               lower_is_better=frozenset({"word_perplexity"}),
               aggregate={"word_perplexity": 14.2}),
        result("wikitext", "local_int4", [2.6] * 60, "word_perplexity",
               lower_is_better=frozenset({"word_perplexity"}),
               aggregate={"word_perplexity": 15.1}),
    ]  # fmt: skip
