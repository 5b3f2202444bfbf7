"""The report's last section: who is chosen, and what would change that."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from phi2sdk.analysis.breakeven import BreakEven
from phi2sdk.analysis.decision import Candidate, dominated_by, what_would_change, winner
from phi2sdk.analysis.statistics import Estimate
from phi2sdk.report.money import Options, interval
from phi2sdk.report.schema import (
    ChoiceReport,
    DecisionReport,
    Interval,
    Report,
    RequirementReport,
    TargetReport,
)

__all__ = ["decision_report"]


def decision_report(
    report: Report, options: Options, pairs: Mapping[tuple[str, str], BreakEven]
) -> DecisionReport:
    """The decision table of a report whose other sections are there."""
    candidates = [_candidate(report, options, name) for name in report.targets]
    chosen = winner(candidates)
    volume = report.volume.per_day if report.volume else None
    basis = "busy time" if volume is None else f"{volume:,.0f} summaries a day"
    by_names = {frozenset(names): found for names, found in pairs.items()}
    return DecisionReport(
        basis=basis,
        choices={
            one.name: _choice(report, one, dominated_by(one, candidates)) for one in candidates
        },
        winner=chosen.name if chosen else None,
        sentence=_sentence(report, chosen, candidates),
        would_change=()
        if chosen is None
        else tuple(what_would_change(chosen, candidates, by_names, volume)),
    )


def _candidate(report: Report, options: Options, name: str) -> Candidate:
    target = report.targets[name]
    if report.volume is not None:
        cost = report.volume.usd_per_summary.get(name)
    else:
        cost = target.cost.per_summary if target.cost else None
    agreement = 1.0 if target.reference else _agreement(report, name)
    return Candidate(
        name=name,
        cost=_estimate(cost),
        p95=_p95(target),
        agreement=agreement,
        identity=_identity(report, name, target),
        fails=tuple(
            r.requirement for r in report.requirements if not r.holds and _about(r, name, report)
        ),
        stale=bool(target.cost and target.cost.stale),
        simulated=name in options.simulated,
    )


def _identity(report: Report, name: str, target: TargetReport) -> str:
    if (found := report.identity.get(name)) is not None and found.verdict != "not-tested":
        return found.verdict
    return "reference" if target.reference else "not-tested"


def _about(result: RequirementReport, name: str, report: Report) -> bool:
    """Whether a requirement is about this target: it names it, or names none at all."""
    named = set(re.split(r"[.:\s<>=!]+", result.requirement)) & set(report.targets)
    if len(named) > 1 and report.run.reference is not None:
        named.discard(report.run.reference)  # of a pair with the reference, the other is judged
    return not named or name in named


def _p95(target: TargetReport) -> float | None:
    if target.latency.e2e is None:
        return None
    value = target.latency.e2e.p95.value
    return math.inf if value is None else value


def _agreement(report: Report, name: str) -> float | None:
    pair = report.pairs.get(f"{report.run.reference}:{name}")
    if pair is None or pair.agreement is None or pair.agreement.exact_cut is None:
        return None
    return pair.agreement.exact_cut.value


def _choice(report: Report, one: Candidate, dominated: tuple[str, ...]) -> ChoiceReport:
    e2e = report.targets[one.name].latency.e2e
    return ChoiceReport(
        cost=interval(one.cost),
        p95=None if one.p95 is None or math.isinf(one.p95) else one.p95,
        p95_above=e2e.p95.censored_above if e2e else None,
        agreement=one.agreement,
        identity=one.identity,
        valid=report.validity.valid,
        dominated_by=dominated,
        fails=one.fails,
        simulated=one.simulated,
    )


def _sentence(report: Report, chosen: Candidate | None, candidates: list[Candidate]) -> str:
    if chosen is None:
        if all(one.cost is None for one in candidates):
            return "No choice by cost: of no target the cost is known."
        return "No target meets every requirement at a known cost."
    required = " that meets every requirement" if report.requirements else ""
    unknown = [one.name for one in candidates if one.cost is None]
    but = f"; unknown: {', '.join(unknown)}" if unknown else ""
    doubt = "" if report.validity.valid else " This run is invalid: measure again."
    return f"{chosen.name} is the cheapest{required}, of those whose cost is known{but}.{doubt}"


def _estimate(found: Interval | None) -> Estimate | None:
    return None if found is None else Estimate(found.value, found.low, found.high)
