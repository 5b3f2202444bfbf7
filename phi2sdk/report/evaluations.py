"""The report of an evaluation: the scores of targets on tasks, and their comparison item by item.

It is computed from ``evaluations.jsonl`` in the folder of the evaluation, and is a document of its
own: ``report.json`` of a comparison does not contain it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import fmean

from phi2sdk.analysis.evaluation import (
    PairedScores,
    Verdict,
    compare_scores,
    judge_scores,
    score,
)
from phi2sdk.analysis.published import Published, published
from phi2sdk.measure.evaluations import TaskResult
from phi2sdk.report.evaluation_schema import (
    Against,
    EvaluatedTarget,
    EvaluationReport,
    EvaluationRun,
    PublishedScore,
    ScoreComparison,
    TaskScores,
)
from phi2sdk.report.format import in_words, p_value, points
from phi2sdk.report.requirements import Requirement, judge, numbers
from phi2sdk.report.schema import Interval

__all__ = ["check_requirements", "evaluation_report"]


def evaluation_report(
    run: EvaluationRun,
    targets: Mapping[str, EvaluatedTarget],
    results: Sequence[TaskResult],
    *,
    figures: Callable[[str], Published | None] = published,
    requirements: Sequence[Requirement] = (),
) -> EvaluationReport:
    """Return the report of an evaluation.

    Args:
        run: The configuration of the run.
        targets: The targets by name.
        results: The result of each task and target.
        figures: Returns the published figure of a task.
        requirements: The rules that must hold.

    Raises:
        ConfigurationError: A requirement names a value that this evaluation does not have.
    """
    tasks: dict[str, dict[str, TaskResult]] = {}
    for one in results:
        tasks.setdefault(one.task, {})[one.target] = one
    rates = {task: _rates(found.values()) for task, found in tasks.items()}
    compared = _comparisons(run.reference, tasks, rates)
    report = EvaluationReport(
        run=run,
        targets=dict(targets),
        evaluations={
            task: {
                name: _scores(one, rates[task], figures(task), compared.get((task, name), {}))
                for name, one in found.items()
            }
            for task, found in tasks.items()
        },
    )
    if run.complete:
        metrics = {task: list(next(iter(found.values())).metrics) for task, found in tasks.items()}
        check_requirements(requirements, metrics, list(targets))
    known = dict(numbers(report))
    held = tuple(judge(one, known.get(one.path)) for one in requirements)
    return report.model_copy(update={"requirements": held})


def check_requirements(
    requirements: Sequence[Requirement],
    tasks: Mapping[str, Sequence[str]],
    targets: Sequence[str],
) -> None:
    """Check that the report of an evaluation can have the numbers that requirements name.

    Args:
        requirements: The rules.
        tasks: The metrics of each task.
        targets: The names of the targets.

    Raises:
        ConfigurationError: A report cannot have one of them; the message lists similar paths.
    """
    zero = Interval(value=0)
    pair = ScoreComparison(
        items=0,
        failed=0,
        difference=zero,
        only_this=0,
        only_other=0,
        p=1,
        verdict="not shown",
        sentence="",
    )
    known = {
        path
        for task, metrics in tasks.items()
        for name in targets
        for path, _ in numbers(
            TaskScores(
                method="generation",
                metrics=tuple(metrics),
                n=0,
                failed=0,
                shots=0,
                calls=0,
                seconds=0,
                comparisons={other: pair for other in targets if other != name},
                **{_field(metric): zero for metric in metrics},  # type: ignore[arg-type]
            ),
            f"evaluations.{task}.{name}",
        )
    }
    for requirement in requirements:
        requirement.check_path(known)


def _rates(results: Iterable[TaskResult]) -> frozenset[str]:
    """Return the metrics whose values are between 0 and 1 and better if they are higher."""
    metrics, outside = set[str](), set[str]()
    for one in results:
        metrics.update(one.metrics)
        outside |= one.lower_is_better
        for item in one.items:
            outside.update(name for name, value in item.values.items() if not 0 <= value <= 1)
    return frozenset(metrics - outside)


def _field(metric: str) -> str:
    """Return the name of a metric in the report, which has other fields beside it."""
    return f"{metric}_score" if metric in TaskScores.model_fields else metric


def _scores(
    result: TaskResult,
    rates: frozenset[str],
    figure: Published | None,
    comparisons: Mapping[str, ScoreComparison],
) -> TaskScores:
    found = {
        metric: scored
        for metric in result.metrics
        if (scored := _score(result, metric, rates)) is not None
    }
    reason = result.not_comparable or _unlike(result, figure)
    shown = None
    if figure is not None:
        shown = PublishedScore(
            name=figure.name,
            value=figure.value,
            metric=figure.metric,
            shots=figure.shots,
            note=figure.note,
            source=figure.source,
            url=figure.url,
            against=None if reason else _against(found.get(figure.metric), figure.value),
        )
    errors = Counter(item.error for item in result.items if item.error is not None)
    return TaskScores(
        method=result.method,
        metrics=tuple(map(_field, result.metrics)),
        rates=tuple(_field(metric) for metric in result.metrics if metric in rates),
        lower_is_better=tuple(sorted(map(_field, result.lower_is_better))),
        n=len(result.items) - errors.total(),
        failed=errors.total(),
        errors=dict(errors.most_common()),
        shots=result.shots,
        calls=result.calls,
        input_tokens=result.input_tokens,
        output_tokens=result.output_tokens,
        cost_usd=result.cost_usd,
        seconds=result.seconds,
        published=shown,
        not_comparable=reason,
        comparisons=dict(comparisons),
        **{_field(metric): scored for metric, scored in found.items()},  # type: ignore[arg-type]
    )


def _unlike(result: TaskResult, figure: Published | None) -> str | None:
    """Return why a score is not comparable with a figure; ``None`` if it is, or there is none."""
    if figure is None:
        return None
    if figure.reason is not None:
        return figure.reason
    if figure.shots not in (None, result.shots):
        return f"The published prompt has {figure.shots} examples, and this one {result.shots}."
    return None


def _score(result: TaskResult, metric: str, rates: frozenset[str]) -> Interval | None:
    """Return the score of a metric, with its interval if the score is a mean of the items."""
    part_of = _partition([result], metric)
    if part_of is None:
        return Interval(value=result.aggregate[metric])
    parts = _parts(result, metric, _ids([result], metric, part_of))
    return Interval.of(score(parts, bounded=metric in rates))


def _whole(item: str) -> str:
    return ""


def _task_of(item: str) -> str:
    """Return the task of an item of a group, whose ids are ``task/id``."""
    return item.partition("/")[0]


def _partition(results: Sequence[TaskResult], metric: str) -> Callable[[str], str] | None:
    """Return the parts of the items of which every score is the mean, by the id of an item.

    Most scores are means of all items, and those of some groups are means of their tasks. Others,
    such as perplexities, are no means: ``None``.
    """
    for part_of in (_whole, _task_of):
        if all(_is_mean(one, metric, part_of) for one in results):
            return part_of
    return None


def _is_mean(result: TaskResult, metric: str, part_of: Callable[[str], str]) -> bool:
    parts: dict[str, list[float]] = {}
    for item in result.items:
        if metric in item.values:
            parts.setdefault(part_of(item.item), []).append(item.values[metric])
    whole = result.aggregate.get(metric)
    if whole is None or not parts:
        return whole is None
    return math.isclose(whole, fmean(map(fmean, parts.values())), rel_tol=1e-6, abs_tol=1e-9)


def _ids(
    results: Sequence[TaskResult], metric: str, part_of: Callable[[str], str]
) -> list[list[str]]:
    """Return the ids of the items that have a metric or failed, in parts."""
    parts: dict[str, list[str]] = {}
    items = [item for one in results for item in one.items]
    for id in dict.fromkeys(one.item for one in items if metric in one.values or one.error):
        parts.setdefault(part_of(id), []).append(id)
    return list(parts.values())


def _parts(
    result: TaskResult, metric: str, ids: Sequence[Sequence[str]]
) -> list[list[float | None]]:
    values = {item.item: item.values.get(metric) for item in result.items}
    return [[values.get(id) for id in part] for part in ids]


def _against(found: Interval | None, figure: float) -> Against | None:
    """Return where a score is, compared with a published figure."""
    if found is None or found.low is None or found.high is None:
        return None
    return "below" if found.high < figure else "above" if found.low > figure else "within"


def _comparisons(
    reference: str,
    tasks: Mapping[str, Mapping[str, TaskResult]],
    rates: Mapping[str, frozenset[str]],
) -> dict[tuple[str, str], dict[str, ScoreComparison]]:
    """Compare the main metric of every target with that of the reference, on every task.

    Returns the comparisons by task, target, and the name of the reference.
    """
    references = {
        task: reference if reference in found else next(iter(found))
        for task, found in tasks.items()
    }
    pairs: dict[tuple[str, str], PairedScores] = {}
    lower = {}
    for task, found in tasks.items():
        for name, one in found.items():
            if name == references[task]:
                continue
            pair = _paired(found[references[task]], one, bounded=one.metrics[0] in rates[task])
            if pair is not None:
                pairs[task, name] = pair
                lower[task, name] = one.metrics[0] in one.lower_is_better
    judged = judge_scores(pairs, lower_is_better=lower)

    def said(task: str, name: str, pair: PairedScores) -> str:
        metric = tasks[task][name].metrics[0]
        return _sentence(name, references[task], task, metric, pair, rate=metric in rates[task])

    return {
        (task, name): {
            references[task]: ScoreComparison(
                items=pair.items,
                failed=pair.failed,
                difference=Interval.model_validate(pair.difference, from_attributes=True),
                only_this=pair.only_b,
                only_other=pair.only_a,
                p=pair.p if pair.p_adjusted is None else pair.p_adjusted,
                verdict=pair.verdict,
                sentence=said(task, name, pair),
            )
        }
        for (task, name), pair in judged.items()
    }


def _paired(a: TaskResult, b: TaskResult, *, bounded: bool) -> PairedScores | None:
    """Compare two targets on all items of a task.

    Returns ``None`` if the scores are no means of items, or there are no items to compare.
    """
    metric = a.metrics[0]
    part_of = _partition([a, b], metric)
    if part_of is None:
        return None
    ids = _ids([a, b], metric, part_of)
    return compare_scores(_parts(a, metric, ids), _parts(b, metric, ids), bounded=bounded)


def _sentence(
    name: str, reference: str, task: str, metric: str, pair: PairedScores, *, rate: bool
) -> str:
    found = _VERDICTS[pair.verdict].format(name=name, reference=reference, task=task)
    write = points if rate else "{:+.4g}".format
    low, high = pair.difference.low, pair.difference.high
    ends = "" if low is None or high is None else f" [{write(low)}, {write(high)}]"
    return (
        f"{found}: the difference in {in_words(metric)} is {write(pair.difference.value)}"
        f"{' points' if rate else ''}{ends} (p = {p_value(pair.p_adjusted)}, {pair.items:,} items)."
    )


_VERDICTS: Mapping[Verdict, str] = {
    "better": "{name} is better than {reference} on {task}",
    "worse": "{name} is worse than {reference} on {task}",
    "not shown": "No difference between {name} and {reference} is shown on {task}",
}
