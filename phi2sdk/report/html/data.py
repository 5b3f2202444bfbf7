"""The page's block of data: what its scripts draw and lay side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from phi2sdk.analysis.agreement import Divergence
from phi2sdk.analysis.metrics import E2E, TTFT, Metric, latencies
from phi2sdk.measure.folder import Run
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.report.agreement import with_reference
from phi2sdk.report.decision import cost_of
from phi2sdk.report.html.prompts import answers_of, shown
from phi2sdk.report.latency import QUANTILES
from phi2sdk.report.measured import Measured
from phi2sdk.report.schema import Interval, Report

__all__ = [
    "POINTS",
    "STEPS",
    "drawn",
    "parting",
    "series",
]


def drawn(report: Report, measured: Measured) -> dict[str, Any]:
    """Plain data, ready for JSON: no infinities, no text that steers."""
    return {
        "targets": [
            {"name": name, "simulated": target.simulated, "reference": target.reference}
            for name, target in report.targets.items()
        ],
        "task": report.run.task,
        "timeout": report.run.timeout,
        **series(measured.run, measured.greedy, measured.tokenizer),
        "ladder": _ladder(report),
        "choices": [_choice(report, name) for name in report.targets],
        "curve": None if report.cost_curve is None else report.cost_curve.model_dump(),
        "changes": list(_changes(report)),
        "per_day": report.volume.per_day if report.volume else None,
        "parting": parting(measured),
        "candidates": {
            name: {shown(candidate): value for candidate, value in one.candidates.items()}
            for name, one in report.identity.items()
            if one.candidates
        },
        **answers_of(measured),
    }


def _ladder(report: Report) -> dict[str, list[dict[str, Any]]]:
    """By latency, each target's quantiles with their intervals."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name, target in report.targets.items():
        for metric in type(target.latency).model_fields:
            summary = getattr(target.latency, metric)
            if summary is not None:
                found.setdefault(metric, []).extend(
                    {"target": name, "quantile": q, **getattr(summary, q).model_dump()}
                    for q in QUANTILES
                )
    return found


def _choice(report: Report, name: str) -> dict[str, Any]:
    """A target as a point: cost of a thousand (USD), p95 (s), share of equal answers."""
    target = report.targets[name]
    e2e = target.latency.e2e
    agreement = with_reference(report, name)
    same = Interval(value=1.0) if target.reference else agreement and agreement.exact_cut
    decision = report.decision
    return {
        "target": name,
        "cost": _ends(cost_of(report, name), 1000),
        "p95": None if e2e is None else e2e.p95.model_dump(),
        "same": _ends(same or None),
        "chosen": decision is not None and decision.winner == name,
        "dominated": bool(decision and decision.choices[name].dominated_by),
    }


def _changes(report: Report) -> Sequence[dict[str, Any]]:
    """Where the cheaper of two changes, on the curve."""
    return [
        {
            "volume": found.volume.value,
            "low": found.volume.low,
            "high": found.volume.high,
            "cheaper": found.changes[0].cheaper,
            "below": found.below,
            "usd": _on_curve(report, found.changes[0].cheaper, found.volume.value),
            "sentence": found.sentence,
        }
        for found in report.break_even.values()
        if found.volume is not None and found.changes
    ]


def _on_curve(report: Report, name: str, volume: float) -> float | None:
    """US dollars an answer at a volume, between the curve's points; ``None`` off its ends."""
    curve = report.cost_curve
    if curve is None or not curve.volumes[0] <= volume <= curve.volumes[-1]:
        return None
    costs = np.log(np.maximum(curve.usd_per_summary[name], 1e-300))
    return float(np.exp(np.interp(np.log(volume), np.log(curve.volumes), costs)))


def _ends(found: Interval | None, times: float = 1) -> dict[str, float | None] | None:
    if found is None:
        return None
    return {
        key: None if value is None else value * times for key, value in found.model_dump().items()
    }


POINTS = 400
"""Dots a target over time, at most; failures come on top."""
STEPS = 400
"""Steps of a distribution, at most."""

Floats = NDArray[np.float64]


