"""Cost: tokens, cost per answer, break-even, cost at a volume; the numbers and their tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import date as Date  # noqa: N812 - a field is called `date`
from itertools import combinations

import numpy as np

from phi2sdk.analysis.breakeven import HIGHEST, BreakEven, Option, break_even, cost_at, cost_curve
from phi2sdk.analysis.cost import acceptable, cost_per_summary, machines
from phi2sdk.analysis.metrics import window_seconds
from phi2sdk.analysis.statistics import Estimate
from phi2sdk.report.format import SIMULATED, UNKNOWN, grouped, usd
from phi2sdk.report.measured import Measured
from phi2sdk.report.schema import (
    BreakEvenReport,
    ChangeReport,
    CostReport,
    CurveReport,
    Interval,
    Report,
    TargetReport,
    TokensReport,
    VolumeReport,
)
from phi2sdk.report.section import Cell, Column, Section, money, target_column, words

CURVE = tuple(float(f"{v:.4g}") for v in np.geomspace(10, 1e7, 121))
"""Volumes of the cost curve, in answers per day."""

# ------------------------------------------------------------------------- numbers


def tokens_report(measured: Measured, name: str) -> TokensReport:
    """Return the tokens of a target, as billed and as counted by the reference tokenizer."""
    prompts, tokenizer = measured.run.prompts, measured.tokenizer
    records = measured.greedy[name]
    totals: Counter[str] = Counter()
    estimated = False
    billed_total = counted_total = 0
    for record in records:
        if not record.ok:
            continue
        usage = record.usage
        counted = tokenizer.count(record.raw)
        totals["input"] += (
            usage.input.value if usage.input else tokenizer.count(prompts[record.key.prompt])
        )
        totals["billed"] += usage.output_billed.value if usage.output_billed else counted
        totals["kept"] += tokenizer.count(record.text)
        totals["cached"] += usage.cached.value if usage.cached else 0
        if usage.output_billed is None or usage.input is None or usage.output_billed.estimated:
            estimated = True
        elif not record.cut:
            billed_total += usage.output_billed.value
            counted_total += counted
    answered = any(record.ok for record in records)
    return TokensReport(
        input=totals["input"] if answered else None,
        output_billed=totals["billed"] if answered else None,
        output_kept=totals["kept"] if answered else None,
        cached=totals["cached"] if any(r.usage.cached for r in records) else None,
        estimated=estimated or tokenizer.estimated,
        tokenizer=tokenizer.name,
        difference=billed_total / counted_total - 1 if counted_total else None,
    )


def cost_report(measured: Measured, name: str) -> CostReport | None:
    """Return the cost per acceptable answer; ``None`` if :func:`why_unknown` has a reason."""
    price, spend = measured.prices[name], measured.spends[name]
    if price is None or spend is None:
        return None
    window = None if measured.basis == "busy" else window_seconds(measured.greedy[name])
    found = cost_per_summary(price, spend, window)
    if found is None:
        return None
    return CostReport(
        **asdict(found),
        stale=price.stale(measured.began),
        model=price.name,
        source=price.source,
        date=price.date,
        simulated=measured.simulated(name) or measured.demo,
    )


@dataclass(frozen=True, slots=True)
class Options:
    """The targets with a known cost, and why the cost of the others is unknown.

    Attributes:
        known: The targets with a known cost by name, in the order of the run.
        unknown: The reason by the name of each other target.
        simulated: The names of simulated targets.
        today: The day on which the run began, for which the age of a price is computed.
    """

    known: Mapping[str, Option]
    unknown: Mapping[str, str]
    simulated: frozenset[str]
    today: Date

    @classmethod
    def of(cls, measured: Measured, targets: Mapping[str, TargetReport]) -> Options:
        """Return the options of a run."""
        known = {}
        for name, price in measured.prices.items():
            spend = measured.spends[name]
            if price is None or spend is None or not any(map(acceptable, measured.greedy[name])):
                continue
            known[name] = Option(name, price, spend)
        reasons = {n: t.cost_unknown for n, t in targets.items() if t.cost_unknown is not None}
        return cls(
            known,
            {name: why for name, why in reasons.items() if name not in known},
            frozenset(name for name in targets if measured.simulated(name)),
            measured.began,
        )

    def break_even(self) -> dict[tuple[str, str], BreakEven]:
        """Return the break-even of each pair of targets."""
        found = {}
        for a, b in combinations(self.known, 2):
            if (one := break_even(self.known[a], self.known[b])) is not None:
                found[a, b] = one
        return found


def break_even_report(
    options: Options, pairs: Mapping[tuple[str, str], BreakEven]
) -> dict[str, BreakEvenReport]:
    """Return the break-even of each pair, with a sentence."""
    return {
        f"{a}:{b}": BreakEvenReport(
            below=found.below,
            above=found.above,
            volume=Interval.of(found.volume),
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
        return (
            f"{found.below} is cheaper than {other} at every volume up to {HIGHEST:,.0f} per day."
        )
    first = found.changes[0][1]
    said = f"{first} is cheaper than {found.below} above {_volume(found.volume)} per day"
    later = [f"{name} is cheaper above {at:,.0f}" for at, name in found.changes[1:3]]
    if later:
        more = f", with {len(found.changes) - 3} later changes" if len(found.changes) > 3 else ""
        said += f"; because another machine is needed, {', '.join(later)}{more}"
    return f"{said}."


def _volume(volume: Estimate | None) -> str:
    assert volume is not None
    if volume.low is None and volume.high is None:
        return f"{volume.value:,.0f}"
    high = "no end" if volume.high is None else f"{volume.high:,.0f}"
    return f"{volume.value:,.0f} [{volume.low or 0:,.0f}, {high}]"


def volume_report(options: Options, volume: float) -> VolumeReport:
    """Return the cost of each option at a volume, and the cheapest option."""
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
        "The cost of every target is unknown at this volume."
        if cheapest is None
        else f"At {volume:,.0f} per day, {cheapest} has the lowest known cost."
    )
    reported = {name: Interval.of(cost) for name, cost in costs.items()}
    reported |= dict.fromkeys(options.unknown)
    return VolumeReport(
        per_day=volume,
        cheapest=cheapest,
        usd_per_summary=reported,
        machines=counts,
        sentence=sentence,
    )


def curve_report(options: Options) -> CurveReport | None:
    """Return the cost of each option over the volume; ``None`` if no cost is known."""
    if not options.known:
        return None
    return CurveReport(
        volumes=CURVE,
        usd_per_summary={
            name: tuple(float(f"{usd:.6g}") for usd in cost_curve(option, CURVE))
            for name, option in options.known.items()
        },
    )


# -------------------------------------------------------------------------- tables


def sections(report: Report) -> Iterator[Section]:
    """Yield the table of costs, and the break-even volumes of each pair of targets."""
    if any(target.cost for target in report.targets.values()):
        yield _costs(report)
        if report.break_even:
            yield _break_even(report)


def _costs(report: Report) -> Section:
    rows = []
    for name, target in report.targets.items():
        if (cost := target.cost) is None:
            rows.append((words(name), money(None), *(words(UNKNOWN) for _ in range(3))))
            continue
        parts = (cost.token_priced, cost.busy, cost.reserved)
        cells = (words(UNKNOWN) if one is None else Cell(usd(one.value * 1000)) for one in parts)
        rows.append((words(name), money(cost.per_summary, simulated=cost.simulated), *cells))
    reasons = {n: t.cost_unknown for n, t in report.targets.items() if t.cost_unknown}
    lines = [f"The cost of {names} is unknown because {why}." for names, why in grouped(reasons)]
    lines += _sources(report)
    lines += _why_not(report)
    lines.append("Every cost includes failed requests, retries and the warm-up.")
    per = f"USD per 1,000 {report.run.answers}"
    columns = (
        target_column(),
        Column(f"cost ({per})", "cost"),
        Column("tokens and calls only (USD)", "token_cost"),
        Column("busy time only (USD)", "busy"),
        Column("idle time included (USD)", "idle"),
    )
    return Section(f"Cost ({per})", columns, rows, lines)


def _sources(report: Report) -> list[str]:
    said = []
    for name, target in report.targets.items():
        if (cost := target.cost) is not None:
            old = "; older than 180 days" if cost.stale else ""
            about = "; some token counts are estimates" if cost.estimated else ""
            where = f"; the target ran on {target.device}" if target.device else ""
            said.append(
                f"Price of {name}: {cost.model}, {cost.source}, dated {cost.date}{old}{about}"
                f"{where}."
            )
    return said


def _why_not(report: Report) -> list[str]:
    """Return why a number of the table is missing, each reason once."""
    reasons = {}
    for name, target in report.targets.items():
        cost: CostReport | None = target.cost
        if cost is not None and "reserved" in cost.unknown and cost.busy is not None:
            reasons[name] = cost.unknown["reserved"]
    return [
        f"The cost of {names} with idle time included is unknown: {why}."
        for names, why in grouped(reasons)
    ]


def _break_even(report: Report) -> Section:
    lines = [
        f"{SIMULATED + ' ' if found.simulated else ''}{found.sentence}"
        for found in report.break_even.values()
    ]
    if report.volume is not None:
        lines.append(report.volume.sentence)
    lines.append(
        "Assumptions: each machine works as fast as in this run and is paid for whole days; "
        "requests arrive at random. report.html shows the cost over the volume."
    )
    return Section(f"Break-even volumes ({report.run.answers} per day)", lines=lines)
