"""The decision: which target to choose, what would change that, and each target's outcome."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from phi2sdk.analysis.breakeven import BreakEven
from phi2sdk.analysis.decision import Choice, dominated_by, what_would_change, winner
from phi2sdk.analysis.statistics import Estimate
from phi2sdk.report.schema import (
    ChoiceReport,
    DecisionReport,
    Findings,
    Interval,
    Report,
    RequirementReport,
    TargetReport,
)
from phi2sdk.report.section import Cell, Section, words

__all__ = ["cost_of", "decision_report", "outcome", "sections"]

# ------------------------------------------------------------------------- numbers


def decision_report(
    found: Findings,
    requirements: Sequence[RequirementReport],
    pairs: Mapping[tuple[str, str], BreakEven],
) -> DecisionReport:
    """The cheapest target that meets every requirement, and what would change that.

    Args:
        found: All other findings.
        requirements: What had to hold, and whether it does.
        pairs: The break-even of each pair of targets.
    """
    candidates = [_candidate(found, requirements, name) for name in found.targets]
    chosen = winner(candidates)
    volume = found.volume.per_day if found.volume else None
    basis = "busy time" if volume is None else f"{volume:,.0f} summaries a day"
    by_names = {frozenset(names): even for names, even in pairs.items()}
    return DecisionReport(
        basis=basis,
        choices={
            one.name: _choice(found, one, dominated_by(one, candidates)) for one in candidates
        },
        winner=chosen.name if chosen else None,
        sentence=_sentence(found, requirements, chosen, candidates),
        would_change=()
        if chosen is None
        else tuple(what_would_change(chosen, candidates, by_names, volume)),
    )


def _candidate(found: Findings, requirements: Sequence[RequirementReport], name: str) -> Choice:
    target = found.targets[name]
    if found.volume is not None:
        cost = found.volume.usd_per_summary.get(name)
    else:
        cost = target.cost.per_summary if target.cost else None
    agreement = 1.0 if target.reference else _agreement(found, name)
    return Choice(
        name=name,
        cost=_estimate(cost),
        p95=_p95(target),
        agreement=agreement,
        identity=_identity(found, name, target),
        fails=tuple(r.requirement for r in requirements if not r.holds and _about(r, name, found)),
        stale=bool(target.cost and target.cost.stale),
        simulated=target.simulated,
    )


def _identity(found: Findings, name: str, target: TargetReport) -> str:
    one = found.identity.get(name)
    if one is not None and one.verdict != "not-tested":
        return one.verdict
    return "reference" if target.reference else "not-tested"


def _about(result: RequirementReport, name: str, found: Findings) -> bool:
    """Whether a requirement is about this target: it names it, or names none at all."""
    named = set(re.split(r"[.:\s<>=!]+", result.requirement)) & set(found.targets)
    if len(named) > 1 and found.run.reference is not None:
        named.discard(found.run.reference)  # of a pair with the reference, the other is judged
    return not named or name in named


def _p95(target: TargetReport) -> float | None:
    if target.latency.e2e is None:
        return None
    value = target.latency.e2e.p95.value
    return math.inf if value is None else value


def _agreement(found: Findings, name: str) -> float | None:
    pair = found.pairs.get(f"{found.run.reference}:{name}")
    if pair is None or pair.agreement is None or pair.agreement.exact_cut is None:
        return None
    return pair.agreement.exact_cut.value


def _choice(found: Findings, one: Choice, dominated: tuple[str, ...]) -> ChoiceReport:
    e2e = found.targets[one.name].latency.e2e
    return ChoiceReport(
        cost=Interval.of(one.cost),
        p95=None if one.p95 is None or math.isinf(one.p95) else one.p95,
        p95_above=e2e.p95.censored_above if e2e else None,
        agreement=one.agreement,
        identity=one.identity,
        valid=found.validity.valid,
        dominated_by=dominated,
        fails=one.fails,
        simulated=one.simulated,
    )


def _sentence(
    found: Findings,
    requirements: Sequence[RequirementReport],
    chosen: Choice | None,
    candidates: Sequence[Choice],
) -> str:
    if chosen is None:
        if all(one.cost is None for one in candidates):
            return "No choice by cost: of no target the cost is known."
        return "No target meets every requirement at a known cost."
    required = " that meets every requirement" if requirements else ""
    unknown = [one.name for one in candidates if one.cost is None]
    but = f"; unknown: {', '.join(unknown)}" if unknown else ""
    doubt = "" if found.validity.valid else " This run is invalid: measure again."
    return f"{chosen.name} is the cheapest{required}, of those whose cost is known{but}.{doubt}"


def _estimate(found: Interval | None) -> Estimate | None:
    return None if found is None else Estimate(found.value, found.low, found.high)


# -------------------------------------------------------------------------- tables


def cost_of(report: Report, name: str) -> Interval | None:
    """What the decision goes by: US dollars an answer, at the volume if one was given."""
    if report.decision is not None and name in report.decision.choices:
        return report.decision.choices[name].cost
    cost = report.targets[name].cost
    return cost.per_summary if cost else None


def outcome(report: Report, name: str) -> Cell:
    """What became of a target in the decision."""
    decision = report.decision
    choice = decision.choices.get(name) if decision else None
    if decision is None or choice is None:
        return words("", 9, kind="none")
    if name == decision.winner:
        return words("chosen", 0, kind="chosen")
    if choice.fails:
        return words("fails", 3, about="; ".join(choice.fails), kind="fails")
    if choice.identity == "different":
        return words("another model", 4, kind="fails")
    if choice.dominated_by:
        about = f"by {', '.join(choice.dominated_by)}"
        return words("dominated", 2, about=about, kind="dominated")
    return words("cost unknown" if choice.cost is None else "alternative", 1, kind="open")


def sections(report: Report) -> Iterator[Section]:
    """The decision in sentences; the table of targets has each one's outcome."""
    decision = report.decision
    if decision is None:
        return
    lines = [decision.sentence]
    lines += [
        f"{name} fails: {text}" for name, one in decision.choices.items() for text in one.fails
    ]
    lines += [f"It would change: {text}" for text in decision.would_change]
    yield Section(f"Decision, by {decision.basis}", lines=lines)
