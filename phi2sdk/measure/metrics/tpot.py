"""Time per output token."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from phi2sdk.measure.metrics.base import Metric
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer

__all__ = ["tpot"]


def tpot(tokenizer: ReferenceTokenizer) -> Metric:
    """Return the time per output token, as the reference tokenizer counts tokens.

    The throughput counts the same tokens, so that the two can be reconciled: where every answer
    has a TPOT, the busy time under sequential load is the sum of ``TTFT + TPOT * (N - n1)``.
    """
    return Metric(
        name="tpot",
        label="TPOT",
        unit="s",
        definition=(
            "Time per output token after the first chunk, of answers that were streamed and are "
            "longer than it. N: tokens of the answer that was kept; n1: those that came with the "
            "first chunk; both are counted by the reference tokenizer, whatever the provider "
            "counts. The time in which a stop arrived that was cut off is included."
        ),
        formula="(t_last - t_first) / (N - n1)",
        values=partial(_values, tokenizer),
    )


def _values(tokenizer: ReferenceTokenizer, record: Record) -> Iterable[float]:
    if not record.ok or record.t_first_ns is None or record.t_last_ns is None:
        return ()
    after = tokenizer.count(record.text) - tokenizer.count(_first_chunk(record))
    return ((record.t_last_ns - record.t_first_ns) / 1e9 / after,) if after > 0 else ()


def _first_chunk(record: Record) -> str:
    """Return the part of the kept text that came with the first chunk.

    The text begins where the white space ends that was received in front of it.
    """
    begin = max(0, record.raw.find(record.text))
    return record.raw[begin : record.chunk_chars[0]][: len(record.text)]