def series(
    run: Run, by_target: Mapping[str, Sequence[Record]], tokenizer: ReferenceTokenizer
) -> dict[str, Any]:
    """``{"distributions": {metric: {target: ...}}, "time": {target: ...}}``, times in seconds.

    A distribution is ``n`` values, of which ``censored`` never came, and its steps ``x`` (value)
    and ``y`` (share of all n at or below it). Over time there are ``t`` (sent, since the run
    began), ``e2e``, ``ttft`` (null where there is none) and ``failed``, the times of requests
    that did not answer. ``every`` says that each so-manieth request is there.
    """
    begins = _session_begins(run)
    return {
        "distributions": {
            metric.name: {
                name: found
                for name, records in by_target.items()
                if (found := _distribution(metric, records)) is not None
            }
            for metric in latencies(tokenizer)
        },
        "time": {name: _over_time(records, begins) for name, records in by_target.items()},
        "sessions": len(begins),
    }


def _distribution(metric: Metric, records: Sequence[Record]) -> dict[str, Any] | None:
    """``None`` where no request has a value."""
    of = metric.values
    ordered = np.sort(np.fromiter((v for r in records for v in of(r)), np.float64))
    finite = ordered[np.isfinite(ordered)]
    if not len(finite):
        return None
    ranks = _thinned(len(finite), STEPS)
    return {
        "n": len(ordered),
        "censored": len(ordered) - len(finite),
        "x": _rounded(finite[ranks]),
        "y": _rounded((ranks + 1) / len(ordered)),
    }


def _over_time(records: Sequence[Record], begins: Mapping[int, float]) -> dict[str, Any]:
    ordered = sorted(records, key=lambda r: (r.session, r.t_scheduled_ns))
    answers = [record for record in ordered if record.ok]
    kept = [answers[rank] for rank in _thinned(len(answers), POINTS)]

    def at(record: Record) -> float:
        since = record.t_scheduled_ns if record.t_send_ns is None else record.t_send_ns
        return begins[record.session] + since / 1e9

    failed = [record for record in ordered if not record.ok]
    return {
        "every": max(1, -(-len(answers) // POINTS)),
        "t": _rounded(map(at, kept)),
        "e2e": [_one(E2E.values, record) for record in kept],
        "ttft": [_one(TTFT.values, record) for record in kept],
        "failed": _rounded(at(failed[rank]) for rank in _thinned(len(failed), POINTS)),
    }


def _session_begins(run: Run) -> dict[int, float]:
    """When each session began, in seconds, as if they had followed one another at once."""
    lengths: dict[int, int] = {}
    for record in run.recorded.done.values():
        lengths[record.session] = max(lengths.get(record.session, 0), record.t_close_ns)
    begins, total = {}, 0.0
    for session in sorted(lengths):
        begins[session] = total
        total += lengths[session] / 1e9
    return begins


def _thinned(n: int, most: int) -> NDArray[np.int64]:
    """At most so many of n places, evenly, the first and the last among them."""
    return np.unique(np.linspace(0, max(0, n - 1), min(n, most)).round().astype(np.int64))


def _one(values: Callable[[Record], Iterable[float]], record: Record) -> float | None:
    found = next(iter(values(record)), None)
    return None if found is None or not np.isfinite(found) else float(f"{found:.5g}")


def _rounded(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def parting(measured: Measured) -> dict[str, Any]:
    """By target, ``x`` (tokens in common) and ``y`` (share of prompts that did not part by then).

    Equal answers never part within their length: they are censored there. ``parted`` of
    ``prompts`` did part.
    """
    found = {}
    reference, encode = measured.reference, measured.tokenizer.encode
    for name in measured.targets:
        if reference is None or name == reference:
            continue
        pairs = measured.pairing(reference, name).pairs.values()
        one = Divergence.of([[(encode(a.text), encode(b.text)) for a, b in p] for p in pairs])
        if not one.parted and not one.equal:
            continue
        censored = stats.CensoredData(uncensored=one.parted, right=one.equal)
        left = stats.ecdf(censored).sf
        found[name] = {
            "x": [float(x) for x in left.quantiles],
            "y": [float(f"{y:.5g}") for y in left.probabilities],
            "parted": len(one.parted),
            "prompts": len(one.parted) + len(one.equal),
        }
    return found
