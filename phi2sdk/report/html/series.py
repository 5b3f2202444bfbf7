"""What the latency charts draw: every target's requests, thinned where they are many."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from phi2sdk.measure.folder import Run
from phi2sdk.measure.metrics import E2E, TTFT, Metric, latencies
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer

__all__ = ["POINTS", "STEPS", "series"]

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
