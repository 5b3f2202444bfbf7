"""Response time."""

from __future__ import annotations

from collections.abc import Iterable

from phi2sdk.measure.metrics.base import NEVER, Metric
from phi2sdk.measure.records import Record

__all__ = ["RESPONSE"]


def _values(record: Record) -> Iterable[float]:
    if not record.ok or record.t_last_ns is None:
        return (NEVER,)
    return ((record.t_last_ns - record.t_scheduled_ns) / 1e9,)


RESPONSE = Metric(
    name="response",
    label="response time",
    unit="s",
    definition=(
        "From the moment the request was due to its last content: includes what it waited before "
        "it was sent, which a closed queue hides (coordinated omission)."
    ),
    formula="t_last - t_scheduled",
    values=_values,
)
