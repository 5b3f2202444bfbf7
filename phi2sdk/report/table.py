"""The table of a report: the same cells on the terminal and in Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from phi2sdk.report.schema import AgreementReport, Report, TargetReport
from phi2sdk.report.words import (
    SIMULATED,
    UNKNOWN,
    agreement_cell,
    cost_cell,
    quantile_cell,
    seconds,
)

__all__ = ["COLUMNS", "Column", "comparison", "failures", "in_short", "rows", "verdicts"]


@dataclass(frozen=True, slots=True)
class Column:
    """A column: short title, and what it means in full."""

    title: str
    meaning: str


COLUMNS = (
    Column("target", "the target; `ref` marks the reference"),
    Column("TTFT", "median time to first token"),
    Column("E2E p50", "median end-to-end latency"),
    Column("E2E p95", "95th percentile of it"),
    Column("tok/s", "output tokens per second of the target"),
    Column("$/1000", "US dollars for a thousand acceptable answers"),
    Column("same", "answers equal to the reference's after cutting at the stop"),
    Column("edit", "edit similarity with the reference's answers, in tokens"),
    Column("±", "our own error of these latencies (99th percentile), from calibration"),
)


def rows(report: Report) -> list[tuple[str, ...]]:
    """One row a target, cells in the order of :data:`COLUMNS`."""
    return [_row(report, name, target) for name, target in report.targets.items()]


def comparison(report: Report, name: str) -> AgreementReport | None:
    """A target's agreement with the reference."""
    pair = report.pairs.get(f"{report.run.reference}:{name}")
    return pair.agreement if pair else None


def verdicts(report: Report) -> list[str]:
    """Each target against the reference, in words."""
    said = []
    for name, pair in report.pairs.items():
        ratio = pair.latency_ratio.e2e
        if name.startswith(f"{report.run.reference}:") and ratio is not None:
            simulated = f"{SIMULATED} " if pair.simulated else ""
            said.append(f"{simulated}{ratio.sentence}")
    return said


def in_short(report: Report) -> str:
    """Who is fastest and cheapest, and who agrees, of those that are not another model."""
    said = []
    others = [n for n in report.targets if n in report.identity and _is_other(report, n)]
    targets = {name: t for name, t in report.targets.items() if name not in others}
    marked = {n: f"{SIMULATED if t.simulated else ''}{n}" for n, t in targets.items()}
    medians = {
        name: target.latency.e2e.p50.value
        for name, target in targets.items()
        if target.latency.e2e is not None and target.latency.e2e.p50.value is not None
    }
    costs = {n: t.cost.per_summary.value for n, t in targets.items() if t.cost is not None}
    if medians:
        said.append(
            f"{marked[min(medians, key=medians.__getitem__)]} has the lowest median latency"
        )
    if costs:
        cheapest = marked[min(costs, key=costs.__getitem__)]
        said.append(f"{cheapest} is the cheapest of those with a known price")
    rates = [
        found.exact_cut.value
        for name in targets
        if (found := comparison(report, name)) is not None and found.exact_cut is not None
    ]
    if rates:
        equal = sum(rate == 1 for rate in rates)
        said.append(f"{equal} of {len(rates)} targets answered just as {report.run.reference}")
    if others:
        said.append(f"{' and '.join(others)} {'is' if len(others) == 1 else 'are'} another model")
    return f"In short: {', '.join(said) or 'nothing was answered'}."


def _is_other(report: Report, name: str) -> bool:
    return report.identity[name].verdict == "different"


def failures(report: Report) -> list[str]:
    """Requests without an answer, by target and kind, each with an example."""
    said = []
    for name, target in report.targets.items():
        errors = target.errors
        if errors.attempted == errors.ok:
            continue
        said.append(f"{name}: {errors.attempted - errors.ok} of {errors.attempted} failed")
        if errors.empty:
            said.append(f"{name}: {errors.empty} x empty answer")
        said += [
            f"{name}: {n} x {k}: {errors.examples.get(k, '')}" for k, n in errors.kinds.items()
        ]
    return said


def _row(report: Report, name: str, target: TargetReport) -> tuple[str, ...]:
    simulated, latency = target.simulated, target.latency
    speed = target.throughput.tokens_per_second
    agreement = comparison(report, name)
    same = "ref" if target.reference else agreement_cell(agreement, "exact_cut")
    edit = "ref" if target.reference else agreement_cell(agreement, "edit_similarity")
    calibration = report.validity.calibration.get(target.wire or "")
    error = None if calibration is None else max(calibration.ttft.p99, calibration.e2e.p99)
    return (
        name,
        quantile_cell(latency.ttft.p50 if latency.ttft else None, simulated=simulated),
        quantile_cell(latency.e2e.p50 if latency.e2e else None, simulated=simulated),
        quantile_cell(latency.e2e.p95 if latency.e2e else None, simulated=simulated),
        UNKNOWN if speed is None else f"{SIMULATED if simulated else ''}{speed:.0f}",
        cost_cell(target.cost),
        same,
        edit,
        UNKNOWN if error is None else seconds(error),
    )
