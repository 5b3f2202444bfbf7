"""The overview: every target in one table, and what a reader must know to read it."""

from __future__ import annotations

from collections.abc import Iterator

from phi2sdk.report import agreement, baseline, cost, decision, identity, latency, quality
from phi2sdk.report.agreement import with_reference
from phi2sdk.report.decision import cost_of, outcome
from phi2sdk.report.format import SIMULATED, TOO_FEW
from phi2sdk.report.schema import Report, TargetReport
from phi2sdk.report.section import (
    Cell,
    Column,
    Section,
    count,
    money,
    quantile,
    rate,
    target_column,
    words,
)

__all__ = ["DEMO", "failures", "how_often", "in_short", "notes", "overview", "sections", "so_far"]

DEMO = (
    "a small model of this package answers here, and over every provider's protocol on loopback. "
    "Latencies and prices of emulated providers are simulated."
)
VERDICTS = ("different", "undetermined", "not-tested", "consistent", "reference")
"""From what speaks most against a target to what speaks for it."""
COLUMNS = (
    target_column(),
    Column("outcome", "outcome", words=True, optional=True),
    Column("USD/1,000", "cost"),
    Column("TTFT p50", "ttft", "p50"),
    Column("E2E p50", "e2e", "p50"),
    Column("E2E p95", "e2e", "p95"),
    Column("tokens/s", "throughput"),
    Column("exact match", "exact_match"),
    Column("same model?", "same_model", words=True),
    Column("failures", "failures", optional=True),
)


def overview(report: Report) -> Section:
    """Every target in the order of the run, with what the decision goes by."""
    rows = [_row(report, name, target) for name, target in report.targets.items()]
    return Section("Targets", COLUMNS, rows)


def sections(report: Report) -> Iterator[Section]:
    """What follows the overview, in order: the decision first."""
    for subject in (decision, identity, agreement, quality, cost, baseline, latency):
        yield from subject.sections(report)


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
        if (found := with_reference(report, name)) is not None and found.exact_cut is not None
    ]
    if rates:
        equal = sum(rate == 1 for rate in rates)
        said.append(f"{equal} of {len(rates)} targets answered just as {report.run.reference}")
    if others:
        said.append(f"{' and '.join(others)} {'is' if len(others) == 1 else 'are'} another model")
    return f"In short: {', '.join(said) or 'nothing was answered'}."


def _is_other(report: Report, name: str) -> bool:
    return report.identity[name].verdict == "different"


def _row(report: Report, name: str, target: TargetReport) -> tuple[Cell, ...]:
    simulated, times, errors = target.simulated, target.latency, target.errors
    alike, examined = with_reference(report, name), report.identity.get(name)
    verdict = examined.verdict if examined else "not-tested"
    if target.reference and verdict == "not-tested":
        verdict = "reference"
    failed = errors.attempted - errors.ok
    exact = alike.exact_cut if alike else None
    return (
        words(name),
        outcome(report, name),
        money(cost_of(report, name), simulated=simulated),
        quantile(times.ttft.p50 if times.ttft else None, simulated=simulated),
        quantile(times.e2e.p50 if times.e2e else None, simulated=simulated),
        quantile(times.e2e.p95 if times.e2e else None, simulated=simulated),
        count(target.throughput.tokens_per_second, simulated=simulated),
        words("ref.", 1.0, about="the reference itself") if target.reference else rate(exact),
        words(verdict.replace("-", " "), float(VERDICTS.index(verdict)), kind=f"id-{verdict}"),
        Cell(f"{failed:,} / {errors.attempted:,}", sort=float(failed)),
    )


def how_often(report: Report) -> str:
    """How often each prompt was asked."""
    run = report.run
    if run.duration is None:
        return f"{run.repetitions}"
    return f"up to {run.repetitions} in {run.duration:g} s"


def so_far(report: Report) -> str:
    """How much of a run that was cut short is there."""
    run = report.run
    if run.duration is None:
        return f"{run.recorded} of {run.requests} requests are recorded"
    return f"{run.seconds:.0f} of {run.duration:g} s were measured"


def notes(report: Report) -> list[str]:
    """What a reader must know to read the table."""
    said = identity.notes(report)
    if any(target.simulated for target in report.targets.values()):
        said.append(
            f"{SIMULATED} simulated: an emulator on this machine answered, so this is neither a "
            "provider's latency nor its bill."
        )
    if any(cell.text.endswith(TOO_FEW) for row in overview(report).rows for cell in row):
        said.append(
            f"{TOO_FEW} too few prompts for a 95 % interval of this number (a median needs 6, a "
            "p95 72): read it as an example."
        )
    if report.run.tokenizer_estimated:
        said.append(
            "Tokens are estimated, since there is no tokenizer on this machine: give --tokenizer "
            "with the tokenizer.json of Phi-2 to count them."
        )
    if report.run.unique_prefix:
        said.append(
            "Each repetition began with a line of its own, so that no cache could answer: targets "
            "are compared within a repetition, and no target with itself."
        )
    if any(not target.streams for target in report.targets.values()):
        said.append("TTFT - : the route does not stream, and runs on to its end before it answers.")
    if any(target.wrapped for target in report.targets.values()):
        wrapped = ", ".join(name for name, t in report.targets.items() if t.wrapped)
        said.append(f"{wrapped}: the route wraps the prompt in a template, so answers must differ.")
    if any(target.cost is None for target in report.targets.values()):
        said.append("unknown: no price was given; it is not zero.")
    return said
