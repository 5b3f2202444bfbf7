"""What was measured and what the words mean: the page's last sections."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from phi2sdk.measure.folder import Run
from phi2sdk.report.format import seconds
from phi2sdk.report.overview import how_often
from phi2sdk.report.schema import Report

__all__ = ["METHOD", "configuration", "machine", "settings_of"]

METHOD = (
    "Targets are asked the same prompts, byte for byte, with the same sampling, in an order drawn "
    "at random for each prompt, so that what drifts during the run hits all alike.",
    "Times are read from a monotonic clock as each event reaches this machine, before anything "
    "else is done with it. Requests of the warm-up are kept apart from all statistics.",
    "A request that fails stays in the denominator: it counts as slower than every answer, and its "
    "cost is paid for. Retries and the waits between them belong to the request.",
    "Quantiles are order statistics; their 95 % intervals are those of scipy.stats.quantile_test, "
    "with the prompt as the unit, since repetitions of a prompt are not independent. With too few "
    "prompts there is no interval, and the page says so.",
    "Two targets are compared prompt by prompt (ratio of latencies); p-values are adjusted for all "
    "pairs (Holm). A difference below twice the harness' own error is not resolvable.",
    "Rates have Wilson's interval, means of scores a BCa bootstrap over prompts, costs a bootstrap "
    "over prompts of the ratio of sums.",
    "The greedy arm (temperature 0) gives latency, cost and agreement. The identity of a model is "
    "tested on sampled answers; agreement alone neither proves nor refutes it.",
)


def configuration(report: Report) -> list[tuple[str, str]]:
    """What was asked, and how: ``(what, value)``."""
    run = report.run
    load: str = run.load
    if run.load == "closed":
        load = f"closed, {run.concurrency} requests under way a target"
    elif run.rate is not None:
        load = f"{run.load}, {run.rate:g} requests a second and target"
    said = [
        ("started", run.started),
        ("input", f"{run.input}: {run.prompts:,} prompts, asked {how_often(report)} times"),
        ("task", run.task if run.template is None else f"{run.task} (template {run.template})"),
        ("prompt format", run.format),
        ("load", load),
        ("at most", f"{run.max_tokens} tokens an answer, {run.timeout:g} s a request"),
        ("sampling", "greedy (temperature 0)" + _sampled(run.identity)),
        ("warm-up", f"{run.warmup} requests a target"),
        ("seed", f"{run.seed}"),
        ("reference", run.reference or "none"),
        ("tokenizer", run.tokenizer + (" (an estimate)" if run.tokenizer_estimated else "")),
        ("margin of equivalence", f"{run.margin:.0%}"),
        ("requests", f"{run.recorded:,} of {run.requests:,} recorded, {run.lost} lost"),
        ("sessions", f"{run.sessions}, {run.seconds:,.1f} s measured"),
        ("configuration", run.configuration_hash),
    ]
    if run.unique_prefix:
        said.append(("prefix", "a line of its own for each repetition, so that no cache answers"))
    return said


def _sampled(calls: int) -> str:
    return f"; {calls:,} answers a target at temperature 1, for its identity" if calls else ""


def machine(report: Report) -> list[tuple[str, str]]:
    """Where it was measured, with which versions, and how exactly."""
    said = [(key, "unknown" if v is None else f"{v}") for key, v in report.run.machine.items()]
    said += [(key, value) for key, value in report.run.versions.items()]
    lag = report.validity
    for name, found in (("schedule lag", lag.schedule_lag), ("event loop lag", lag.loop_lag)):
        if found.p50 is not None and found.p99 is not None:
            said.append((name, f"p50 {seconds(found.p50)}, p99 {seconds(found.p99)}"))
    if lag.cpu_share is not None:
        said.append(("CPU of the harness", f"{lag.cpu_share:.0%} of one core"))
    for wire, found_ in lag.calibration.items():
        said.append(
            (
                f"own error, {wire}",
                f"p99 {seconds(found_.ttft.p99)} (TTFT), {seconds(found_.e2e.p99)} (E2E), with "
                f"{found_.streams} streams",
            )
        )
    return said


def settings_of(run: Run) -> dict[str, list[tuple[str, str]]]:
    """Each target's settings as run.json has them; secrets never get that far."""
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
