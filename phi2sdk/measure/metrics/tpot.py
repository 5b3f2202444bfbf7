"""Time per output token."""

from __future__ import annotations

from collections.abc import Iterable

from phi2sdk.measure.metrics.base import Metric
from phi2sdk.measure.records import Record

__all__ = ["TPOT", "first_chunk_tokens", "output_tokens"]


def output_tokens(record: Record) -> int | None:
    """Tokens that had arrived by the last content: those of the chunks where each is known.

    Else those that were billed, unless the stream was cut and billing went past our cut.
    """
    if record.chunk_tokens and min(record.chunk_tokens) >= 0:
        return sum(record.chunk_tokens)
    billed = record.usage.output_billed
    if billed is not None and not record.cut:
        return billed.value
    kept = record.usage.output_kept
    return kept.value if kept is not None else None


def first_chunk_tokens(record: Record, tokens: int) -> int:
    """Tokens of the first chunk. Where nobody says, an estimate.

    One, if there are as many chunks as tokens; else the share that its characters have.
    """
    if record.chunk_tokens[0] >= 0:
        return record.chunk_tokens[0]
    if len(record.chunk_ns) >= tokens - 1:  # the last token may be the silent end-of-text
        return 1
    return max(1, round(tokens * record.chunk_chars[0] / max(1, sum(record.chunk_chars))))


def _values(record: Record) -> Iterable[float]:
    if not record.ok or record.t_first_ns is None or record.t_last_ns is None:
        return ()
    tokens = output_tokens(record)
    if tokens is None or tokens <= (first := first_chunk_tokens(record, tokens)):
        return ()
    return ((record.t_last_ns - record.t_first_ns) / 1e9 / (tokens - first),)


TPOT = Metric(
    name="tpot",
    label="TPOT",
    unit="s",
    definition=(
        "Time per output token after the first chunk, of answers that were streamed and are "
        "longer than it. N: output tokens; n1: tokens of the first chunk, estimated from its "
        "share of the characters where the wire does not tell."
    ),
    formula="(t_last - t_first) / (N - n1)",
    values=_values,
)
