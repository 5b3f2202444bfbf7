"""Throughput of a target."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import numpy as np

from phi2sdk.measure.records import Record

__all__ = ["busy_seconds", "throughput", "window_seconds"]

UNIT = "tokens/s"
DEFINITION = (
    "Output tokens that were kept, of answers, over the time in which they were made: from the "
    "first send to the last content, each session by itself; under sequential load, where a "
    "target idles while others are asked, the time in which it had a request."
)


def throughput(records: Sequence[Record], tokens: float, *, sequential: bool) -> float | None:
    """Output tokens per second of one target; ``None`` where no time passed.

    Args:
        records: All records of the target.
        tokens: Output tokens of its answers.
        sequential: Whether the target idled while others were asked.
    """
    seconds = busy_seconds(records) if sequential else window_seconds(records)
    return tokens / seconds if seconds > 0 else None


def window_seconds(records: Iterable[Record]) -> float:
    """First send to last content, summed over sessions."""
    return sum(
        max(end for _, end in spans) - min(begin for begin, _ in spans)
        for spans in _spans_by_session(records)
    )


def busy_seconds(records: Iterable[Record]) -> float:
    """Seconds in which at least one request was under way: the union of their intervals."""
    total = 0.0
    for spans in _spans_by_session(records):
        begin, end = np.asarray(sorted(spans)).T
        reached = np.maximum.accumulate(end)
        before = np.concatenate(([-np.inf], reached[:-1]))
        total += float(np.maximum(0.0, end - np.maximum(begin, before)).sum())
    return total


def _spans_by_session(records: Iterable[Record]) -> Iterable[list[tuple[float, float]]]:
    sent = sorted((r for r in records if r.t_send_ns is not None), key=lambda r: r.session)
    for _, group in groupby(sent, key=lambda r: r.session):
        yield [
            ((r.t_send_ns or 0) / 1e9, (r.t_close_ns if r.t_last_ns is None else r.t_last_ns) / 1e9)
            for r in group
        ]
