"""From the folder of a run to its report. Reads, computes, writes nothing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date as Date  # noqa: N812 - a field is called `date`
from typing import Any

import numpy as np

from phi2sdk.analysis.agreement import Pairing, agreement
from phi2sdk.analysis.cost import Spend, cost_per_summary, spend_of, why_unknown
from phi2sdk.analysis.metrics import (
    E2E,
    Metric,
    busy_seconds,
    is_good,
    latencies,
    longest_stall,
    throughput,
    tokens_per_chunk,
    window_seconds,
)
from phi2sdk.analysis.statistics import mean_over_prompts, quantile
from phi2sdk.measure.calibration import WIRES
from phi2sdk.measure.folder import Run
from phi2sdk.measure.gpu_power import price_of
from phi2sdk.measure.records import Record, paused_collector
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.pricing.price import Price
from phi2sdk.report.against import with_money
from phi2sdk.report.agreement import agreement_report, interval_report, with_diagnoses
from phi2sdk.report.choose import decision_report
from phi2sdk.report.identity import with_identity
from phi2sdk.report.money import Options
from phi2sdk.report.options import Analysis
from phi2sdk.report.pairs import compare_pairs
from phi2sdk.report.quality import with_quality
from phi2sdk.report.requirements import evaluate
from phi2sdk.report.schema import (
    AgreementReport,
    CostReport,
    ErrorsReport,
    GoodputReport,
    Interval,
    LatencyReport,
    LatencySummary,
    QuantileReport,
    Report,
    RunReport,
    TargetReport,
    ThroughputReport,
    TokensReport,
    WarmupReport,
)
from phi2sdk.report.validity import judge

__all__ = ["build"]


def build(run: Run, tokenizer: ReferenceTokenizer, analysis: Analysis | None = None) -> Report:
    """The report of a run as it stands, complete or not.

    Args:
        run: From :meth:`phi2sdk.measure.folder.RunFolder.read`.
        tokenizer: The reference tokenizer, for all targets.
        analysis: What to ask of the numbers.
    """
    with paused_collector():
        return _build(run, tokenizer, analysis or Analysis())


def _build(run: Run, tokenizer: ReferenceTokenizer, analysis: Analysis) -> Report:
    by_target: dict[str, list[Record]] = defaultdict(list)
    warmups: dict[str, list[Record]] = defaultdict(list)
    sampled: dict[str, list[Record]] = defaultdict(list)
    arms = {"warmup": warmups, "greedy": by_target, "sampled": sampled}
    for record in run.recorded.done.values():
        arms[record.key.arm][record.key.target].append(record)
    for records in by_target.values():
        records.sort(key=lambda r: (r.key.prompt, r.key.repetition))
    described: Mapping[str, Any] = run.configuration["targets"]
    everything = [record for records in by_target.values() for record in records]
    validity = judge(run, everything)
    spends = {
        name: _spend(run, name, by_target[name], warmups[name], tokenizer) for name in described
    }
    targets = {
        name: _target(run, name, by_target[name], warmups[name], tokenizer, analysis, spends[name])
        for name in described
    }
    report = Report(
        run=_run(run, tokenizer, analysis),
        validity=validity,
        targets=targets,
        pairs=compare_pairs(run, by_target, targets, validity, tokenizer, analysis.margin, spends),
    )
    report = with_diagnoses(report, run, by_target, tokenizer)
    report = with_quality(report, run, by_target, tokenizer, analysis.quality_model)
    unknown = {n: t.cost_unknown for n, t in targets.items() if t.cost_unknown is not None}
    options = Options.of(run, by_target, unknown, spends)
    evens = options.break_even()
    report = with_money(report, options, evens, analysis)
    report = with_identity(report, run, sampled, tokenizer)
    results = tuple(evaluate(requirement, report) for requirement in analysis.requirements)
    report = report.model_copy(update={"requirements": results})
    return report.model_copy(update={"decision": decision_report(report, options, evens)})


def _run(run: Run, tokenizer: ReferenceTokenizer, analysis: Analysis) -> RunReport:
    config, info = run.configuration, run.info
    arms = ("greedy", "sampled")
    recorded = sum(key.arm in arms for key in run.recorded.done)
    duration = config.get("duration")
    identity = (config.get("identity") or {}).get("calls", 0)
    sampled = len(config["targets"]) * identity
    if duration is None:
        repetitions = config["repetitions"]
        requests = len(config["targets"]) * len(config["prompts"]) * repetitions + sampled
        complete = recorded == requests
    else:
        asked = [key.repetition for key in run.recorded.done if key.arm == "greedy"]
        repetitions = 1 + max(asked, default=-1)
        requests = len(asked) + sampled
        complete = run.recorded.over and recorded == requests
    return RunReport(
        configuration_hash=info["configuration_hash"],
        phi2sdk=info["versions"]["phi2sdk"],
        started=info["started"],
        machine=info["machine"],
        versions=info["versions"],
        demo=config.get("demo", False),
        task=config["task"],
        format=config["format"],
        template=config.get("template"),
        input=config["input"],
        prompts=len(config["prompts"]),
        repetitions=repetitions,
        duration=duration,
        seconds=run.recorded.elapsed,
        unique_prefix=config.get("unique_prefix", False),
        identity=identity,
        warmup=config["warmup"],
        seed=config["seed"],
        load=config["load"]["kind"],
        concurrency=config["load"]["concurrency"],
        rate=config["load"]["rate"],
        max_tokens=config["max_tokens"],
        timeout=config["timeout"],
        reference=config.get("reference"),
        tokenizer=tokenizer.name,
        tokenizer_estimated=tokenizer.estimated,
        requests=requests,
        recorded=recorded,
        lost=sum(count for key, count in run.recorded.open.items() if key.arm in arms),
        sessions=run.recorded.sessions,
        complete=complete,
        margin=analysis.margin,
    )


def _target(
    run: Run,
    name: str,
    records: Sequence[Record],
    warmups: Sequence[Record],
    tokenizer: ReferenceTokenizer,
    analysis: Analysis,
    spend: Spend | None,
) -> TargetReport:
    config = run.configuration
    described = config["targets"][name]
    answers = [record for record in records if record.ok]
    sequential = config["load"]["kind"] == "sequential"
    tokens = _tokens(run.prompts, records, tokenizer)
    price = price_of(run, name, records)
    metrics = latencies(tokenizer)
    return TargetReport(
        backend=described["backend"],
        route=next((r.route for r in records if r.route), None),
        model=next((r.model for r in answers if r.model), None),
        reference=name == config.get("reference"),
        streams=any(r.streamed for r in records),
        wrapped=any(r.wrapped for r in records),
        simulated=described["simulated"],
        wire=WIRES.get(described["backend"]),
        latency=LatencyReport(**{m.name: _latency(m, records, config["timeout"]) for m in metrics}),
        throughput=ThroughputReport(
            tokens_per_second=throughput(records, tokens.output_kept or 0, sequential=sequential)
            if answers
            else None,
            seconds=busy_seconds(records) if sequential else window_seconds(records),
            basis="busy" if sequential else "window",
            tokens_per_chunk=tokens_per_chunk(answers, tokenizer),
            longest_stall=max(
                (s for s in map(longest_stall, answers) if s is not None), default=None
            ),
        ),
        goodput=_goodput(records, analysis.slo, metrics) if analysis.slo and records else None,
        tokens=tokens,
        cost=(cost := _cost(run, name, price, records, warmups, tokenizer, spend)),
        cost_unknown=None if cost else why_unknown(price, records),
        errors=_errors(records),
        warmup=_warmup(warmups) if warmups else None,
        # With a prefix of its own, each repetition is another prompt: nothing to compare.
        self_agreement=None if config.get("unique_prefix") else _self_agreement(records, tokenizer),
    )


def _latency(metric: Metric, records: Sequence[Record], limit: float) -> LatencySummary | None:
    values: list[float] = []
    prompts: set[str] = set()
    of = metric.values
    for record in records:
        before = len(values)
        values += of(record)
        if len(values) > before:
            prompts.add(record.key.prompt)
    ordered = np.sort(np.asarray(values))
    if not len(ordered) or (metric is not E2E and np.isinf(ordered[0]) and metric.name == "ttft"):
        return None
    quantiles = {
        f"p{round(p * 100)}": QuantileReport(
            **asdict(quantile(ordered, p, prompts=len(prompts), limit=limit))
        )
        for p in (0.5, 0.9, 0.95, 0.99)
    }
    return LatencySummary(n=len(ordered), censored=int(np.isinf(ordered).sum()), **quantiles)


def _goodput(
    records: Sequence[Record], slo: Mapping[str, float], metrics: Sequence[Metric]
) -> GoodputReport:
    """A prompt is the unit of the interval: its share of good requests."""
    shares: dict[str, list[float]] = defaultdict(list)
    for record in records:
        shares[record.key.prompt].append(float(is_good(record, slo, metrics)))
    good = round(sum(sum(one) for one in shares.values()))
    spread = mean_over_prompts([sum(one) / len(one) for one in shares.values()])
    seconds = window_seconds(records)
    return GoodputReport(
        slo=dict(slo),
        good=good,
        attempted=len(records),
        fraction=Interval(value=good / len(records), low=spread.low, high=spread.high),
        per_second=good / seconds if seconds > 0 else None,
    )


def _tokens(
    prompts: Mapping[str, str], records: Sequence[Record], tokenizer: ReferenceTokenizer
) -> TokensReport:
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


def _spend(
    run: Run,
    name: str,
    records: Sequence[Record],
    warmups: Sequence[Record],
    tokenizer: ReferenceTokenizer,
) -> Spend | None:
    """Added up once, for the target's cost and for all its pairs."""
    price = price_of(run, name, records)
    if price is None or not records:
        return None
    return spend_of(price, records, run.prompts.__getitem__, tokenizer, warmups)


