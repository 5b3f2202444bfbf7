"""The section on method: configuration, machine, and how the numbers are computed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from phi2sdk.measure.folder import Run
from phi2sdk.report.format import seconds
from phi2sdk.report.overview import how_often
from phi2sdk.report.schema import Report

METHOD = (
    "All targets receive the same prompt bytes with the same sampling parameters. The order of the "
    "targets is random for each prompt, so a change during the run affects all targets equally.",
    "A monotonic clock is read when an event reaches this machine, before the event is processed. "
    "Warm-up requests are in no latency statistic.",
    "A failed request stays in the denominator: it counts as slower than every answer, and its "
    "cost is included. Retries and the waits between them are part of the request.",
    "Percentiles are order statistics. Their 95% intervals are computed by "
    "scipy.stats.quantile_test with the prompt as the unit, because repetitions of a prompt are "
    "not independent. A percentile of too few prompts has no interval and is marked with *.",
    "Two targets are compared prompt by prompt (ratio of latencies), and p-values are adjusted for "
    "all pairs (Holm). A difference below twice the measurement error is called not resolvable.",
    "Intervals of rates are Wilson intervals, those of mean scores are BCa bootstraps over "
    "prompts, and those of costs are bootstraps over prompts of the ratio of sums.",
    "Latency, cost, agreement and quality are measured on greedy answers (temperature 0). Identity "
    "is tested on sampled answers, because agreement of greedy answers does not show which model "
    "wrote them.",
)


def configuration(report: Report) -> list[tuple[str, str]]:
    """Return the configuration of the run as ``(name, value)``."""
    run = report.run
    load: str = run.load
    if run.load == "closed":
        load = f"closed, {run.concurrency} requests in flight at each target"
    elif run.rate is not None:
        load = f"{run.load}, {run.rate:g} requests per second to each target"
    said = [
        ("started", run.started),
        ("input", f"{run.input}: {run.prompts:,} prompts x {how_often(report)}"),
        ("task", run.task if run.template is None else f"{run.task} (template {run.template})"),
        ("prompt format", run.format),
        ("load", load),
        ("limits", f"{run.max_tokens} tokens per answer, {run.timeout:g} s per request"),
        ("sampling", "greedy (temperature 0)" + _sampled(run.identity)),
        ("warm-up", f"{run.warmup} requests to each target"),
        ("seed", f"{run.seed}"),
        ("reference", run.reference or "none"),
        ("tokenizer", run.tokenizer + (" (an estimate)" if run.tokenizer_estimated else "")),
        ("equivalence margin", f"{run.margin:.0%}"),
        ("requests", f"{run.recorded:,} of {run.requests:,} recorded, {run.lost} lost"),
        ("sessions", f"{run.sessions}, {run.seconds:,.1f} s measured"),
        ("configuration hash", run.configuration_hash),
    ]
    if run.unique_prefix:
        said.append(("unique prefix", "one per repetition, to defeat response and prefix caches"))
    return said


def _sampled(calls: int) -> str:
    return (
        f"; {calls:,} sampled answers of each target (temperature 1) for identity" if calls else ""
    )


def machine(report: Report) -> list[tuple[str, str]]:
    """Return the machine, the versions, and the measurement error as ``(name, value)``."""
    said = [(key, "unknown" if v is None else f"{v}") for key, v in report.run.machine.items()]
    said += [(key, value) for key, value in report.run.versions.items()]
    lag = report.validity
    for name, found in (("schedule lag", lag.schedule_lag), ("event loop lag", lag.loop_lag)):
        if found.p50 is not None and found.p99 is not None:
            said.append((name, f"p50 {seconds(found.p50)}, p99 {seconds(found.p99)}"))
    if lag.cpu_share is not None:
        said.append(("CPU used by phi2sdk", f"{lag.cpu_share:.0%} of one core"))
    for wire, found_ in lag.calibration.items():
        said.append(
            (
                f"measurement error, {wire}",
                f"p99 {seconds(found_.ttft.p99)} (TTFT), {seconds(found_.e2e.p99)} (E2E), at "
                f"concurrency {found_.streams}",
            )
        )
    return said


def settings_of(run: Run) -> dict[str, list[tuple[str, str]]]:
    """Return the settings of each target from run.json, which holds no secrets."""
    targets: Mapping[str, Mapping[str, Any]] = run.configuration["targets"]
    return {
        name: [
            ("backend", str(described["backend"])),
            *((key, _flat(value)) for key, value in described["settings"].items()),
        ]
        for name, described in targets.items()
    }


def _flat(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
