"""The data block of the page, from which its scripts draw charts and show prompts."""

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


def drawn(report: Report, measured: Measured) -> dict[str, Any]:
    """Return the data as plain objects for JSON: without infinities and control characters."""
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
    """Return, by metric, the percentiles of each target with their intervals."""
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
    """Return a target as a point: cost of 1,000 answers (USD), E2E p95 (s) and exact match."""
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
    """Return the break-even points, with their cost on the curve."""
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
    """Return the interpolated US dollars per answer at a volume; ``None`` outside of the curve."""
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
"""The largest number of points of a target over time; failed requests have the same limit."""
STEPS = 400
"""The largest number of steps of a distribution."""

Floats = NDArray[np.float64]


def series(
    run: Run, by_target: Mapping[str, Sequence[Record]], tokenizer: ReferenceTokenizer
) -> dict[str, Any]:
    """Return the distributions of each metric and the requests over time, in seconds.

    The form is ``{"distributions": {metric: {target: ...}}, "time": {target: ...}}``.

    A distribution has ``n`` values, of which ``censored`` were never reached, and the steps ``x``
    (value) and ``y`` (share of all n values at or below it). Over time, ``t`` is when a request was
    sent (since the start of the run), with its ``e2e`` and ``ttft`` (null without a TTFT);
    ``failed`` are the times of failed requests. Only every ``every``-th request is included.
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
    """Return the steps of a distribution; ``None`` if no request has a value."""
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
    """Return the start of each session in seconds, without the pauses between sessions."""
    lengths: dict[int, int] = {}
    for record in run.recorded.done.values():
        lengths[record.session] = max(lengths.get(record.session, 0), record.t_close_ns)
    begins, total = {}, 0.0
    for session in sorted(lengths):
        begins[session] = total
        total += lengths[session] / 1e9
    return begins


def _thinned(n: int, most: int) -> NDArray[np.int64]:
    """Return at most ``most`` evenly spaced indices below n, with the first and the last."""
    return np.unique(np.linspace(0, max(0, n - 1), min(n, most)).round().astype(np.int64))


def _one(values: Callable[[Record], Iterable[float]], record: Record) -> float | None:
    found = next(iter(values(record)), None)
    return None if found is None or not np.isfinite(found) else float(f"{found:.5g}")


def _rounded(values: Iterable[float]) -> list[float]:
    return [float(f"{value:.5g}") for value in values]


def parting(measured: Measured) -> dict[str, Any]:
    """Return, by target, the share ``y`` of prompts whose answers are equal after ``x`` tokens.

    Equal answers are censored at their length. The answers of ``parted`` of ``prompts`` prompts
    differ.
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
