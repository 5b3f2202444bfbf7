"""Which target to choose, why none can be chosen, and what would change the decision.

The *winner* is the cheapest target that can be chosen; equal costs are decided by the p95 latency.
A target *can be chosen* if it meets every requirement, is not another model, and answered enough
requests. An invalid run has no winner.

A target is *dominated* if another target is at least as good in every respect and better in one
(Pareto). A value that is known for only one of the two targets proves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from phi2sdk.analysis.breakeven import BreakEven
from phi2sdk.analysis.statistics import FEWEST_PROMPTS, Estimate

ENOUGH_ANSWERED = 0.5
"""The share of its planned requests that a target must have answered to be chosen."""
_IDENTITY = {"reference": 1.0, "consistent": 1.0, "different": 0.0}


@dataclass(frozen=True, slots=True)
class Choice:
    """The properties of a target on which the decision is based.

    Attributes:
        name: The name of the target.
        cost: US dollars per answer, at the volume if one is given; ``None``: unknown.
        p95: End-to-end latency in seconds, infinite if too many requests failed; ``None``: not
            measured.
        agreement: Share of answers equal to the reference's; ``None``: not measured.
        identity: The verdict of the identity tests; ``not-tested`` without them.
        fails: The requirements that the target does not meet.
        stale: Whether its price is older than 180 days.
        simulated: Whether an emulator answered.
        too_few: Why its answers are too few to choose it, as :func:`too_few` says.
    """

    name: str
    cost: Estimate | None
    p95: float | None
    agreement: float | None
    identity: str = "not-tested"
    fails: tuple[str, ...] = ()
    stale: bool = False
    simulated: bool = False
    too_few: str | None = None

    @property
    def eligible(self) -> bool:
        """True if the target can be chosen once its cost is known."""
        return not self.fails and self.identity != "different" and self.too_few is None

    def _merits(self) -> tuple[float | None, ...]:
        """Return the values that are compared; a larger value is better."""
        return (
            None if self.cost is None else -self.cost.value,
            None if self.p95 is None else -self.p95,
            self.agreement,
            _IDENTITY.get(self.identity),
        )

    def dominates(self, other: Choice) -> bool:
        """Return whether this target is at least as good in every respect, and better in one.

        A target with an unknown cost neither dominates nor is dominated.
        """
        if self.cost is None or other.cost is None:
            return False
        better = False
        for mine, theirs in zip(self._merits(), other._merits(), strict=True):
            if mine is None and theirs is None:
                continue
            if mine is None or theirs is None or mine < theirs:
                return False
            better = better or mine > theirs
        return better


def too_few(answered: int, planned: int, prompts: int) -> str | None:
    """Return why a target has too few answers to be chosen; ``None`` if it has enough.

    Args:
        answered: Requests that were answered.
        planned: Requests that the run was to send to the target.
        prompts: Prompts with an answer.
    """
    if answered < ENOUGH_ANSWERED * planned:
        return f"only {answered:,} of {planned:,} requests were answered"
    if prompts < FEWEST_PROMPTS:
        return f"only {prompts} of at least {FEWEST_PROMPTS} prompts were answered"
    return None


def dominated_by(candidate: Choice, others: Sequence[Choice]) -> tuple[str, ...]:
    """Return the targets that dominate a target; a target with another model never does."""
    return tuple(
        other.name
        for other in others
        if other.identity != "different" and other.dominates(candidate)
    )


def ranked(candidates: Sequence[Choice]) -> list[Choice]:
    """Return the targets that can be chosen, the cheapest first."""
    return sorted((c for c in candidates if c.eligible and c.cost is not None), key=_order)


def winner(candidates: Sequence[Choice], *, valid: bool = True) -> Choice | None:
    """Return the target to choose; ``None`` if :func:`no_decision` has a reason.

    Args:
        candidates: All targets.
        valid: Whether the run is valid.
    """
    return next(iter(ranked(candidates)), None) if valid else None


def no_decision(
    candidates: Sequence[Choice], *, valid: bool = True, answered: bool = True
) -> tuple[str, str]:
    """Return why no target can be chosen, and the next step; both as clauses of a sentence.

    Args:
        candidates: All targets; :func:`winner` found none among them.
        valid: Whether the run is valid.
        answered: Whether any request was answered.
    """
    if not answered:
        return "no request was answered", "Check the targets with `phi2 doctor` and run again."
    if not valid:
        return (
            "the run is invalid",
            "Close other programs or lower the load (--concurrency or --rate) and run again.",
        )
    if thin := [c for c in candidates if c.too_few and c.identity != "different" and not c.fails]:
        return (
            f"there are too few answers ({thin[0].name}: {thin[0].too_few})",
            "Continue the run with --resume, or repeat it with more prompts.",
        )
    if all(c.identity == "different" for c in candidates):
        return "no target serves the model", "Compare other targets."
    if any(c.eligible for c in candidates):
        return (
            "the cost of every target that can be chosen is unknown",
            "Add a price to the targets in phi2.toml (`phi2 prices` lists known prices).",
        )
    return "no target meets every requirement", "Relax a requirement or add a target."


def what_would_change(
    chosen: Choice,
    candidates: Sequence[Choice],
    pairs: Mapping[frozenset[str], BreakEven],
    volume: float | None,
    answers: str = "answers",
) -> list[str]:
    """Return a sentence for each assumption that the decision depends on.

    Args:
        chosen: The winner.
        candidates: All targets, including the winner.
        pairs: The break-even of each pair that has one.
        volume: Answers per day, if a volume is given.
        answers: The name of the answers, such as ``summaries``.
    """
    assert chosen.cost is not None
    rivals = [c for c in candidates if c.name != chosen.name and c.eligible]
    priced = ranked(rivals)
    said = list(_volumes(chosen, priced, pairs, volume, answers))
    if unknown := [rival.name for rival in rivals if rival.cost is None]:
        said.append(
            f"The decision would change if the unknown cost of {' or '.join(unknown)} were below "
            f"{_usd(chosen.cost.value)} per 1,000 {answers}."
        )
    cheaper = [c for c in candidates if c.cost and c.cost.value < chosen.cost.value]
    for one in cheaper:
        if one.fails:
            said.append(
                f"The decision would change if the requirement {one.fails[0]!r} were dropped: "
                f"{one.name} is cheaper and does not meet it."
            )
        elif one.too_few:
            said.append(f"The decision may change with more answers of {one.name}: {one.too_few}.")
    if priced:
        said += _against(chosen, chosen.cost, priced[0])
    if stale := [one.name for one in (chosen, *priced) if one.stale]:
        said.append(
            f"The decision may change with current prices of {', '.join(stale)}: the prices used "
            "are older than 180 days."
        )
    if simulated := [one.name for one in (chosen, *priced) if one.simulated]:
        said.append(
            f"The decision may change with measured latencies of {', '.join(simulated)}, for "
            "which emulators answered."
        )
    return said


def _volumes(
    chosen: Choice,
    rivals: Sequence[Choice],
    pairs: Mapping[frozenset[str], BreakEven],
    volume: float | None,
    answers: str,
) -> Iterator[str]:
    """Yield the nearest volumes below and above which a rival is cheaper than the winner.

    Of rivals with the same volume, the first one is named: ``rivals`` are in order of their cost.
    """
    below: dict[str, float] = {}
    above: dict[str, float] = {}
    for rival in rivals:
        found = pairs.get(frozenset((chosen.name, rival.name)))
        changes = () if found is None else found.changes
        if volume is None:
            before = after = changes[:1]
        else:
            before = tuple(change for change in changes if change[0] <= volume)[-1:]
            after = tuple(change for change in changes if change[0] > volume)[:1]
        below.update((rival.name, at) for at, then in before if then == chosen.name)
        above.update((rival.name, at) for at, then in after if then == rival.name)
    paid = ", if machines are paid for whole days" if volume is None else ""
    for side, volumes, nearest in (("below", below, max), ("above", above, min)):
        if volumes:
            name = nearest(volumes, key=volumes.__getitem__)
            yield (
                f"The decision would change {side} about {float(f'{volumes[name]:.3g}'):,.0f} "
                f"{answers} per day{paid}: {name} is cheaper there."
            )


def _against(chosen: Choice, cost: Estimate, rival: Choice) -> Iterator[str]:
    assert rival.cost is not None
    if rival.cost.value == cost.value:
        yield (
            f"The decision would change if the E2E p95 of {rival.name} were lower than that of "
            f"{chosen.name}, which costs the same."
        )
        return
    if _overlap(cost, rival.cost):
        yield (
            f"The decision may change with more prompts: the 95% intervals of the costs of "
            f"{chosen.name} and {rival.name} overlap."
        )
    if cost.value == 0:
        yield f"The decision would change if {chosen.name}, whose price is zero, had a cost."
    else:
        fall = 100 * (1 - cost.value / rival.cost.value)
        yield (
            f"The decision would change if the price of {rival.name}, or its time per answer, "
            f"fell by more than {fall:.3g}%."
        )


def _order(candidate: Choice) -> tuple[float, float]:
    cost = math.inf if candidate.cost is None else candidate.cost.value
    return cost, math.inf if candidate.p95 is None else candidate.p95


def _overlap(a: Estimate, b: Estimate) -> bool:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return True
    return a.low <= b.high and b.low <= a.high


def _usd(value: float) -> str:
    """Return the US dollars for 1,000 answers."""
    return f"${value * 1000:.3g}"
