"""The comparison of each pair of targets: latency ratio, cost ratio, agreement of answers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations

from phi2sdk.analysis.agreement import Agreement, agreement, part_differently
from phi2sdk.analysis.cost import Spend, cost_ratio
from phi2sdk.analysis.metrics import E2E, TTFT, Metric
from phi2sdk.analysis.paired import PairedRatio, compare_paired, judge_all
from phi2sdk.analysis.statistics import FEWEST_PROMPTS
from phi2sdk.measure.records import Record
from phi2sdk.report.agreement import agreement_report
from phi2sdk.report.measured import Measured
from phi2sdk.report.schema import (
    Interval,
    LatencyRatioReport,
    PairReport,
    RatioReport,
    TargetReport,
    ValidityReport,
)


def compare_pairs(
    measured: Measured, targets: Mapping[str, TargetReport], validity: ValidityReport
) -> dict[str, PairReport]:
    """Compare all pairs ``a:b``, the reference as a; p-values are adjusted for all pairs."""
    first = sorted(targets, key=lambda name: not targets[name].reference)
    names = list(combinations(first, 2))
    margin, spends = measured.analysis.margin, measured.spends
    e2e = _ratios(E2E, names, measured, targets, validity)
    ttft = _ratios(TTFT, names, measured, targets, validity)
    alike = {(a, b): agreement(measured.pairing(a, b), measured.tokenizer) for a, b in names}
    parting = _parting(alike, next((n for n in first if targets[n].reference), None))
    return {
        f"{a}:{b}": PairReport(
            latency_ratio=LatencyRatioReport(
                e2e=ratio_report(a, b, e2e.get(f"{a}:{b}"), margin, "E2E"),
                ttft=ratio_report(a, b, ttft.get(f"{a}:{b}"), margin, "TTFT"),
            ),
            cost_ratio=_cost_ratio(spends[a], spends[b]),
            agreement=agreement_report(alike[a, b]),
            divergence_p=parting.get((a, b)),
            simulated=targets[a].simulated or targets[b].simulated,
        )
        for a, b in names
    }


def _parting(
    alike: Mapping[tuple[str, str], Agreement], reference: str | None
) -> dict[tuple[str, str], float]:
    """Test for each two other targets whether they diverge from the reference equally late."""
    return part_differently(
        {b: found.divergence for (a, b), found in alike.items() if a == reference and found.prompts}
    )


def by_prompt(metric: Metric, records: Sequence[Record]) -> dict[str, list[float]]:
    """Return the values of a metric by prompt, in the order of the repetitions."""
    found: dict[str, list[float]] = defaultdict(list)
    for record in sorted(records, key=lambda r: r.key.repetition):
        found[record.key.prompt].extend(metric.values(record))
    return found


def ratio_report(
    a: str, b: str, pair: PairedRatio | None, margin: float, what: str
) -> RatioReport | None:
    """Return a paired ratio with a sentence for its verdict."""
    if pair is None:
        return None
    return RatioReport(
        value=pair.ratio,
        low=pair.low,
        high=pair.high,
        difference=pair.difference,
        pairs=pair.pairs,
        left_out=pair.left_out,
        p=pair.p_adjusted,
        p_equivalent=pair.p_equivalent,
        verdict=pair.verdict,
        prompts_needed=pair.prompts_needed,
        sentence=_sentence(a, b, pair, margin, what),
    )


def _ratios(
    metric: Metric,
    names: Sequence[tuple[str, str]],
    measured: Measured,
    targets: Mapping[str, TargetReport],
    validity: ValidityReport,
) -> dict[str, PairedRatio]:
    values = {name: by_prompt(metric, measured.greedy[name]) for name in targets}
    margin = measured.analysis.margin
    found, errors = {}, {}
    for a, b in names:
        if all(getattr(targets[name].latency, metric.name) is not None for name in (a, b)):
            found[f"{a}:{b}"] = compare_paired(values[a], values[b], margin=margin)
            errors[f"{a}:{b}"] = _error(metric, (targets[a], targets[b]), validity)
    return judge_all(found, errors)


def _error(metric: Metric, pair: Sequence[TargetReport], validity: ValidityReport) -> float | None:
    """Return the larger measurement error of the two targets; ``None`` if one is unknown."""
    errors = []
    for target in pair:
        calibration = validity.calibration.get(target.wire or "")
        if calibration is None:
            return None
        errors.append((calibration.ttft if metric is TTFT else calibration.e2e).p99)
    return max(errors)


def _cost_ratio(a: Spend | None, b: Spend | None) -> Interval | None:
    return None if a is None or b is None else Interval.of(cost_ratio(a, b))


def _rounded_up(number: int) -> int:
    """Round up to two significant digits, because the estimate is not more precise."""
    step = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // step) * step


def _sentence(a: str, b: str, pair: PairedRatio, margin: float, what: str) -> str:
    if pair.verdict == "equivalent":
        return f"{b} and {a} are equivalent in {what} latency within {margin:.0%}."
    if pair.verdict == "not resolvable":
        return (
            f"{b} and {a} differ in {what} latency by less than twice the measurement error, "
            "which is too little to resolve."
        )
    if pair.verdict == "not shown":
        more = ""
        if pair.prompts_needed is not None:
            enough = pair.pairs >= FEWEST_PROMPTS
            more = (
                f"; about {_rounded_up(pair.prompts_needed)} prompts are needed to resolve it"
                if enough
                else f"; at least {FEWEST_PROMPTS} are needed to estimate how many resolve it"
            )
        return (
            f"The difference in {what} latency between {a} and {b} is not significant with "
            f"{pair.pairs} prompts{more}."
        )
    if pair.ratio is None:
        return f"{b} is {pair.verdict} than {a} in {what}: one of them failed most requests."
    ends = "" if pair.low is None or pair.high is None else f" [{pair.low:.2f}, {pair.high:.2f}]"
    return (
        f"{b} is {pair.verdict} than {a}: its {what} latency is {pair.ratio:.2f}{ends} times as "
        "long."
    )
