"""The sections about money as tables and sentences, the same on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from phi2sdk.report.schema import BaselineReport, ChoiceReport, CostReport, Interval, Report
from phi2sdk.report.words import SIMULATED, UNKNOWN, seconds

__all__ = ["Section", "dollars", "sections", "times"]


@dataclass(frozen=True, slots=True)
class Section:
    """A title, and a table or lines under it; ``numbers`` says what its cells are."""

    title: str
    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    lines: Sequence[str] = ()
    numbers: bool = True


def sections(report: Report) -> Iterator[Section]:
    """What there is to say about money, the decision last."""
    if any(target.cost for target in report.targets.values()):
        yield _costs(report)
        if report.break_even:
            yield _break_even(report)
    if report.baseline is not None:
        yield from _against(report, report.baseline)
    if report.decision is not None:
        yield _decision(report)


def dollars(value: float) -> str:
    """Three significant digits, whatever the size."""
    if value == 0:
        return "$0"
    if value >= 1000:
        return f"${value:,.0f}"
    return f"${value:.3g}" if value >= 1e-4 else f"${value:.2e}"


def times(value: float) -> str:
    """A ratio with as many digits as it deserves."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"


# --------------------------------------------------------------------------- cost


def _costs(report: Report) -> Section:
    rows: list[tuple[str, ...]] = []
    lines: list[str] = []
    for name, target in report.targets.items():
        if target.cost is None:
            rows.append((name, "unknown", UNKNOWN, UNKNOWN, UNKNOWN))
            continue
        cost, mark = target.cost, SIMULATED if target.cost.simulated else ""
        cells = (_per_1000(one) for one in (cost.token_priced, cost.busy, cost.reserved))
        rows.append((name, f"{mark}{_with_interval(cost.per_summary)}", *cells))
    reasons = {n: t.cost_unknown for n, t in report.targets.items() if t.cost_unknown}
    lines += [f"{who}: unknown, since {why}; it is not zero." for who, why in _grouped(reasons)]
    lines += _sources(report)
    lines += [
        "tokens: tokens and calls alone; busy: machines paid for the seconds used; idle incl.: "
        "for idle time too, in the window or at a stated utilisation; failures, retries and the "
        "warm-up are paid for in each."
    ]
    lines += _why_not(report)
    columns = ("target", "$/1000 [95 %]", "tokens", "busy", "idle incl.")
    return Section("Cost of 1000 summaries (USD)", columns, rows, lines)


def _sources(report: Report) -> list[str]:
    said = []
    for name, target in report.targets.items():
        if (cost := target.cost) is not None:
            old = "; older than 180 days" if cost.stale else ""
            about = "; token counts partly estimated" if cost.estimated else ""
            said.append(f"{name}: {cost.model}, {cost.source}, {cost.date}{old}{about}")
    return said


def _why_not(report: Report) -> list[str]:
    """Why a number of the table is missing: each reason once."""
    reasons = {}
    for name, target in report.targets.items():
        cost: CostReport | None = target.cost
        if cost is not None and "reserved" in cost.unknown and cost.busy is not None:
            reasons[name] = cost.unknown["reserved"]
    return [f"idle incl. of {who} unknown: {why}." for who, why in _grouped(reasons)]


def _grouped(reasons: Mapping[str, str]) -> list[tuple[str, str]]:
    """``(names, reason)``, each reason once."""
    names: dict[str, list[str]] = {}
    for name, why in reasons.items():
        names.setdefault(why, []).append(name)
    return [(", ".join(who), why) for why, who in names.items()]


def _per_1000(value: Interval | None) -> str:
    return UNKNOWN if value is None else dollars(value.value * 1000)


def _with_interval(value: Interval) -> str:
    if value.low is None or value.high is None:
        return dollars(value.value * 1000)
    low, high = (dollars(end * 1000).removeprefix("$") for end in (value.low, value.high))
    return f"{dollars(value.value * 1000)} [{low}, {high}]"


# --------------------------------------------------------------------------- volume


def _break_even(report: Report) -> Section:
    lines = [
        f"{SIMULATED + ' ' if found.simulated else ''}{found.sentence}"
        for found in report.break_even.values()
    ]
    if report.volume is not None:
        lines.append(report.volume.sentence)
    lines.append(
        "Machines work as fast as measured, for whole days; requests come at random. The curve is "
        "in cost.svg and cost.png."
    )
    return Section("Break-even, in summaries a day", lines=lines)


# --------------------------------------------------------------------------- baseline


