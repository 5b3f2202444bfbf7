"""Latency, throughput and goodput of a target: the numbers, and their tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np

from phi2sdk.analysis.metrics import (
    E2E,
    NEVER,
    TTFT,
    Metric,
    busy_seconds,
    is_good,
    longest_stall,
    throughput,
    tokens_per_chunk,
    window_seconds,
)
from phi2sdk.analysis.statistics import mean_over_prompts, quantile
from phi2sdk.measure.records import Record
from phi2sdk.report.format import SIMULATED, UNKNOWN, TimeUnit, seconds
from phi2sdk.report.measured import Measured
from phi2sdk.report.schema import (
    GoodputReport,
    Interval,
    LatencyReport,
    LatencySummary,
    QuantileReport,
    Report,
    ThroughputReport,
    TokensReport,
    WarmupReport,
)
from phi2sdk.report.section import (
    Cell,
    Column,
    Section,
    count,
    rate,
    target_column,
    unit_of,
    words,
)
from phi2sdk.report.section import quantile as quantile_cell

QUANTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
TITLES = {
    "ttft": "Time to first token (TTFT)",
    "e2e": "End-to-end latency (E2E)",
    "response": "Response time",
    "tpot": "Time per output token (TPOT)",
    "icl": "Inter-chunk latency (ICL)",
}


# ------------------------------------------------------------------------- numbers


def latency_report(measured: Measured, name: str) -> LatencyReport:
    """Return the quantiles of each latency of a target, over all requests, failures included."""
    records, timeout = measured.greedy[name], measured.run.configuration["timeout"]
    return LatencyReport(**{m.name: _summary(m, records, timeout) for m in measured.latencies})


def _summary(metric: Metric, records: Sequence[Record], timeout: float) -> LatencySummary | None:
    values: list[float] = []
    prompts: set[str] = set()
    of = metric.values
    for record in records:
        before = len(values)
        values += of(record)
        if len(values) > before:
            prompts.add(record.key.prompt)
    ordered = np.sort(np.asarray(values))
    if not len(ordered) or (metric is TTFT and np.isinf(ordered[0])):
        return None
    quantiles = {
        name: QuantileReport(**asdict(quantile(ordered, p, prompts=len(prompts), limit=timeout)))
        for name, p in QUANTILES.items()
    }
    return LatencySummary(n=len(ordered), censored=int(np.isinf(ordered).sum()), **quantiles)


def throughput_report(measured: Measured, name: str, tokens: TokensReport) -> ThroughputReport:
    """Return the output tokens per second of a target, and statistics of its chunks."""
    records = measured.greedy[name]
    answers = [record for record in records if record.ok]
    busy = measured.basis == "busy"
    stalls = (longest_stall(record) for record in answers)
    return ThroughputReport(
        tokens_per_second=throughput(records, tokens.output_kept or 0, sequential=busy)
        if answers
        else None,
        seconds=busy_seconds(records) if busy else window_seconds(records),
        basis=measured.basis,
        tokens_per_chunk=tokens_per_chunk(answers, measured.tokenizer),
        longest_stall=max((stall for stall in stalls if stall is not None), default=None),
    )


def goodput_report(measured: Measured, name: str) -> GoodputReport | None:
    """Return how many requests met the service levels; ``None`` if none are set.

    The prompt is the unit of the interval.
    """
    records, slo, metrics = measured.greedy[name], measured.analysis.slo, measured.latencies
    if not slo or not records:
        return None
    shares: dict[str, list[float]] = defaultdict(list)
    for record in records:
        shares[record.key.prompt].append(float(is_good(record, slo, metrics)))
    good = round(sum(sum(one) for one in shares.values()))
    spread = mean_over_prompts([sum(one) / len(one) for one in shares.values()])
    window = window_seconds(records)
    return GoodputReport(
        slo=dict(slo),
        good=good,
        attempted=len(records),
        fraction=Interval(value=good / len(records), low=spread.low, high=spread.high),
        per_second=good / window if window > 0 else None,
    )


def warmup_report(records: Sequence[Record]) -> WarmupReport:
    """Return the latency of a target's warm-up requests, which no other statistic includes."""
    ordered = sorted(records, key=lambda r: (r.session, r.t_scheduled_ns))
    times = [value for record in ordered for value in E2E.values(record)]
    finite = [t for t in times if t != NEVER]
    return WarmupReport(
        n=len(ordered),
        failed=sum(not record.ok for record in ordered),
        first=times[0] if times[0] != NEVER else None,
        median=float(np.median(finite)) if finite else None,
    )


# -------------------------------------------------------------------------- tables


def verdicts(report: Report) -> list[str]:
    """Return a sentence for each target that compares its latency with the reference's."""
    found = []
    for name, pair in report.pairs.items():
        ratio = pair.latency_ratio.e2e
        if name.startswith(f"{report.run.reference}:") and ratio is not None:
            simulated = f"{SIMULATED} " if pair.simulated else ""
            found.append(f"{simulated}{ratio.sentence}")
    return found


def sections(report: Report) -> Iterator[Section]:
    """Yield the tables of latencies and the goodput."""
    yield from tables(report)
    yield from _goodput(report)


def tables(report: Report) -> Iterator[Section]:
    """Yield a table for each latency that a target has."""
    for metric, title in TITLES.items():
        found = {
            name: summary
            for name, target in report.targets.items()
            if (summary := getattr(target.latency, metric)) is not None
        }
        if not found:
            continue
        unit = unit_of(getattr(summary, q) for summary in found.values() for q in QUANTILES)
        columns = [
            target_column(),
            Column("n", "n"),
            *(Column(f"{q} ({unit})", metric, q) for q in QUANTILES),
        ]
        rows = [
            _row(name, summary, unit, simulated=report.targets[name].simulated)
            for name, summary in found.items()
        ]
        lines = verdicts(report) if metric == "e2e" else ()
        yield Section(title, columns, rows, lines)


def _row(
    name: str, summary: LatencySummary, unit: TimeUnit, *, simulated: bool
) -> tuple[Cell, ...]:
    cells = (quantile_cell(getattr(summary, q), unit, simulated=simulated) for q in QUANTILES)
    return (words(name), count(summary.n), *cells)


def _goodput(report: Report) -> Iterator[Section]:
    found = {n: t.goodput for n, t in report.targets.items() if t.goodput is not None}
    if not found:
        return
    levels = next(iter(found.values())).slo
    met = ", ".join(f"{metric} at most {seconds(limit)}" for metric, limit in levels.items())
    columns = (
        target_column(),
        Column("requests that met every service level", "goodput"),
        Column("share of all requests (%)", "goodput"),
        Column("goodput (requests/s)", "goodput"),
    )
    rows = [
        (
            words(name),
            Cell(f"{one.good:,} of {one.attempted:,}", sort=float(one.good)),
            rate(one.fraction),
            words(UNKNOWN) if one.per_second is None else Cell(f"{one.per_second:.3g}"),
        )
        for name, one in found.items()
    ]
    yield Section("Goodput", columns, rows, [f"Service levels: {met}."])
