"""The page's block of data: what its scripts draw and lay side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from phi2sdk.measure.folder import Run
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.report.html.identityview import Identity
from phi2sdk.report.html.parting import parting
from phi2sdk.report.html.series import series
from phi2sdk.report.html.sidebyside import answers_of, shown
from phi2sdk.report.html.tables import QUANTILES
from phi2sdk.report.html.verdict import cost_of
from phi2sdk.report.schema import Report
from phi2sdk.report.schema_base import Interval
from phi2sdk.report.table import comparison

__all__ = ["drawn"]


def drawn(
    report: Report,
    run: Run,
    by_target: Mapping[str, Sequence[Record]],
    tokenizer: ReferenceTokenizer,
    identities: Sequence[Identity],
) -> dict[str, Any]:
    """Plain data, ready for JSON: no infinities, no text that steers."""
    return {
        "targets": [
            {"name": name, "simulated": target.simulated, "reference": target.reference}
            for name, target in report.targets.items()
        ],
        "task": report.run.task,
        "timeout": report.run.timeout,
        **series(run, by_target, tokenizer),
        "ladder": _ladder(report),
        "choices": [_choice(report, name) for name in report.targets],
        "curve": None if report.cost_curve is None else report.cost_curve.model_dump(),
        "changes": list(_changes(report)),
        "per_day": report.volume.per_day if report.volume else None,
        "parting": parting(by_target, run.configuration.get("reference") or "", tokenizer),
        "candidates": {
            one.name: {shown(name): value for name, value in one.candidates.items()}
            for one in identities
            if one.candidates
        },
        **answers_of(run, by_target, tokenizer),
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
    agreement = comparison(report, name)
    same = Interval(value=1.0) if target.reference else agreement and agreement.exact_cut
    decision = report.decision
    return {
        "target": name,
        "cost": _ends(cost_of(report, name), 1000),
        "p95": None if e2e is None else e2e.p95.model_dump(),
        "same": _ends(same or None),
        "chosen": decision is not None and decision.winner == name,
        "beaten": bool(decision and decision.choices[name].dominated_by),
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