def _against(report: Report, baseline: BaselineReport) -> Iterator[Section]:
    rows = []
    for name, value in baseline.times_cheaper.items():
        mark = SIMULATED if report.targets[name].simulated else ""
        cells = [name, _times_cell(value, mark)]
        if baseline.at_volume:
            cells.append(_times_cell(baseline.at_volume.get(name), mark))
        rows.append(tuple(cells))
    columns: tuple[str, ...] = ("target", "times cheaper [95 %]")
    if baseline.at_volume and report.volume is not None:
        columns = (*columns, f"at {report.volume.per_day:,.0f} a day")
    yield Section(f"Against {baseline.name}", columns, rows, list(_baseline_lines(baseline)))
    if baseline.sensitivity:
        yield _sensitivity(report, baseline)


def _times_cell(value: Interval | None, mark: str) -> str:
    if value is None:
        return "unknown"
    if value.low is None or value.high is None:
        return f"{mark}{times(value.value)}"
    return f"{mark}{times(value.value)} [{times(value.low)}, {times(value.high)}]"


def _baseline_lines(baseline: BaselineReport) -> Iterator[str]:
    claim = baseline.published
    yield f"Published: {claim.value:g} times cheaper than GPT-4, {claim.note}."
    if claim.original is not None and claim.output_per_input is not None:
        yield (
            f"The original's arithmetic at this run's {claim.output_per_input:.3f} output tokens "
            f"per input token: {times(claim.original)} times."
        )
    if baseline.usd_input is not None and baseline.usd_output is not None:
        old = "; older than 180 days" if baseline.stale else ""
        yield (
            f"{baseline.name}: {dollars(baseline.usd_input)} in, {dollars(baseline.usd_output)} "
            f"out per 1M tokens ({baseline.source}, {baseline.date}{old})."
        )
    if (quality := baseline.quality) is not None:
        same = quality.exact_cut
        alike = (
            ""
            if same is None
            else f"; {same.value:.0%} of its answers equal those of {quality.reference}"
        )
        near = quality.edit_similarity
        edit = "" if near is None else f", edit similarity {near.value:.3f}"
        yield f"{baseline.name} answered {quality.ok} of {quality.attempted}{alike}{edit}."
    for who, why in _grouped(baseline.unknown):
        yield f"{who}: unknown, since {why}."
    yield from (f"Assumed: {text}" for text in baseline.assumptions)


def _sensitivity(report: Report, baseline: BaselineReport) -> Section:
    grouped: dict[tuple[str, str], list[str]] = {}
    for row in baseline.sensitivity:
        value = times(row.times)
        if row.factor == "GPU":
            limit = "" if row.seconds is None else f" (30x: {seconds(row.seconds)})"
            limit = limit.replace("30x", f"{baseline.published.value:g}x")
            text = f"{row.setting.removeprefix('hf/aws-')} {value}{limit}"
        else:
            text = f"{row.setting}: {value}"
        grouped.setdefault((row.target, row.factor), []).append(text)
    rows = [
        (f"{SIMULATED if report.targets[name].simulated else ''}{name}", factor, "; ".join(texts))
        for (name, factor), texts in grouped.items()
    ]
    return Section(
        f"Times cheaper than {baseline.name}, were it otherwise",
        ("target", "assumption", "times cheaper"),
        rows,
        [
            "GPU: rented, at the speed that was measured; in brackets how long a summary may "
            f"take there to be {baseline.published.value:g} times cheaper."
        ]
        if any(row.factor == "GPU" for row in baseline.sensitivity)
        else [],
        numbers=False,
    )


# --------------------------------------------------------------------------- decision


def _decision(report: Report) -> Section:
    decision = report.decision
    assert decision is not None
    rows = [
        _choice(name, choice, chosen=name == decision.winner)
        for name, choice in decision.choices.items()
    ]
    lines = [decision.sentence]
    lines += [
        f"{name} fails: {text}"
        for name, choice in decision.choices.items()
        for text in choice.fails
    ]
    lines += [f"It would change: {text}" for text in decision.would_change]
    columns = ("target", "$/1000", "E2E p95", "same", "identity", "valid", "")
    return Section(f"Decision, by {decision.basis}", columns, rows, lines)


def _choice(name: str, choice: ChoiceReport, *, chosen: bool) -> tuple[str, ...]:
    mark = SIMULATED if choice.simulated else ""
    cost = "unknown" if choice.cost is None else f"{mark}{dollars(choice.cost.value * 1000)}"
    p95 = UNKNOWN
    if choice.p95 is not None:
        p95 = f"{mark}{seconds(choice.p95)}"
    elif choice.p95_above is not None:
        p95 = f">{seconds(choice.p95_above)}"
    same = UNKNOWN if choice.agreement is None else f"{choice.agreement:.0%}"
    if chosen:
        word = "chosen"
    elif choice.fails:
        word = "fails"
    elif choice.identity == "different":
        word = "another model"
    else:
        word = "dominated" if choice.dominated_by else ""
    valid = "yes" if choice.valid else "NO"
    return (name, cost, p95, same, choice.identity.replace("-", " "), valid, word)
