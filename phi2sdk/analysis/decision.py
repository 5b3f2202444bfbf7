"""Which target to choose, and what would have to be different for another to be better.

A target is *dominated* where another is at least as good in everything and better in something
(Pareto). Something that is known of only one of the two proves nothing. The *winner* is the
cheapest of those that meet every requirement; equal costs are decided by the p95.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phi2sdk.analysis.breakeven import BreakEven
from phi2sdk.analysis.statistics import Estimate

__all__ = ["Choice", "dominated_by", "what_would_change", "winner"]

_IDENTITY = {"reference": 1.0, "consistent": 1.0, "different": 0.0}


@dataclass(frozen=True, slots=True)
class Choice:
    """A target as far as a choice is concerned.

    Attributes:
        name: The target's name.
        cost: US dollars a summary, at the volume if one was given; ``None``: unknown.
        p95: End-to-end seconds; infinite where too many requests failed; ``None``: not measured.
        agreement: Share of answers equal to the reference's; ``None``: not measured.
        identity: The verdict on its model; ``not-tested`` where nobody looked.
        fails: The requirements that it does not meet.
        stale: Its price is too old to rely on.
        simulated: Its figures are an emulator's.
    """

    name: str
    cost: Estimate | None
    p95: float | None
    agreement: float | None
    identity: str = "not-tested"
    fails: tuple[str, ...] = ()
    stale: bool = False
    simulated: bool = False

    def _merits(self) -> tuple[float | None, ...]:
        """More is better."""
        return (
            None if self.cost is None else -self.cost.value,
            None if self.p95 is None else -self.p95,
            self.agreement,
            _IDENTITY.get(self.identity),
        )

    def dominates(self, other: Choice) -> bool:
        """Whether it is at least as good in everything, and better in something.

        A cost that nobody knows may be any: it proves nothing, whoever's it is.
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


def dominated_by(candidate: Choice, others: Sequence[Choice]) -> tuple[str, ...]:
    """Who dominates it: nobody that is another model."""
    return tuple(
        other.name
        for other in others
        if other.identity != "different" and other.dominates(candidate)
    )


def winner(candidates: Sequence[Choice]) -> Choice | None:
    """The cheapest that meets every requirement and is not known to be another model.

    ``None`` where there is none: all fail, or of none the cost is known.
    """
    eligible = [c for c in candidates if _eligible(c) and c.cost is not None]
    return min(eligible, key=_order, default=None)


def what_would_change(
    chosen: Choice,
    candidates: Sequence[Choice],
    pairs: Mapping[frozenset[str], BreakEven],
    volume: float | None,
) -> list[str]:
    """The assumptions that the choice rests on, the tightest first; one sentence each.

    Args:
        chosen: The winner.
        candidates: All, the winner among them.
        pairs: The break-even of each pair that has one.
        volume: Summaries a day, if they were given.
    """
    assert chosen.cost is not None
    rivals = [c for c in candidates if c.name != chosen.name and _eligible(c)]
    priced = sorted((c for c in rivals if c.cost is not None), key=_order)
    said = []
    if priced:
        said += _against(chosen, chosen.cost, priced[0])
    for rival in priced:
        if found := pairs.get(frozenset((chosen.name, rival.name))):
            said += _volumes(chosen, rival, found, volume)
    if unknown := [rival.name for rival in rivals if rival.cost is None]:
        said.append(
            f"{', '.join(unknown)}: cost unknown; below {_usd(chosen.cost.value)} a summary it "
            "would be chosen."
        )
    for one in (chosen, *priced):
        if one.stale:
            said.append(f"A new price for {one.name}: the one used is older than 180 days.")
    excluded = [c for c in candidates if c.fails and c.cost and c.cost.value < chosen.cost.value]
    for one in excluded:
        said.append(f"{one.name} is cheaper and fails {one.fails[0]}: without that it is chosen.")
    if any(one.simulated for one in (chosen, *priced)):
        said.append("Real figures in place of simulated ones: these choose among emulators only.")
    return said


def _against(chosen: Choice, cost: Estimate, rival: Choice) -> list[str]:
    assert rival.cost is not None
    if rival.cost.value == 0 or cost.value == rival.cost.value:
        return [f"{chosen.name} and {rival.name} cost the same: the p95 decided."]
    if cost.value == 0:
        return [f"{chosen.name} costs nothing at its price; {rival.name} is next."]
    said = [
        f"{rival.name} costs {_factor(rival.cost.value / cost.value)} times as much; it would be "
        "chosen if its price, or its time on a machine, fell by more than that factor."
    ]
    if _overlap(cost, rival.cost):
        said.append(
            f"The intervals of {chosen.name} and {rival.name} overlap: more prompts could change "
            "the order."
        )
    return said


def _factor(value: float) -> str:
    """Three digits, whole ones from 100 on."""
    return f"{value:,.0f}" if 100 <= value < 1e9 else f"{value:.3g}"


def _volumes(chosen: Choice, rival: Choice, found: BreakEven, volume: float | None) -> list[str]:
    if not found.changes or found.volume is None:
        return []
    if volume is None:
        at, then = found.changes[0]
        return [f"From {at:,.0f} summaries a day on {then} is cheaper than {found.below}."]
    # The changes that bound the stretch in which the given volume lies.
    said = []
    above = [(at, name) for at, name in found.changes if at > volume]
    below = [(at, name) for at, name in found.changes if at <= volume]
    if below and below[-1][1] == chosen.name:
        said.append(f"Below {below[-1][0]:,.0f} a day {rival.name} is cheaper.")
    if above and above[0][1] == rival.name:
        said.append(f"From {above[0][0]:,.0f} a day on {rival.name} is cheaper.")
    return said


def _eligible(candidate: Choice) -> bool:
    return not candidate.fails and candidate.identity != "different"


def _order(candidate: Choice) -> tuple[float, float]:
    cost = math.inf if candidate.cost is None else candidate.cost.value
    return cost, math.inf if candidate.p95 is None else candidate.p95


def _overlap(a: Estimate, b: Estimate) -> bool:
    if a.low is None or a.high is None or b.low is None or b.high is None:
        return True
    return a.low <= b.high and b.low <= a.high


def _usd(value: float) -> str:
    return f"${value:.2g}" if value >= 1e-4 else f"${value:.1e}"
