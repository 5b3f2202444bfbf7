"""The tables and sentences of the report of an evaluation, for every writer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from phi2sdk.report.evaluation_schema import (
    Against,
    EvaluationReport,
    PublishedScore,
    ScoreComparison,
    TaskScores,
)
from phi2sdk.report.format import (
    SIMULATED,
    UNKNOWN,
    in_words,
    listed,
    p_value,
    points,
    usd,
)
from phi2sdk.report.schema import Interval
from phi2sdk.report.section import Cell, Column, Section, count, target_column, words

_TASK = Column("task", "task", words=True)
_TARGET = target_column()
_METRIC = Column("metric", "metric", words=True)
_SCORE = Column("score", "score")
_CALLS = Column("calls", "calls_made", optional=True)
_COST = Column("cost (USD)", "cost_of_task", optional=True)
_TIME = Column("time (s)", "time_of_task", optional=True)
_AGAINST: Mapping[Against, str] = {
    "below": "score is lower",
    "within": "in interval",
    "above": "score is higher",
}
_KINDS = {"worse": "fails", "better": "chosen", "not shown": ""}


def headlines(report: EvaluationReport) -> list[str]:
    """Return the result in sentences: what differs, what is below the published figures."""
    return [
        *_state(report),
        *_differences(report),
        *_below_published(report),
        *_failures(report),
    ]


def sections(report: EvaluationReport) -> list[Section]:
    """Return the tables of an evaluation in their order; empty ones are omitted."""
    found = (scores(report), comparisons(report), further(report), published(report), spent(report))
    return [section for section in found if section.rows or section.lines]


def _results(report: EvaluationReport) -> Iterator[tuple[str, str, TaskScores]]:
    for task, by_target in report.evaluations.items():
        for name, one in by_target.items():
            yield task, name, one


def _state(report: EvaluationReport) -> Iterator[str]:
    if not report.run.complete:
        results = sum(map(len, report.evaluations.values()))
        planned = sum(map(len, report.run.tasks.values()))
        yield f"Incomplete: {results} of {planned} results of a target on a task are recorded."
    named = [name for name, target in report.targets.items() if target.simulated]
    if named:
        yield f"Simulated: emulators answered for {listed(named)}."


def _differences(report: EvaluationReport) -> Iterator[str]:
    pairs = 0
    shown: dict[tuple[str, str, str], list[str]] = {}
    for task, name, one in _results(report):
        for other, pair in one.comparisons.items():
            pairs += 1
            if pair.verdict != "not shown":
                unit = " points" if one.metrics[0] in one.rates else ""
                cell = _difference(one, pair.difference)
                ends = f" [{', '.join(cell.ends)}]" if cell.ends else ""
                shown.setdefault((name, pair.verdict, other), []).append(
                    f"{task} ({cell.text}{unit}{ends})"
                )
    for (name, verdict, other), tasks in shown.items():
        yield f"{name} is {verdict} than {other} on {listed(tasks)}."
    if rest := pairs - sum(map(len, shown.values())):
        yield f"No difference from {_references(report)} is shown in {rest} of {pairs} comparisons."


def _references(report: EvaluationReport) -> str:
    names = (name for *_, one in _results(report) for name in one.comparisons)
    return listed(list(dict.fromkeys(names)))


def _below_published(report: EvaluationReport) -> Iterator[str]:
    below: dict[str, list[str]] = {}
    for task, name, one in _results(report):
        if one.published is not None and one.published.against == "below":
            below.setdefault(name, []).append(task)
    for name, tasks in below.items():
        yield f"The score of {name} is below the published figure on {listed(tasks)}."


def _failures(report: EvaluationReport) -> Iterator[str]:
    for name in report.targets:
        mine = [one for _, own, one in _results(report) if own == name]
        failed, every = sum(one.failed for one in mine), sum(one.failed + one.n for one in mine)
        if failed:
            kinds: Counter[str] = Counter()
            for one in mine:
                kinds.update(one.errors)
            listing = ", ".join(f"{n:,} x {kind}" for kind, n in kinds.most_common())
            yield (
                f"{name} failed on {failed:,} of {every:,} items ({listing}). The interval of a "
                "score counts a failed item as wrong at its lower end and right at its upper end."
            )


def scores(report: EvaluationReport) -> Section:
    """Return the scores by task and target, beside the published figures."""
    figures = any(one.published is not None for *_, one in _results(report))
    columns = [
        _TASK,
        _TARGET,
        _METRIC,
        _SCORE,
        *([Column("published", "published_figure")] if figures else []),
        Column("shots", "shots", optional=True),
        Column("items", "item", optional=True),
        _COST,
        _TIME,
    ]
    rows = [
        (
            words(task, about=_METHODS[one.method]),
            words(name),
            words(_title(one, one.metrics[0])),
            _score(one, one.metrics[0]),
            *([_figure(one)] if figures else []),
            count(one.shots),
            count(one.n),
            _money(one.cost_usd, simulated=report.targets[name].simulated),
            _seconds(one.seconds, simulated=report.targets[name].simulated),
        )
        for task, name, one in _results(report)
    ]
    return Section("Scores", columns, rows)


_METHODS = {
    "likelihood": "the answer is the choice with the largest log-likelihood",
    "generation": "the target writes the answer, as the task defines it",
    "generative": "the target writes the letter of its choice; never comparable with likelihoods",
}


def comparisons(report: EvaluationReport) -> Section:
    """Return the difference of every target from the reference."""
    references = _references(report)
    columns = (
        _TASK,
        _TARGET,
        _METRIC,
        Column("difference", "score_difference"),
        Column("items", "item", optional=True),
        Column("only one right", "only_one_right", optional=True),
        Column("p", "score_p", optional=True),
        Column("result", "score_verdict", words=True),
    )
    rows = [
        (
            words(task),
            words(name),
            words(_title(one, one.metrics[0])),
            _difference(one, pair.difference),
            count(pair.items),
            _only_one(name, other, pair),
            Cell(p_value(pair.p), sort=pair.p),
            words(pair.verdict, kind=_KINDS[pair.verdict], about=pair.sentence),
        )
        for task, name, one in _results(report)
        for other, pair in one.comparisons.items()
    ]
    if not rows:
        return Section("Comparison")
    first = report.run.reference
    lines = [
        f"{first} does not answer {task}, so the reference of this task is {other}."
        for task, by_target in report.evaluations.items()
        for other in dict.fromkeys(o for one in by_target.values() for o in one.comparisons)
        if other != first
    ]
    lines.append(
        "Each target is compared with the reference item by item. Items that are right or wrong "
        "are compared by McNemar's exact test, with Tango's interval of the difference; others by "
        f"a permutation test. p is adjusted for all {len(rows)} comparisons (Holm)."
    )
    return Section(f"Comparison with {references}", columns, rows, lines)


def further(report: EvaluationReport) -> Section:
    """Return the metrics beside the main metric of each task."""
    rows = [
        (words(task), words(name), words(_title(one, metric)), _score(one, metric))
        for task, name, one in _results(report)
        for metric in one.metrics[1:]
    ]
    return Section("Scores on further metrics", (_TASK, _TARGET, _METRIC, _SCORE), rows)


def published(report: EvaluationReport) -> Section:
    """Return the published figures by source, and why a score is not comparable with them."""
    sources: dict[str, dict[str, None]] = {}
    reasons: dict[str, dict[str, None]] = {}
    for task, _, one in _results(report):
        if (figure := one.published) is None:
            continue
        shown = sources.setdefault(f"{figure.source} <{figure.url}>", {})
        shown[_figure_line(task, figure)] = None
        if one.not_comparable is not None:
            reasons.setdefault(one.not_comparable, {})[task] = None
    lines = [f"{source}: {'; '.join(shown)}." for source, shown in sources.items()]
    lines += [
        f"Not comparable with the figure: {listed(list(tasks))}. {why}"
        for why, tasks in reasons.items()
    ]
    return Section("Published figures", lines=lines)


def _figure_line(task: str, figure: PublishedScore) -> str:
    name = task if figure.name.casefold() == task else f"{figure.name} ({task})"
    shots = "" if figure.shots is None else f", {figure.shots} shots"
    note = f", {figure.note.rstrip('.')}" if figure.note else ""
    return f"{name} {figure.value:.1%} ({in_words(figure.metric)}{shots}{note})"


def spent(report: EvaluationReport) -> Section:
    """Return calls, tokens, cost and time of each target over all tasks."""
    columns = (
        _TARGET,
        _CALLS,
        Column("input tokens", "tokens_of_calls", optional=True),
        Column("output tokens", "tokens_of_calls", optional=True),
        _COST,
        _TIME,
    )
    rows = []
    for name, target in report.targets.items():
        mine = [one for _, own, one in _results(report) if own == name]
        if mine:
            rows.append(
                (
                    words(name),
                    count(sum(one.calls for one in mine)),
                    count(_sum([one.input_tokens for one in mine])),
                    count(_sum([one.output_tokens for one in mine])),
                    _money(_sum([one.cost_usd for one in mine]), simulated=target.simulated),
                    _seconds(sum(one.seconds for one in mine), simulated=target.simulated),
                )
            )
    return Section("Cost and time of all tasks", columns, rows)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _only_one(name: str, reference: str, pair: ScoreComparison) -> Cell:
    if pair.only_this is None or pair.only_other is None:
        return Cell(UNKNOWN, about="the items are not just right or wrong")
    return Cell(
        f"{pair.only_this:,} / {pair.only_other:,}",
        sort=pair.only_this - pair.only_other,
        about=f"{pair.only_this:,} only by {name}, {pair.only_other:,} only by {reference}",
    )


def _title(one: TaskScores, metric: str) -> str:
    unit = " (%)" if metric in one.rates else ""
    return f"{in_words(metric)}{unit}"


def _write(one: TaskScores, metric: str, value: float) -> str:
    return f"{value * 100:.1f}" if metric in one.rates else f"{value:.4g}"


def _score(one: TaskScores, metric: str) -> Cell:
    found = one.metric(metric)
    if found is None:
        return Cell("failed", about="every item failed")
    text = _write(one, metric, found.value)
    if found.low is None or found.high is None:
        return Cell(text, sort=found.value, about="this score has no interval")
    return Cell(
        text, (_write(one, metric, found.low), _write(one, metric, found.high)), found.value
    )


def _difference(one: TaskScores, found: Interval) -> Cell:
    write = points if one.metrics[0] in one.rates else "{:+.4g}".format
    if found.low is None or found.high is None:
        return Cell(write(found.value), sort=found.value, about="too few items for an interval")
    return Cell(write(found.value), (write(found.low), write(found.high)), found.value)


def _figure(one: TaskScores) -> Cell:
    figure = one.published
    if figure is None:
        return Cell(UNKNOWN, about="no published figure is known")
    if figure.against is None:
        return words("not comparable", about=one.not_comparable or "the score has no interval")
    text = f"{figure.value * 100:.1f}"
    return Cell(text, sort=figure.value, about=figure.note, below=_AGAINST[figure.against])


def _money(value: float | None, *, simulated: bool) -> Cell:
    if value is None:
        return Cell("unknown", about="no price is known; the cost is not zero")
    return Cell(f"{SIMULATED if simulated else ''}{usd(value)}", sort=value)


def _seconds(value: float, *, simulated: bool) -> Cell:
    return Cell(f"{SIMULATED if simulated else ''}{value:,.1f}", sort=value)
