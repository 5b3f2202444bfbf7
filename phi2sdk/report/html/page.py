"""Render a report and its run as one HTML file."""

from __future__ import annotations

from collections import Counter

from phi2sdk.measure.records import paused_collector
from phi2sdk.report import agreement, baseline, cost, identity, latency, quality
from phi2sdk.report.glossary import COMPARISON, GLOSSARY, alphabetical
from phi2sdk.report.html import about, assets
from phi2sdk.report.html.data import drawn
from phi2sdk.report.html.render import rendered
from phi2sdk.report.measured import Measured
from phi2sdk.report.notes import notes
from phi2sdk.report.overview import decision_lines, legend, overview, simulated, so_far
from phi2sdk.report.requirements import requirement_line
from phi2sdk.report.schema import LatencyReport, Report


def html_page(report: Report, measured: Measured) -> str:
    """Return ``report.html``: a self-contained page that loads nothing.

    Args:
        report: The report of the run.
        measured: The records of the run.
    """
    requirements = [(r.outcome, requirement_line(r)) for r in report.requirements]
    listed = {line for _, line in requirements}
    facts, calibrations = identity.calibration(report.identity_calibration)
    with paused_collector():
        return rendered(
            "report.html.j2",
            assets.SCRIPTS,
            data=drawn(report, measured),
            report=report,
            names=list(report.targets),
            decision=decision_lines(report),
            simulated=simulated(report),
            so_far=so_far(report),
            legend=legend(report),
            notes=[note for note in notes(report) if note not in listed],
            overview=overview(report),
            requirements=requirements,
            latencies=dict(zip(_latencies(report), latency.tables(report), strict=True)),
            faster=latency.verdicts(report),
            money=[*cost.sections(report), *baseline.sections(report)],
            matrices=[(m, agreement.matrix(report, m)) for m in agreement.MEASURES],
            diagnoses=[
                (name, target.diagnosis.sentence, agreement.facts(target.diagnosis))
                for name, target in report.targets.items()
                if target.diagnosis is not None
            ],
            identity=identity.verdicts_table(report),
            examined=identity.examined(report),
            calibration_facts=facts,
            calibrations=calibrations,
            quality=next(quality.sections(report), None),
            finish_reasons=_finish_reasons(measured),
            configuration=about.configuration(report),
            machine=about.machine(report),
            settings=about.settings_of(measured.run),
            method=about.METHOD,
            glossary=alphabetical(COMPARISON),
            terms=GLOSSARY,
        )


def _latencies(report: Report) -> list[str]:
    """Return the metrics that at least one target has, in the order of their tables."""
    fields = LatencyReport.model_fields
    targets = report.targets.values()
    return [name for name in fields if any(getattr(t.latency, name) is not None for t in targets)]


def _finish_reasons(measured: Measured) -> dict[str, list[tuple[str, int]]]:
    """Return how often each finish reason was reported, by target, the most frequent first."""
    return {
        name: Counter(r.finish_reason or "not reported" for r in records if r.ok).most_common()
        for name, records in measured.greedy.items()
    }
