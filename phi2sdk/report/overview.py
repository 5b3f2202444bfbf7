"""The first screen of a report: validity, decision, the table of targets, and its marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import ModuleType

from phi2sdk.report import agreement, baseline, cost, decision, identity, latency, quality
from phi2sdk.report.agreement import with_reference
from phi2sdk.report.decision import cost_of, outcome
from phi2sdk.report.format import SIMULATED, TOO_FEW, UNKNOWN, TimeUnit, grouped, listed
from phi2sdk.report.identity_sentences import candidate_name
from phi2sdk.report.schema import DecisionReport, Report, TargetReport
from phi2sdk.report.section import (
    Cell,
    Column,
    Section,
    count,
    money,
    quantile,
    rate,
    target_column,
    unit_of,
    words,
)

DEMO = (
    "one very small model answers for every target, and emulators stand in for the providers. "
    "The latencies of the emulators are simulated, and all prices are examples."
)
VERDICTS = ("different", "undetermined", "not-tested", "consistent", "reference")
"""The verdicts of the identity tests, the worst first."""
SUBJECTS: Mapping[str, tuple[ModuleType, ...]] = {
    "cost": (cost, baseline),
    "identity": (identity,),
    "agreement": (agreement,),
    "quality": (quality,),
    "latency": (latency,),
}
"""The sections of a report by subject, as ``phi2 report --section`` names them."""


def decision_lines(report: Report) -> list[str]:
    """Return the decision, and the targets that were excluded."""
    found = report.decision
    said = []
    if found is not None:
        said.append(found.sentence)
        if report.validity.valid:
            said += _excluded(report, found)
    return said


def simulated(report: Report) -> str | None:
    """Return what is simulated in a run; ``None`` if nothing is."""
    if report.run.demo:
        return f"Demo: {DEMO}"
    named = [name for name, target in report.targets.items() if target.simulated]
    return f"Simulated: emulators answered for {listed(named)}." if named else None


def _excluded(report: Report, found: DecisionReport) -> Iterator[str]:
    others = {n for n in found.excluded if found.choices[n].identity == "different"}
    if others:
        closest = {name: report.identity[name].closest for name in found.excluded if name in others}
        named = (f"{n} ({candidate_name(c)})" if c else n for n, c in closest.items())
        yield f"Excluded, not as claimed: {', '.join(named)}."
    rest = {name: why for name, why in found.excluded.items() if name not in others}
    if rest:
        yield f"Excluded: {'; '.join(f'{names} ({why})' for names, why in grouped(rest))}."


def overview(report: Report) -> Section:
    """Return the table of all targets, in the order of the run."""
    latencies = [target.latency for target in report.targets.values()]
    summaries = [one for found in latencies for one in (found.ttft, found.e2e) if one]
    unit = unit_of(found for one in summaries for found in (one.p50, one.p95))
    columns = (
        target_column(),
        Column("outcome", "outcome", words=True, optional=True),
        Column(f"cost (USD per 1,000 {report.run.answers})", "cost"),
        Column(f"TTFT p50 ({unit})", "ttft", "p50"),
        Column(f"E2E p50 ({unit})", "e2e", "p50"),
        Column(f"E2E p95 ({unit})", "e2e", "p95"),
        Column("output tokens/s", "throughput"),
        Column("exact match (%)", "exact_match"),
        Column("same model?", "same_model", words=True),
        Column("failures", "failures", optional=True),
    )
    rows = [_row(report, name, target, unit) for name, target in report.targets.items()]
    return Section("Targets", columns, rows)


def _row(report: Report, name: str, target: TargetReport, unit: TimeUnit) -> tuple[Cell, ...]:
    simulated, times, errors = target.simulated, target.latency, target.errors
    alike, examined = with_reference(report, name), report.identity.get(name)
    verdict = examined.verdict if examined else "not-tested"
    if target.reference and verdict == "not-tested":
        verdict = "reference"
    failed = errors.attempted - errors.ok
    exact = alike.exact_cut if alike else None
    example = target.cost.simulated if target.cost else simulated
    return (
        words(name),
        outcome(report, name),
        money(cost_of(report, name), simulated=example),
        quantile(times.ttft.p50 if times.ttft else None, unit, simulated=simulated),
        quantile(times.e2e.p50 if times.e2e else None, unit, simulated=simulated),
        quantile(times.e2e.p95 if times.e2e else None, unit, simulated=simulated),
        count(target.throughput.tokens_per_second, simulated=simulated),
        words(UNKNOWN, 1.0, about="the reference itself") if target.reference else rate(exact),
        words(verdict.replace("-", " "), float(VERDICTS.index(verdict)), kind=f"id-{verdict}"),
        Cell(f"{failed:,} of {errors.attempted:,}", sort=float(failed)),
    )


def legend(report: Report) -> str:
    """Return a line that explains the abbreviations and marks of the table."""
    cells = [cell.text for row in overview(report).rows for cell in row]
    said = []
    if any(text.startswith(SIMULATED) for text in cells):
        said.append(f"{SIMULATED} simulated" + (" or example" if report.run.demo else ""))
    if any(text.endswith(TOO_FEW) for text in cells):
        said.append(f"{TOO_FEW} too few prompts for an interval")
    if UNKNOWN in cells:
        said.append(f"{UNKNOWN} does not apply")
    terms = "TTFT time to first token; E2E end-to-end latency"
    return "; ".join((terms, *said))


def sections(report: Report, subject: str | None = None) -> Iterator[Section]:
    """Yield the sections after the first screen, or those of one of :data:`SUBJECTS`."""
    if subject is None:
        yield from decision.sections(report)
    for name in SUBJECTS if subject is None else [subject]:
        for module in SUBJECTS[name]:
            yield from module.sections(report)


def failures(report: Report) -> list[str]:
    """Return the failed requests by target and error, each with an example."""
    said = []
    for name, target in report.targets.items():
        errors = target.errors
        if errors.attempted == errors.ok:
            continue
        failed = errors.attempted - errors.ok
        said.append(f"{name}: {failed} of {errors.attempted} requests failed.")
        if errors.empty:
            said.append(f"{name}: {errors.empty} empty answers.")
        said += [
            f"{name}: {n} x {kind}: {errors.examples.get(kind, '')}"
            for kind, n in errors.kinds.items()
        ]
    return said


def how_often(report: Report) -> str:
    """Return how many times each prompt was sent."""
    run = report.run
    if run.duration is None:
        return f"{run.repetitions}"
    return f"up to {run.repetitions} in {run.duration:g} s"


def so_far(report: Report) -> str:
    """Return how much of an incomplete run is recorded."""
    run = report.run
    if run.duration is None:
        return f"{run.recorded} of {run.requests} requests are recorded"
    return f"{run.seconds:.0f} of {run.duration:g} s are recorded"
