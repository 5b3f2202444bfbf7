"""Two runs compared: what changed between them, and whether chance explains it.

Targets of the same name are compared on the prompts that both runs asked, matched by their text.
Latencies are compared as those of two targets are, prompt by prompt, and all p-values are adjusted
together; the cost ratio has an interval of the same prompts; answers are compared as in
:mod:`phi2sdk.analysis.agreement`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from pydantic import Field

from phi2sdk.analysis.agreement import Pairing, agreement, pair_up
from phi2sdk.analysis.cost import cost_ratio, spend_of
from phi2sdk.analysis.metrics import E2E, TTFT, Metric, tpot
from phi2sdk.analysis.paired import PairedRatio, compare_paired, judge_all
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import Run, differences
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.report.agreement import agreement_report
from phi2sdk.report.cost import cost_report
from phi2sdk.report.identity_numbers import identity_reports
from phi2sdk.report.measured import Measured
from phi2sdk.report.pairs import by_prompt
from phi2sdk.report.schema import AgreementReport, Interval, Part
from phi2sdk.report.section import Cell, Column, Section, target_column, words
from phi2sdk.report.validity import judge


class Change(Part):
    """A latency of run B over that of run A, prompt by prompt; ``significant`` after Holm."""

    metric: str
    a: float | None
    b: float | None
    ratio: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    prompts: int
    verdict: Literal["faster", "slower", "equivalent", "not resolvable", "not shown"]
    significant: bool
    prompts_needed: int | None = None
    """About how many prompts would decide a verdict that is not shown."""


class CostChange(Part):
    """The cost of an acceptable answer in US dollars in both runs, and its ratio B / A.

    The ratio is computed from the prompts that both runs asked; it is decided if its 95% interval
    excludes 1, or lies within the margin.
    """

    a: float | None
    b: float | None
    ratio: Interval | None
    verdict: Literal["cheaper", "more expensive", "equivalent", "not shown", "unknown"]


class TargetDiff(Part):
    """All that changed about one target."""

    prompts: int
    failed_a: int
    failed_b: int
    changes: tuple[Change, ...]
    cost: CostChange
    identity_a: str
    identity_b: str
    agreement: AgreementReport


class RunSide(Part):
    """The validity of one of the two runs, and when it started."""

    valid: bool
    sentence: str
    started: str


class Diff(Part):
    """The whole comparison of two runs."""

    schema_: Literal["phi2sdk.diff/1"] = Field(default="phi2sdk.diff/1", alias="schema")
    a: RunSide
    b: RunSide
    margin: float
    prompts: int
    configuration: tuple[str, ...]
    targets: dict[str, TargetDiff]
    only_a: tuple[str, ...] = ()
    only_b: tuple[str, ...] = ()


def diff_runs(a: Run, b: Run, tokenizer: ReferenceTokenizer, *, margin: float = 0.05) -> Diff:
    """Compare run B with run A.

    Raises:
        ConfigurationError: The runs have no target, or no prompt, in common.
    """
    names = [n for n in a.configuration["targets"] if n in b.configuration["targets"]]
    if not names:
        raise ConfigurationError(
            "the two runs have no target in common, so there is nothing to compare: name two runs "
            "of the same targets"
        )
    same = _same_prompts(a.configuration["prompts"], b.configuration["prompts"])
    if not same:
        raise ConfigurationError(
            "the two runs have no prompt in common, so there is nothing to compare: name two runs "
            "of the same input"
        )
    left = {name: _records(a, name, {id: id for id in same}) for name in names}
    right = {name: _records(b, name, {theirs: id for id, theirs in same.items()}) for name in names}
    changes = _changes(a, b, left, right, (TTFT, E2E, tpot(tokenizer)), margin)
    sides = Measured.of(a, tokenizer), Measured.of(b, tokenizer)
    identity = [identity_reports(side)[0] for side in sides]
    return Diff(
        a=_side(sides[0]),
        b=_side(sides[1]),
        margin=margin,
        prompts=len(same),
        configuration=tuple(differences(_settings(a.configuration), _settings(b.configuration))),
        targets={
            name: TargetDiff(
                prompts=len(same),
                failed_a=sum(not r.ok for r in left[name]),
                failed_b=sum(not r.ok for r in right[name]),
                changes=changes[name],
                cost=_cost(name, sides, left[name], right[name], margin),
                identity_a=_identity(identity[0], name),
                identity_b=_identity(identity[1], name),
                agreement=agreement_report(
                    agreement(_alike(a, b, pair_up(left[name], right[name])), tokenizer)
                ),
            )
            for name in names
        },
        only_a=tuple(n for n in a.configuration["targets"] if n not in names),
        only_b=tuple(n for n in b.configuration["targets"] if n not in names),
    )


def _changes(
    a: Run,
    b: Run,
    left: Mapping[str, Sequence[Record]],
    right: Mapping[str, Sequence[Record]],
    compared: Sequence[Metric],
    margin: float,
) -> dict[str, tuple[Change, ...]]:
    """By target, each latency that both runs have."""
    ratios: dict[str, PairedRatio] = {}
    for name in left:
        for metric in compared:
            values = [by_prompt(metric, side[name]) for side in (left, right)]
            if all(any(one) for one in (values[0].values(), values[1].values())):
                ratios[f"{name}/{metric.name}"] = compare_paired(*values, margin=margin)
    judged = judge_all(ratios, {key: _error(key, a, b) for key in ratios})
    return {
        name: tuple(
            _change(metric, judged[key], left[name], right[name])
            for metric in compared
            if (key := f"{name}/{metric.name}") in judged
        )
        for name in left
    }


def _side(measured: Measured) -> RunSide:
    validity = judge(measured)
    started = measured.run.info["started"]
    return RunSide(valid=validity.valid, sentence=validity.sentence, started=started)


def _identity(reports: Mapping[str, object], name: str) -> str:
    return str(getattr(reports.get(name), "verdict", "not-tested"))


def _cost(
    name: str,
    sides: tuple[Measured, Measured],
    left: Sequence[Record],
    right: Sequence[Record],
    margin: float,
) -> CostChange:
    means, spends = [], []
    texts = sides[0].run.prompts  # the records of both sides have the ids of run A
    for side, records in zip(sides, (left, right), strict=True):
        price, report = side.prices[name], cost_report(side, name)
        means.append(None if report is None else report.per_summary.value)
        known = price is not None and records
        spends.append(
            spend_of(price, records, texts.__getitem__, side.tokenizer) if price and known else None
        )
    before, after = spends
    ratio = None
    if before is not None and after is not None:
        ratio = Interval.of(cost_ratio(before, after))
    return CostChange(a=means[0], b=means[1], ratio=ratio, verdict=_cost_verdict(ratio, margin))


def _cost_verdict(
    ratio: Interval | None, margin: float
) -> Literal["cheaper", "more expensive", "equivalent", "not shown", "unknown"]:
    if ratio is None:
        return "unknown"
    if ratio.low is None or ratio.high is None:
        return "not shown"
    if 1 / (1 + margin) <= ratio.low and ratio.high <= 1 + margin:
        return "equivalent"
    if ratio.high < 1:
        return "cheaper"
    return "more expensive" if ratio.low > 1 else "not shown"


def _same_prompts(a: Mapping[str, str], b: Mapping[str, str]) -> dict[str, str]:
    """The ids of A with those of B, for the prompts with the same text."""
    by_text = {text: id for id, text in b.items()}
    return {id: by_text[text] for id, text in a.items() if text in by_text}


def _records(run: Run, target: str, ids: Mapping[str, str]) -> list[Record]:
    """A target's greedy records on the shared prompts, under the ids of run A."""
    return [
        replace(record, key=key._replace(prompt=ids[key.prompt]))
        for key, record in run.recorded.done.items()
        if key.target == target and key.arm == "greedy" and key.prompt in ids
    ]


