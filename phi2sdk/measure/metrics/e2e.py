"""End-to-end latency."""

from __future__ import annotations

from collections.abc import Iterable

from phi2sdk.measure.metrics.base import NEVER, Metric
from phi2sdk.measure.records import Record

__all__ = ["E2E"]


def _values(record: Record) -> Iterable[float]:
    if not record.ok or record.t_last_ns is None or record.t_send_ns is None:
        return (NEVER,)
    return ((record.t_last_ns - record.t_send_ns) / 1e9,)


E2E = Metric(
    name="e2e",
    label="E2E",
    unit="s",
    definition=(
        "End-to-end latency: from handing the request to the wire (first attempt, so that "
        "retries and their waits count) to the last content, or to the moment our stop cut is "
        "decided. A route that cannot stream runs on to max_tokens, and its latency includes that."
    ),
    formula="t_last - t_send",
    values=_values,
)
