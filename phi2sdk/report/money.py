"""The report's sections about choosing by cost, from what was measured of each target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date as Date  # noqa: N812 - a field is called `date`
from itertools import combinations
from typing import Any

import numpy as np

from phi2sdk.analysis.breakeven import HIGHEST, BreakEven, Option, break_even, cost_at, cost_curve
from phi2sdk.analysis.cost import Spend, acceptable, machines
from phi2sdk.analysis.statistics import Estimate
from phi2sdk.measure.folder import Run
from phi2sdk.measure.gpu_power import price_of
from phi2sdk.measure.records import Record
from phi2sdk.report.schema import BreakEvenReport, ChangeReport, CurveReport, Interval, VolumeReport

__all__ = ["Options", "break_even_report", "curve_report", "interval", "volume_report"]

CURVE = tuple(float(f"{v:.4g}") for v in np.geomspace(10, 1e7, 121))
"""Summaries a day of the curve."""


@dataclass(frozen=True, slots=True)
class Options:
    """The targets with a known cost, and why the others have none.

    Attributes:
        known: By name, in the order of the run.
        unknown: By name, why.
        simulated: The names of simulated targets.
        today: When the run began: a price is old or not on that day.
    """

    known: Mapping[str, Option]
    unknown: Mapping[str, str]
    simulated: frozenset[str]
    today: Date

    @classmethod
    def of(
        cls,
        run: Run,
        by_target: Mapping[str, Sequence[Record]],
        unknown: Mapping[str, str],
        spends: Mapping[str, Spend | None],
    ) -> Options:
        """The options of a run; ``unknown`` names the targets without a cost."""
        described: Mapping[str, Any] = run.configuration["targets"]
        known = {}
        for name in described:
            records = by_target.get(name, ())
            price = price_of(run, name, records)
            if price is None or not any(acceptable(record) for record in records):
                continue
            spend = spends.get(name)
            if spend is not None:
                known[name] = Option(name, price, spend)
        return cls(
            known,
            {name: why for name, why in unknown.items() if name not in known},
            frozenset(name for name, about in described.items() if about["simulated"]),
            Date.fromisoformat(run.info["started"][:10]),
        )

    def break_even(self) -> dict[tuple[str, str], BreakEven]:
        """Each pair's."""
        found = {}
        for a, b in combinations(self.known, 2):
            if (one := break_even(self.known[a], self.known[b])) is not None:
                found[a, b] = one
        return found


def break_even_report(
    options: Options, pairs: Mapping[tuple[str, str], BreakEven]
) -> dict[str, BreakEvenReport]:
    """Each pair's break-even, in numbers and words."""
    return {
        f"{a}:{b}": BreakEvenReport(
            below=found.below,
            above=found.above,
            volume=interval(found.volume),
            changes=tuple(ChangeReport(volume=at, cheaper=name) for at, name in found.changes),
            agreement=found.agreement,
            simulated=bool({a, b} & options.simulated),
            sentence=_sentence(a, b, found),
        )
        for (a, b), found in pairs.items()
    }


def _sentence(a: str, b: str, found: BreakEven) -> str:
    if found.below is None:
        return f"{a} and {b} cost the same at every volume."
    if not found.changes:
        other = b if found.below == a else a
        return f"{found.below} is cheaper than {other} at every volume up to {HIGHEST:,.0f} a day."
    first = found.changes[0][1]
    said = f"{first} is cheaper than {found.below} from {_volume(found.volume)} a day on"
    later = [f"{name} from {at:,.0f}" for at, name in found.changes[1:3]]
    if later:
        more = f", then {len(found.changes) - 3} more changes" if len(found.changes) > 3 else ""
        said += f"; one more machine makes {', '.join(later)}{more}"
    return f"{said}."


def _volume(volume: Estimate | None) -> str:
    assert volume is not None
    if volume.low is None and volume.high is None:
        return f"{volume.value:,.0f}"
    high = "no end" if volume.high is None else f"{volume.high:,.0f}"
    return f"{volume.value:,.0f} [{volume.low or 0:,.0f}, {high}]"


def volume_report(options: Options, volume: float) -> VolumeReport:
    """What each option costs at a volume, and which is cheapest."""
    costs = {name: cost_at(option, volume) for name, option in options.known.items()}
    known = {name: cost.value for name, cost in costs.items() if cost is not None}
    cheapest = min(known, key=known.__getitem__, default=None)
    counts = {}
    for name, option in options.known.items():
        good = float(option.spend.good.sum())
        if option.price.by_time and good > 0:
            seconds = np.asarray([option.spend.seconds.sum() / good])
            counts[name] = int(machines(np.asarray([volume]), seconds)[0])
    sentence = (
        "No cost is known at this volume."
        if cheapest is None
        else f"At {volume:,.0f} summaries a day {cheapest} is the cheapest of those whose cost is "
        "known."
    )
    reported = {name: interval(cost) for name, cost in costs.items()}
    reported |= dict.fromkeys(options.unknown)
    return VolumeReport(
        per_day=volume,
        cheapest=cheapest,
        usd_per_summary=reported,
        machines=counts,
        sentence=sentence,
    )


def curve_report(options: Options) -> CurveReport | None:
    """Cost over volume of each option; ``None`` where none is known."""
    if not options.known:
        return None
    return CurveReport(
        volumes=CURVE,
        usd_per_summary={
            name: tuple(float(f"{usd:.6g}") for usd in cost_curve(option, CURVE))
            for name, option in options.known.items()
        },
    )


def interval(estimate: Estimate | None) -> Interval | None:
    """An estimate as the report has it."""
    if estimate is None:
        return None
    return Interval(value=estimate.value, low=estimate.low, high=estimate.high)
