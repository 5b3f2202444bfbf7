"""Schedule lag: our own lateness."""

from __future__ import annotations

from collections.abc import Iterable

from phi2sdk.measure.metrics.base import Metric
from phi2sdk.measure.records import Record

__all__ = ["SCHEDULE_LAG"]


def _values(record: Record) -> Iterable[float]:
    if record.t_send_ns is None:
        return ()
    return ((record.t_send_ns - record.t_scheduled_ns) / 1e9,)


SCHEDULE_LAG = Metric(
    name="schedule_lag",
    label="schedule lag",
    unit="s",
    definition="From the moment the request was due to handing it to the wire: our own lateness.",
    formula="t_send - t_scheduled",
    values=_values,
)