def _alike(a: Run, b: Run, pairing: Pairing) -> Pairing:
    """No pairs where a unique prefix made the prompts of the runs different."""
    if not any(run.configuration.get("unique_prefix") for run in (a, b)):
        return pairing
    return Pairing({}, pairing.missing + len(pairing.pairs))


def _settings(configuration: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in configuration.items() if name != "prompts"}


def _error(key: str, a: Run, b: Run) -> float | None:
    """The larger measurement error of the two runs, over all wires."""
    metric = "ttft" if key.endswith("/ttft") else "e2e"
    if key.endswith("/tpot"):
        return None
    found = [e[metric]["p99"] for run in (a, b) for e in run.recorded.calibrations]
    return max(found, default=None)


def _change(
    metric: Metric, pair: PairedRatio, left: Sequence[Record], right: Sequence[Record]
) -> Change:
    return Change(
        metric=metric.name,
        a=_median(metric, left),
        b=_median(metric, right),
        ratio=pair.ratio,
        low=pair.low,
        high=pair.high,
        p=pair.p_adjusted,
        prompts=pair.pairs,
        verdict=pair.verdict,
        significant=pair.verdict in ("faster", "slower"),
        prompts_needed=pair.prompts_needed,
    )


def _median(metric: Metric, records: Sequence[Record]) -> float | None:
    values = sorted(v for r in records for v in metric.values(r))
    middle = values[(len(values) - 1) // 2] if values else float("inf")
    return None if middle == float("inf") else middle


# ------------------------------------------------------------------------- sentences and table

WORDS = {"equivalent": "equal", "not shown": "undecided", "not resolvable": "noise"}
"""Verdicts as the table writes them; the others are written as they are."""
TITLES = {"ttft": "TTFT", "e2e": "E2E", "tpot": "TPOT"}
MOST = 5
"""Settings that are listed one by one."""
_COLUMNS = (
    target_column(),
    Column("E2E, B/A", "e2e"),
    Column("TTFT, B/A", "ttft"),
    Column("TPOT, B/A", "tpot", optional=True),
    Column("cost, B/A", "cost"),
    Column("same model?", "same_model", words=True),
    Column("exact match, %", "exact_match"),
    Column("failures", "failures", optional=True),
)


def headline(found: Diff) -> Iterator[str]:
    """Yield what a reader must know first: validity, the result in a sentence, other settings."""
    for name, side in (("A", found.a), ("B", found.b)):
        if not side.valid:
            yield f"Run {name} is not valid, so do not trust its latencies. {side.sentence}"
    if found.a.valid and found.b.valid:
        yield "Both runs are valid."
    yield _result(found)
    for line in found.configuration[:MOST]:
        yield f"Different setting: {line}"
    if (more := len(found.configuration) - MOST) > 0:
        yield f"{more} more settings differ; --json lists them."


def table(found: Diff) -> Section:
    """Return the table of targets, with what would decide its open rows."""
    rows = [_row(name, target) for name, target in found.targets.items()]
    title = f"Run B compared with run A on {found.prompts} common prompts"
    return Section(title, _COLUMNS, rows, tuple(_notes(found)))


def _result(found: Diff) -> str:
    changed = []
    for name, target in found.targets.items():
        for verdict in ("faster", "slower"):
            metrics = [TITLES[c.metric] for c in target.changes if c.verdict == verdict]
            if metrics:
                changed.append(f"{name} is {verdict} ({', '.join(metrics)})")
    changed += [
        f"{name} is {target.cost.verdict}"
        for name, target in found.targets.items()
        if target.cost.verdict in ("cheaper", "more expensive")
    ]
    changed += [
        f"the identity verdict of {name} is {_verdict(target.identity_b)}, and was "
        f"{_verdict(target.identity_a)}"
        for name, target in found.targets.items()
        if target.identity_a != target.identity_b
    ]
    if not changed:
        return "No change from run A to run B is shown."
    more = len(changed) - MOST
    return f"Changed in run B: {'; '.join(changed[:MOST])}{f'; and {more} more' * (more > 0)}."


def _row(name: str, target: TargetDiff) -> tuple[Cell, ...]:
    by_metric = {change.metric: change for change in target.changes}
    ratio, exact = target.cost.ratio, target.agreement.exact_cut
    cost = _cell(
        None if ratio is None else ratio.value,
        None if ratio is None else ratio.low,
        None if ratio is None else ratio.high,
        target.cost.verdict,
    )
    same = _verdict(target.identity_b)
    if target.identity_a != target.identity_b:
        same = f"{_verdict(target.identity_a)} -> {same}"
    return (
        words(name),
        *(_change_cell(by_metric.get(metric)) for metric in ("e2e", "ttft", "tpot")),
        cost,
        words(same),
        Cell("-" if exact is None else f"{exact.value * 100:.0f}"),
        words(f"{target.failed_a} -> {target.failed_b}"),
    )


def _change_cell(change: Change | None) -> Cell:
    if change is None:
        return words("-")
    return _cell(change.ratio, change.low, change.high, change.verdict)


def _cell(ratio: float | None, low: float | None, high: float | None, verdict: str) -> Cell:
    value = "" if ratio is None else f"{ratio:.2f} "
    ends = None if low is None or high is None else (f"{low:.2f}", f"{high:.2f}")
    return Cell(f"{value}{WORDS.get(verdict, verdict)}", ends, ratio)


def _verdict(verdict: str) -> str:
    return verdict.replace("-", " ")


def _notes(found: Diff) -> Iterator[str]:
    for name, target in found.targets.items():
        needed = [
            f"{TITLES[change.metric]} {change.prompts_needed:,}"
            for change in target.changes
            if change.prompts_needed is not None
        ]
        if needed:
            yield f"{name}: about this many prompts would decide what is open: {', '.join(needed)}."
        if target.failed_a != target.failed_b:
            yield f"{name}: {target.failed_a} failures in run A, {target.failed_b} in run B."
    if any(c.verdict == "not resolvable" for t in found.targets.values() for c in t.changes):
        yield "noise: the difference is smaller than twice the measurement error."
    for names, where in ((found.only_a, "A"), (found.only_b, "B")):
        if names:
            yield f"Only run {where} has these targets: {', '.join(names)}."
