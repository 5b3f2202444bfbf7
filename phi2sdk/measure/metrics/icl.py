"""Inter-chunk latency."""

from __future__ import annotations

from collections.abc import Iterable

from phi2sdk.measure.metrics.base import Metric
from phi2sdk.measure.records import Record

__all__ = ["ICL", "longest_stall", "tokens_per_chunk"]


def _values(record: Record) -> Iterable[float]:
    if not record.ok or record.streamed is False:
        return ()
    times = record.chunk_ns
    return ((times[i] - times[i - 1]) / 1e9 for i in range(1, len(times)))


def longest_stall(record: Record) -> float | None:
    """The longest gap between two chunks with content, in seconds."""
    return max(_values(record), default=None)


def tokens_per_chunk(records: Iterable[Record]) -> float | None:
    """The mean over all chunks whose tokens are known; 1: every chunk is one token."""
    counts = [n for record in records for n in record.chunk_tokens if n >= 0]
    return sum(counts) / len(counts) if counts else None


ICL = Metric(
    name="icl",
    label="ICL",
    unit="s",
    definition=(
        "Inter-chunk latency: gaps between chunks with content. It is an inter-token latency "
        "only where one chunk is one token."
    ),
    formula="t_chunk[i] - t_chunk[i - 1]",
    values=_values,
)
