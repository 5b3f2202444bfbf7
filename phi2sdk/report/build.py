"""Builds the report of a run from its records. Writes no files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import get_args

from phi2sdk.analysis.cost import why_unknown
from phi2sdk.measure.calibration import WIRES
from phi2sdk.measure.folder import Run
from phi2sdk.measure.gpu_power import device_of, wrong_device
from phi2sdk.measure.records import Outcome, Record, paused_collector
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.report.agreement import diagnoses, self_agreement
from phi2sdk.report.baseline import baseline_report
from phi2sdk.report.cost import (
    Options,
    break_even_report,
    cost_report,
    curve_report,
    tokens_report,
    volume_report,
)
from phi2sdk.report.decision import decision_report
from phi2sdk.report.identity_numbers import identity_reports
from phi2sdk.report.latency import (
    goodput_report,
    latency_report,
    throughput_report,
    warmup_report,
)
from phi2sdk.report.measured import Measured
from phi2sdk.report.notebook import ShownReport
from phi2sdk.report.options import Analysis
from phi2sdk.report.pairs import compare_pairs
from phi2sdk.report.quality import quality_reports
from phi2sdk.report.requirements import evaluate
from phi2sdk.report.schema import (
    DiagnosisReport,
    ErrorsReport,
    Findings,
    QualityReport,
    RunReport,
    TargetReport,
)
from phi2sdk.report.validity import judge


def build(run: Run, tokenizer: ReferenceTokenizer, analysis: Analysis | None = None) -> ShownReport:
    """Return the report of a run, complete or not.

    Args:
        run: The run, from :meth:`phi2sdk.measure.folder.RunFolder.read`.
        tokenizer: The reference tokenizer, which counts the tokens of all targets.
        analysis: The options of the analysis.
    """
    with paused_collector():
        return build_from(Measured.of(run, tokenizer, analysis))


def build_from(measured: Measured) -> ShownReport:
    """Return the report of a run whose records are grouped by target."""
    quality, why = quality_reports(measured), diagnoses(measured)
    targets = {
        name: _target(measured, name, why.get(name), quality.get(name)) for name in measured.targets
    }
    validity = judge(measured)
    pairs = compare_pairs(measured, targets, validity)
    options = Options.of(measured, targets)
    evens = options.break_even()
    volume = measured.analysis.volume
    identity, calibration = identity_reports(measured)
    found = Findings(
        run=_run(measured),
        validity=validity,
        targets=targets,
        pairs=pairs,
        break_even=break_even_report(options, evens),
        volume=None if volume is None else volume_report(options, volume),
        cost_curve=curve_report(options),
        baseline=baseline_report(measured, options, targets, pairs),
        identity=identity,
        identity_calibration=calibration,
    )
    requirements = tuple(evaluate(one, found) for one in measured.analysis.requirements)
    return ShownReport(
        **dict(found),
        requirements=requirements,
        decision=decision_report(measured, found, requirements, evens),
    )


def _run(measured: Measured) -> RunReport:
    run, tokenizer = measured.run, measured.tokenizer
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
        margin=measured.analysis.margin,
    )


def _target(
    measured: Measured,
    name: str,
    diagnosis: DiagnosisReport | None,
    quality: QualityReport | None,
) -> TargetReport:
    described, records = measured.targets[name], measured.greedy[name]
    warmups = measured.warmups[name]
    tokens = tokens_report(measured, name)
    cost = cost_report(measured, name)
    return TargetReport(
        backend=described["backend"],
        route=next((r.route for r in records if r.route), None),
        model=next((r.model for r in records if r.ok and r.model), None),
        reference=name == measured.reference,
        streams=any(r.streamed for r in records),
        wrapped=any(r.wrapped for r in records),
        simulated=measured.simulated(name),
        wire=WIRES.get(described["backend"]),
        latency=latency_report(measured, name),
        throughput=throughput_report(measured, name, tokens),
        goodput=goodput_report(measured, name),
        tokens=tokens,
        cost=cost,
        cost_unknown=None
        if cost
        else wrong_device(measured.run, name) or why_unknown(measured.prices[name], records),
        device=device_of(measured.run, name),
        errors=_errors(records),
        warmup=warmup_report(warmups) if warmups else None,
        self_agreement=self_agreement(measured, name),
        diagnosis=diagnosis,
        quality=quality,
    )


def _errors(records: Sequence[Record]) -> ErrorsReport:
    outcomes = Counter(record.outcome for record in records)
    examples: dict[str, str] = {}
    for record in records:
        if record.error and record.message:
            examples.setdefault(record.error, record.message)
    return ErrorsReport(
        attempted=len(records),
        **{name: outcomes[name] for name in get_args(Outcome)},
        retries=sum(max(0, len(record.attempts) - 1) for record in records),
        waited=sum(record.waited for record in records),
        kinds=dict(Counter(record.error for record in records if record.error)),
        examples=examples,
    )
