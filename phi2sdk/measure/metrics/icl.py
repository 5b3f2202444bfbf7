"""Inter-chunk latency."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from phi2sdk.measure.metrics.base import Metric
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer

__all__ = ["ICL", "longest_stall", "tokens_per_chunk"]


def _values(record: Record) -> Iterable[float]:
    if not record.ok or record.streamed is False:
        return ()
    gaps: list[float] = (np.diff(np.frombuffer(record.chunk_ns, np.int64)) / 1e9).tolist()
    return gaps


def longest_stall(record: Record) -> float | None:
    """The longest gap between two chunks with content, in seconds."""
    return max(_values(record), default=None)


def tokens_per_chunk(records: Iterable[Record], tokenizer: ReferenceTokenizer) -> float | None:
    """Return the mean over all streamed chunks; near 1, every chunk is one token."""
    streamed = [record for record in records if record.streamed]
    chunks = sum(len(record.chunk_ns) for record in streamed)
    return sum(tokenizer.count(record.raw) for record in streamed) / chunks if chunks else None


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