def _cost(
    run: Run,
    name: str,
    price: Price | None,
    records: Sequence[Record],
    warmups: Sequence[Record],
    tokenizer: ReferenceTokenizer,
    spend: Spend | None,
) -> CostReport | None:
    config = run.configuration
    found = cost_per_summary(
        price,
        records,
        run.prompts.__getitem__,
        tokenizer,
        sequential=config["load"]["kind"] == "sequential",
        warmups=warmups,
        spend=spend,
    )
    if found is None or price is None:
        return None
    per_summary = interval_report(found.per_summary)
    assert per_summary is not None
    return CostReport(
        per_summary=per_summary,
        token_priced=interval_report(found.token_priced),
        busy=interval_report(found.busy),
        reserved=interval_report(found.reserved),
        unknown=dict(found.unknown),
        warmup_usd=found.warmup_usd,
        stale=price.stale(Date.fromisoformat(run.info["started"][:10])),
        model=price.name,
        source=price.source,
        date=price.date,
        estimated=found.estimated,
        simulated=config["targets"][name]["simulated"],
    )


def _errors(records: Sequence[Record]) -> ErrorsReport:
    outcomes = Counter(record.outcome for record in records)
    examples: dict[str, str] = {}
    for record in records:
        if record.error and record.message:
            examples.setdefault(record.error, record.message)
    return ErrorsReport(
        attempted=len(records),
        ok=outcomes["ok"],
        empty=outcomes["empty"],
        filtered=outcomes["filtered"],
        timeout=outcomes["timeout"],
        error=outcomes["error"],
        retries=sum(max(0, len(record.attempts) - 1) for record in records),
        waited=sum(record.waited for record in records),
        kinds=dict(Counter(record.error for record in records if record.error)),
        examples=examples,
    )


def _warmup(records: Sequence[Record]) -> WarmupReport:
    ordered = sorted(records, key=lambda r: (r.session, r.t_scheduled_ns))
    times = [value for record in ordered for value in E2E.values(record)]
    finite = [t for t in times if t != float("inf")]
    return WarmupReport(
        n=len(ordered),
        failed=sum(not record.ok for record in ordered),
        first=times[0] if times[0] != float("inf") else None,
        median=float(np.median(finite)) if finite else None,
    )


def _self_agreement(
    records: Sequence[Record], tokenizer: ReferenceTokenizer
) -> AgreementReport | None:
    """Each later repetition against the first: the ceiling of agreement with others."""
    first = {r.key.prompt: r for r in records if r.key.repetition == 0}
    pairs: dict[str, list[tuple[Record, Record]]] = defaultdict(list)
    for record in records:
        mine = first.get(record.key.prompt)
        if record.key.repetition and mine is not None and mine.ok and record.ok:
            pairs[record.key.prompt].append((mine, record))
    if not pairs:
        return None
    return agreement_report(agreement(Pairing(pairs, len(first) - len(pairs)), tokenizer))
