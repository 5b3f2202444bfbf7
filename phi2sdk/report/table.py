"""The table of a report: the same cells on the terminal and in Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from phi2sdk.report.schema import AgreementReport, Report, TargetReport
from phi2sdk.report.words import SIMULATED, UNKNOWN, agreement_cell, cost_cell, quantile_cell

__all__ = ["COLUMNS", "Column", "comparison", "rows"]


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
    Column("failed", "requests without an answer, of all"),
)


def rows(report: Report) -> list[tuple[str, ...]]:
    """One row a target, cells in the order of :data:`COLUMNS`."""
    return [_row(report, name, target) for name, target in report.targets.items()]


def comparison(report: Report, name: str) -> AgreementReport | None:
    """A target's agreement with the reference."""
    pair = report.pairs.get(f"{report.run.reference}:{name}")
    return pair.agreement if pair else None


def _row(report: Report, name: str, target: TargetReport) -> tuple[str, ...]:
    simulated, latency = target.simulated, target.latency
    speed = target.throughput.tokens_per_second
    agreement = comparison(report, name)
    same = "ref" if target.reference else agreement_cell(agreement, "exact_cut")
    edit = "ref" if target.reference else agreement_cell(agreement, "edit_similarity")
    errors = target.errors
    return (
        name,
        quantile_cell(latency.ttft.p50 if latency.ttft else None, simulated=simulated),
        quantile_cell(latency.e2e.p50 if latency.e2e else None, simulated=simulated),
        quantile_cell(latency.e2e.p95 if latency.e2e else None, simulated=simulated),
        UNKNOWN if speed is None else f"{SIMULATED if simulated else ''}{speed:.0f}",
        cost_cell(target.cost),
        same,
        edit,
        f"{errors.attempted - errors.ok}/{errors.attempted}",
    )
