"""The first screen: can it be believed, who is chosen, why, and what would change that."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from phi2sdk.report.html.cells import Cell, count, latency, money, plain, rate
from phi2sdk.report.schema import Interval, Report, TargetReport
from phi2sdk.report.table import comparison

__all__ = ["COLUMNS", "Row", "cost_of", "outcome", "rows"]

COLUMNS = (
    ("cost", "USD / 1,000", "US dollars for a thousand acceptable answers"),
    ("p50", "E2E p50", "median end-to-end latency"),
    ("p95", "E2E p95", "95th percentile of the end-to-end latency"),
    ("ttft", "TTFT p50", "median time to first token"),
    ("speed", "tokens/s", "output tokens per second of the target"),
    ("same", "same", "prompts with the reference's very answer, cut at the stop"),
    ("identity", "same model?", "verdict of the identity tests"),
    ("failed", "failed", "requests without an answer, of all that were sent"),
)
"""``(key, title, meaning)`` of each column between the target's name and the outcome."""

VERDICTS = ("different", "undetermined", "not-tested", "consistent", "reference")
"""From what speaks most against a target to what speaks for it."""


@dataclass(frozen=True, slots=True)
class Row:
    """A target in the decision table: one cell for each of :data:`COLUMNS`."""

    name: str
    cells: Mapping[str, Cell]
    outcome: Cell
    kind: str


def rows(report: Report) -> list[Row]:
    """Every target, in the order of the run."""
    return [
        Row(name, _cells(report, name, target), *outcome(report, name))
        for name, target in report.targets.items()
    ]


def cost_of(report: Report, name: str) -> Interval | None:
    """What the decision goes by: dollars an answer, at the volume if one was given."""
    if report.decision is not None and name in report.decision.choices:
        return report.decision.choices[name].cost
    cost = report.targets[name].cost
    return cost.per_summary if cost else None


def outcome(report: Report, name: str) -> tuple[Cell, str]:
    """What became of a target, and the class of its mark."""
    choice = report.decision.choices.get(name) if report.decision else None
    if choice is None or report.decision is None:
        return plain("", 9), "none"
    if name == report.decision.winner:
        return plain("chosen", 0), "chosen"
    if choice.fails:
        return Cell("fails", sort=3, about="; ".join(choice.fails)), "fails"
    if choice.identity == "different":
        return Cell("another model", sort=4), "fails"
    if choice.dominated_by:
        return Cell("beaten", sort=2, about=f"by {', '.join(choice.dominated_by)}"), "beaten"
    return plain("cost unknown" if choice.cost is None else "alternative", 1), "open"


def _cells(report: Report, name: str, target: TargetReport) -> dict[str, Cell]:
    simulated, times = target.simulated, target.latency
    agreement, errors = comparison(report, name), target.errors
    looked_at = report.identity.get(name)
    verdict = looked_at.verdict if looked_at else "not-tested"
    if target.reference and verdict == "not-tested":
        verdict = "reference"
    failed = errors.attempted - errors.ok
    reference = Cell("reference", sort=1.0)
    return {
        "cost": money(cost_of(report, name), simulated=simulated),
        "p50": latency(times.e2e, "p50", simulated=simulated),
        "p95": latency(times.e2e, "p95", simulated=simulated),
        "ttft": latency(times.ttft, "p50", simulated=simulated),
        "speed": count(target.throughput.tokens_per_second, simulated=simulated),
        "same": reference if target.reference else rate(agreement.exact_cut if agreement else None),
        "identity": Cell(
            verdict.replace("-", " "),
            sort=float(VERDICTS.index(verdict)),
        ),
        "failed": Cell(f"{failed:,} / {errors.attempted:,}", sort=float(failed)),
    }
