"""The report's sections about money together; above all how it compares with a baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from phi2sdk.analysis.baseline import (
    CLAIM,
    Baseline,
    published_ratio,
    sensitivity,
    times_cheaper,
    times_cheaper_at,
    times_cheaper_than,
)
from phi2sdk.analysis.breakeven import BreakEven
from phi2sdk.pricing.book import PriceBook
from phi2sdk.pricing.models import PerToken
from phi2sdk.report.money import Options, break_even_report, curve_report, interval, volume_report
from phi2sdk.report.options import Analysis
from phi2sdk.report.schema import (
    BaselineReport,
    ClaimReport,
    Interval,
    QualityReport,
    Report,
    SensitivityReport,
)

__all__ = ["baseline_report", "with_money"]


def with_money(
    report: Report,
    options: Options,
    evens: Mapping[tuple[str, str], BreakEven],
    analysis: Analysis,
) -> Report:
    """The report with its sections about volume, break-even and baseline."""
    found = analysis.found_baseline(list(report.targets))
    volume = analysis.volume
    return report.model_copy(
        update={
            "break_even": break_even_report(options, evens),
            "cost_curve": curve_report(options),
            "volume": None if volume is None else volume_report(options, volume),
            "baseline": None
            if found is None
            else baseline_report(found, options, analysis.book, report, volume),
        }
    )


def baseline_report(
    baseline: Baseline,
    options: Options,
    book: PriceBook,
    report: Report,
    volume: float | None,
) -> BaselineReport:
    """Every target against the baseline.

    Args:
        baseline: A recorded model, or a target.
        options: The targets with a known cost.
        book: Where the published claim stands.
        report: The targets' section, for the quality of a live baseline.
        volume: Summaries a day, if given.
    """
    times: dict[str, Interval | None] = {}
    at_volume: dict[str, Interval | None] = {}
    unknown = {name: why for name, why in options.unknown.items() if name != baseline.name}
    rows: list[SensitivityReport] = []
    live = options.known.get(baseline.name) if baseline.live else None
    for name, option in options.known.items():
        if name == baseline.name:
            continue
        if not baseline.live:
            times[name] = interval(times_cheaper(baseline, option))
            if volume is not None:
                at_volume[name] = interval(times_cheaper_at(baseline, option, volume))
            rows += [
                SensitivityReport(
                    factor=row.factor,
                    target=row.target,
                    setting=row.setting,
                    value=row.value,
                    times=row.times,
                    seconds=row.seconds,
                )
                for row in sensitivity(baseline, option, book)
            ]
        elif live is not None:
            times[name] = interval(times_cheaper_than(live, option))
        if times.get(name) is None:
            unknown[name] = (
                "it costs nothing at its price"
                if live is not None or not baseline.live
                else f"the cost of {baseline.name} is unknown"
            )
    times |= {name: None for name in unknown if name not in times}
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
        times_cheaper=times,
        at_volume=at_volume,
        unknown=unknown,
        assumptions=tuple(_assumptions(baseline, options, volume)),
        sensitivity=tuple(rows),
        quality=_quality(baseline, report) if baseline.live else None,
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
    """Measured over the acceptable answers of all targets with a known cost."""
    bills = [bill for option in options.known.values() for _, bill in option.spend.answered]
    read = sum(bill.input or 0 for bill in bills)
    return sum(bill.output or 0 for bill in bills) / read if read else None


def _assumptions(baseline: Baseline, options: Options, volume: float | None) -> Sequence[str]:
    said = []
    if baseline.live:
        said.append(f"{baseline.name} was measured on the same prompts; its quality stands below.")
    else:
        if baseline.note:
            said.append(f"{baseline.name}: {baseline.note}.")
        stated = "" if baseline.tokenizer_ratio == 1 else ", as stated"
        said.append(
            f"{baseline.name} would have answered as each target did: the same prompts, the "
            f"measured token counts, {baseline.tokenizer_ratio:g} of its tokens for each of "
            f"theirs{stated}; at the first attempt. Equal quality is assumed, not measured."
        )
    by_time = [name for name, option in options.known.items() if option.price.by_time]
    if by_time:
        said.append(
            f"{', '.join(by_time)}: a machine is paid for busy seconds, or at its stated "
            "utilisation"
            + (
                "; at the volume for whole days, idle or not, and without the warm-up."
                if volume is not None
                else "; with --volume N for whole days, idle or not."
            )
        )
    if any(option.spend.estimated for option in options.known.values()):
        estimated = [n for n, option in options.known.items() if option.spend.estimated]
        said.append(f"{', '.join(estimated)}: token counts are partly estimates.")
    if simulated := [name for name in options.known if name in options.simulated]:
        said.append(
            f"{', '.join(simulated)}: simulated; speed and tokens are an emulator's, and the "
            "ratio is arithmetic on them."
        )
    return said


def _quality(baseline: Baseline, report: Report) -> QualityReport:
    target = report.targets[baseline.name]
    reference = report.run.reference
    pairs: Mapping[str, object] = report.pairs
    agreement = (
        report.pairs[f"{reference}:{baseline.name}"].agreement
        if f"{reference}:{baseline.name}" in pairs
        else None
    )
    return QualityReport(
        ok=target.errors.ok,
        attempted=target.errors.attempted,
        exact_cut=agreement.exact_cut if agreement else None,
        edit_similarity=agreement.edit_similarity if agreement else None,
        reference=reference if agreement else None,
    )
