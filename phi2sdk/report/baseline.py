"""The cost of each target relative to the baseline, its assumptions, and the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from phi2sdk.analysis.baseline import (
    CLAIM,
    Baseline,
    published_ratio,
    sensitivity,
    times_cheaper,
    times_cheaper_at,
    times_cheaper_than,
)
from phi2sdk.pricing.book import PriceBook
from phi2sdk.pricing.models import PerToken
from phi2sdk.report.cost import Options
from phi2sdk.report.format import (
    SIMULATED,
    dollars,
    grouped,
    listed,
    percent,
    seconds,
    times,
)
from phi2sdk.report.measured import Measured
from phi2sdk.report.schema import (
    BaselineQuality,
    BaselineReport,
    ClaimReport,
    Interval,
    PairReport,
    Report,
    SensitivityReport,
    TargetReport,
)
from phi2sdk.report.section import Cell, Column, Section, target_column, words

# ------------------------------------------------------------------------- numbers


def baseline_report(
    measured: Measured,
    options: Options,
    targets: Mapping[str, TargetReport],
    pairs: Mapping[str, PairReport],
) -> BaselineReport | None:
    """Compare the cost of every target with the baseline's; ``None`` if there is no baseline.

    Args:
        measured: The run.
        options: The targets with a known cost.
        targets: All targets, for the failures of a baseline that is a target.
        pairs: All pairs, for the agreement of such a baseline with the reference.
    """
    baseline = measured.analysis.found_baseline(list(targets))
    if baseline is None:
        return None
    book, volume = measured.analysis.book, measured.analysis.volume
    ratios: dict[str, Interval | None] = {}
    at_volume: dict[str, Interval | None] = {}
    unknown = {name: why for name, why in options.unknown.items() if name != baseline.name}
    rows: list[SensitivityReport] = []
    live = options.known.get(baseline.name) if baseline.live else None
    for name, option in options.known.items():
        if name == baseline.name:
            continue
        if not baseline.live:
            ratios[name] = Interval.of(times_cheaper(baseline, option))
            if volume is not None:
                at_volume[name] = Interval.of(times_cheaper_at(baseline, option, volume))
            rows += [
                SensitivityReport.model_validate(row, from_attributes=True)
                for row in sensitivity(baseline, option, book)
            ]
        elif live is not None:
            ratios[name] = Interval.of(times_cheaper_than(live, option))
        if ratios.get(name) is None:
            unknown[name] = (
                "its cost is zero"
                if live is not None or not baseline.live
                else f"the cost of {baseline.name} is unknown"
            )
    ratios |= {name: None for name in unknown if name not in ratios}
    part = baseline.price.parts[0] if baseline.price else None
    price = baseline.price or (live.price if live else None)
    return BaselineReport(
        name=baseline.name,
        live=baseline.live,
        usd_input=part.input if isinstance(part, PerToken) else None,
        usd_output=part.output if isinstance(part, PerToken) else None,
        source=price.source if price else None,
        date=price.date if price else None,
        stale=price.stale(options.today) if price else False,
        tokenizer_ratio=baseline.tokenizer_ratio,
        published=_published(options, book),
        times_cheaper=ratios,
        at_volume=at_volume,
        unknown=unknown,
        assumptions=tuple(_assumptions(baseline, options, volume)),
        sensitivity=tuple(rows),
        quality=_quality(baseline.name, measured.reference, targets, pairs)
        if baseline.live
        else None,
    )


def _published(options: Options, book: PriceBook) -> ClaimReport:
    claim = book.claim(CLAIM)
    ratio = _output_per_input(options)
    return ClaimReport(
        value=claim.value,
        source=claim.source,
        date=claim.date.isoformat(),
        note=claim.note,
        output_per_input=ratio,
        original=None if ratio is None else published_ratio(book, ratio),
    )


def _output_per_input(options: Options) -> float | None:
    """Return output tokens per input token, over the answers of targets with a known cost."""
    bills = [bill for option in options.known.values() for _, bill in option.spend.answered]
    read = sum(bill.input or 0 for bill in bills)
    return sum(bill.output or 0 for bill in bills) / read if read else None


def _assumptions(baseline: Baseline, options: Options, volume: float | None) -> Sequence[str]:
    said = []
    if baseline.live:
        said.append(f"{baseline.name} was measured on the same prompts.")
    else:
        if baseline.note:
            said.append(f"{baseline.name}: {baseline.note}.")
        said.append(
            f"{baseline.name} is charged for the prompts and answers of each target, without "
            f"retries, with {baseline.tokenizer_ratio:g} tokens per measured token "
            "(--tokenizer-ratio). Equal quality is assumed, not measured."
        )
    by_time = [name for name, option in options.known.items() if option.price.by_time]
    if by_time:
        said.append(
            f"The machines of {listed(by_time)} are paid for busy seconds, or at the stated "
            "utilization. "
            + (
                "At the volume they are paid for whole days, idle time included, without warm-up."
                if volume is not None
                else "With --volume N they are paid for whole days, idle time included."
            )
        )
    if any(option.spend.estimated for option in options.known.values()):
        estimated = [n for n, option in options.known.items() if option.spend.estimated]
        said.append(f"Some token counts of {listed(estimated)} are estimates.")
    if simulated := [name for name in options.known if name in options.simulated]:
        said.append(
            f"Emulators answered for {listed(simulated)}: the ratios are computed from simulated "
            "latencies."
        )
    return said


def _quality(
    name: str,
    reference: str | None,
    targets: Mapping[str, TargetReport],
    pairs: Mapping[str, PairReport],
) -> BaselineQuality:
    errors = targets[name].errors
    pair = pairs.get(f"{reference}:{name}")
    agreement = pair.agreement if pair else None
    return BaselineQuality(
        ok=errors.ok,
        attempted=errors.attempted,
        exact_cut=agreement.exact_cut if agreement else None,
        edit_similarity=agreement.edit_similarity if agreement else None,
        reference=reference if agreement else None,
    )


# -------------------------------------------------------------------------- tables


def sections(report: Report) -> Iterator[Section]:
    """Yield how many times cheaper each target is, and how that depends on assumptions."""
    if report.baseline is not None:
        yield _against(report, report.baseline)
        if report.baseline.sensitivity:
            yield _sensitivity(report, report.baseline)


def _against(report: Report, baseline: BaselineReport) -> Section:
    rows = []
    for name, value in baseline.times_cheaper.items():
        mark = _mark(report, name)
        cells = [words(name), _times(value, mark)]
        if baseline.at_volume:
            cells.append(_times(baseline.at_volume.get(name), mark))
        rows.append(tuple(cells))
    columns = [target_column(), Column("times cheaper", "times_cheaper")]
    if baseline.at_volume and report.volume is not None:
        title = f"times cheaper at {report.volume.per_day:,.0f}/day"
        columns.append(Column(title, "times_cheaper", "volume"))
    title = f"Cost compared with {baseline.name}"
    return Section(title, columns, rows, list(_baseline_lines(baseline)))


def _times(value: Interval | None, mark: str) -> Cell:
    if value is None:
        return words("unknown")
    ends = None
    if value.low is not None and value.high is not None:
        ends = times(value.low), times(value.high)
    return Cell(f"{mark}{times(value.value)}", ends, value.value)


def _baseline_lines(baseline: BaselineReport) -> Iterator[str]:
    claim = baseline.published
    yield f"Published ratio: {claim.value:g} times cheaper than GPT-4 ({claim.note})."
    if claim.original is not None and claim.output_per_input is not None:
        yield (
            f"The formula of the published ratio gives {times(claim.original)} at the "
            f"{claim.output_per_input:.3f} output tokens per input token of this run."
        )
    if baseline.usd_input is not None and baseline.usd_output is not None:
        old = "; older than 180 days" if baseline.stale else ""
        yield (
            f"Price of {baseline.name} per 1M tokens: {dollars(baseline.usd_input)} input, "
            f"{dollars(baseline.usd_output)} output ({baseline.source}, {baseline.date}{old})."
        )
    if (quality := baseline.quality) is not None:
        same = quality.exact_cut
        alike = (
            "" if same is None else f"; exact match with {quality.reference}: {percent(same.value)}"
        )
        near = quality.edit_similarity
        edit = "" if near is None else f", edit similarity {near.value:.3f}"
        answered = f"answered {quality.ok} of {quality.attempted} requests"
        yield f"{baseline.name} {answered}{alike}{edit}."
    for names, why in grouped(baseline.unknown):
        yield f"The ratio of {names} is unknown because {why}."
    yield from (f"Assumption: {text}" for text in baseline.assumptions)


def _sensitivity(report: Report, baseline: BaselineReport) -> Section:
    by_factor: dict[tuple[str, str], list[str]] = {}
    for row in baseline.sensitivity:
        value = times(row.times)
        if row.factor == "GPU":
            limit = "" if row.seconds is None else f" (30x: {seconds(row.seconds)})"
            limit = limit.replace("30x", f"{baseline.published.value:g}x")
            text = f"{row.setting.removeprefix('hf/aws-')} {value}{limit}"
        else:
            text = f"{row.setting}: {value}"
        by_factor.setdefault((row.target, row.factor), []).append(text)
    rows = [
        (words(f"{_mark(report, name)}{name}"), words(factor), words("; ".join(texts)))
        for (name, factor), texts in by_factor.items()
    ]
    return Section(
        f"Sensitivity of the {baseline.name} cost ratio to its assumptions",
        (
            target_column(),
            Column("assumption", "assumption", words=True),
            Column("times cheaper", "times_cheaper", words=True),
        ),
        rows,
        [
            "GPU: a rented GPU at the measured speed; in parentheses, the time per answer on that "
            f"GPU at which it is {baseline.published.value:g} times cheaper."
        ]
        if any(row.factor == "GPU" for row in baseline.sensitivity)
        else [],
    )


def _mark(report: Report, name: str) -> str:
    return SIMULATED if report.targets[name].simulated else ""
