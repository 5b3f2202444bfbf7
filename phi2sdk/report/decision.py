"""The decision: which target to choose, what would change that, and each target's outcome."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence

from phi2sdk.analysis.breakeven import BreakEven
from phi2sdk.analysis.decision import (
    Choice,
    dominated_by,
    no_decision,
    ranked,
    too_few,
    what_would_change,
    winner,
)
from phi2sdk.analysis.statistics import Estimate
from phi2sdk.report.format import dollars, times
from phi2sdk.report.identity_sentences import candidate_name
from phi2sdk.report.measured import Measured
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

# ------------------------------------------------------------------------- numbers


def decision_report(
    measured: Measured,
    found: Findings,
    requirements: Sequence[RequirementReport],
    pairs: Mapping[tuple[str, str], BreakEven],
) -> DecisionReport:
    """Return the cheapest target that can be chosen, and what would change the decision.

    Args:
        measured: The run.
        found: All other findings.
        requirements: The requirements, and whether each one holds.
        pairs: The break-even of each pair of targets.
    """
    valid = found.validity.valid
    candidates = [_candidate(measured, found, requirements, name) for name in found.targets]
    chosen = winner(candidates, valid=valid)
    volume = found.volume.per_day if found.volume else None
    by_names = {frozenset(names): even for names, even in pairs.items()}
    return DecisionReport(
        basis=_basis(found),
        choices={
            one.name: _choice(found, one, dominated_by(one, candidates)) for one in candidates
        },
        winner=chosen.name if chosen else None,
        sentence=_sentence(found, chosen, candidates),
        excluded={
            one.name: why for one in candidates if (why := _excluded(found, requirements, one))
        },
        would_change=()
        if chosen is None
        else tuple(what_would_change(chosen, candidates, by_names, volume, found.run.answers)),
    )


def _basis(found: Findings) -> str:
    if found.volume is None:
        return "cost (busy time only)"
    return f"cost at {found.volume.per_day:,.0f} {found.run.answers} per day"


def _candidate(
    measured: Measured, found: Findings, requirements: Sequence[RequirementReport], name: str
) -> Choice:
    target = found.targets[name]
    if found.volume is not None:
        cost = found.volume.usd_per_summary.get(name)
    else:
        cost = target.cost.per_summary if target.cost else None
    agreement = 1.0 if target.reference else _agreement(found, name)
    answered = [record for record in measured.greedy[name] if record.ok]
    run = found.run
    planned = target.errors.attempted if run.duration else run.prompts * run.repetitions
    return Choice(
        name=name,
        cost=_estimate(cost),
        p95=_p95(target),
        agreement=agreement,
        identity=_identity(found, name, target),
        fails=tuple(r.requirement for r in requirements if not r.holds and _about(r, name, found)),
        stale=bool(target.cost and target.cost.stale),
        simulated=target.simulated,
        too_few=too_few(len(answered), planned, len({record.key.prompt for record in answered})),
    )


def _identity(found: Findings, name: str, target: TargetReport) -> str:
    one = found.identity.get(name)
    if one is not None and one.verdict != "not-tested":
        return one.verdict
    return "reference" if target.reference else "not-tested"


def _about(result: RequirementReport, name: str, found: Findings) -> bool:
    """Return whether a requirement applies to a target: it names the target, or no target."""
    named = set(re.split(r"[.:\s<>=!]+", result.requirement)) & set(found.targets)
    if len(named) > 1 and found.run.reference is not None:
        named.discard(found.run.reference)  # a pair with the reference is about the other target
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
        too_few=one.too_few,
        simulated=one.simulated,
    )


def _sentence(found: Findings, chosen: Choice | None, candidates: Sequence[Choice]) -> str:
    if chosen is None:
        answered = any(target.errors.ok for target in found.targets.values())
        reason, remedy = no_decision(candidates, valid=found.validity.valid, answered=answered)
        return f"No decision, because {reason}. {remedy}"
    assert chosen.cost is not None
    cost = f"{dollars(chosen.cost.value * 1000)} per 1,000 {found.run.answers}"
    if found.volume is None:
        cost += " (busy time only)"
    else:
        cost += f" at {found.volume.per_day:,.0f} per day"
    in_order = ranked(candidates)
    if len(in_order) == 1:
        return f"Choose {chosen.name}: it is the only target that can be chosen ({cost})."
    return (
        f"Choose {chosen.name}: it has the lowest cost of the {len(in_order)} eligible targets, "
        f"{cost}; {_next(chosen.cost, in_order[1])}."
    )


def _next(cost: Estimate, rival: Choice) -> str:
    assert rival.cost is not None
    if rival.cost.value == cost.value:
        return f"{rival.name} costs the same and has a higher E2E p95"
    ratio = "" if cost.value == 0 else f" ({times(rival.cost.value / cost.value)} times as much)"
    return f"the next is {rival.name} at {dollars(rival.cost.value * 1000)}{ratio}"


def _excluded(
    found: Findings, requirements: Sequence[RequirementReport], one: Choice
) -> str | None:
    if one.identity == "different":
        closest = found.identity[one.name].closest
        return "not as claimed" + (f"; closest: {candidate_name(closest)}" if closest else "")
    if one.fails:
        more = f" and {len(one.fails) - 1} more" if len(one.fails) > 1 else ""
        first = next(r for r in requirements if r.requirement == one.fails[0])
        meets = "is not shown to meet" if first.outcome == "not shown" else "does not meet"
        return f"{meets} {one.fails[0]!r}{more}"
    if one.too_few is not None:
        return one.too_few
    return "unknown cost" if one.cost is None else None


def _estimate(found: Interval | None) -> Estimate | None:
    return None if found is None else Estimate(found.value, found.low, found.high)


# -------------------------------------------------------------------------- tables


def cost_of(report: Report, name: str) -> Interval | None:
    """Return the cost that the decision is based on: USD per answer, at the volume if given."""
    if report.decision is not None and name in report.decision.choices:
        return report.decision.choices[name].cost
    cost = report.targets[name].cost
    return cost.per_summary if cost else None


def outcome(report: Report, name: str) -> Cell:
    """Return the outcome of a target in the decision."""
    decision = report.decision
    choice = decision.choices.get(name) if decision else None
    if decision is None or choice is None:
        return words("", 9, kind="none")
    if name == decision.winner:
        return words("chosen", 0, kind="chosen")
    if choice.identity == "different":
        return words("not as claimed", 5, kind="fails")
    if choice.fails:
        return words("fails", 4, about="; ".join(choice.fails), kind="fails")
    if not choice.valid:
        return words("run invalid", 6, kind="open")
    if choice.too_few is not None:
        return words("too few answers", 3, about=choice.too_few, kind="open")
    if choice.dominated_by:
        about = f"by {', '.join(choice.dominated_by)}"
        return words("dominated", 2, about=about, kind="dominated")
    return words("cost unknown" if choice.cost is None else "alternative", 1, kind="open")


def sections(report: Report) -> Iterator[Section]:
    """Yield what would change the decision; the table of targets has each target's outcome."""
    if report.decision is not None and report.decision.would_change:
        yield Section("What would change the decision", lines=report.decision.would_change)
