"""Time to first token."""

from __future__ import annotations

from collections.abc import Iterable

from phi2sdk.measure.metrics.base import NEVER, Metric
from phi2sdk.measure.records import Record

__all__ = ["TTFT"]


def _values(record: Record) -> Iterable[float]:
    if record.streamed is False:
        return ()
    if not record.ok:
        return (NEVER,)
    if record.t_first_ns is None or record.t_send_ns is None:
        return ()
    return ((record.t_first_ns - record.t_send_ns) / 1e9,)


TTFT = Metric(
    name="ttft",
    label="TTFT",
    unit="s",
    definition=(
        "Time to first token: from handing the request to the wire (first attempt) to the first "
        "chunk with non-empty content. Frames with a role, usage or a comment do not count. None "
        "where nothing was streamed."
    ),
    formula="t_first - t_send",
    values=_values,
)
