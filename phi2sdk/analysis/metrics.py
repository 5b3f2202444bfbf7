"""The metrics of requests and targets, computed from the clock readings of their records."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer

NEVER = float("inf")
"""The value of a request that did not answer: above every limit, last in every ranking."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A latency that is computed from one request, in seconds.

    A request has one value, several values, or none. The glossary (``report/glossary.py``) defines
    each metric and gives its formula.

    Attributes:
        name: The name in ``report.json``.
        values: The values of a record; :data:`NEVER` for a request that failed to have one.
    """

    name: str
    values: Callable[[Record], Iterable[float]]


def _ttft(record: Record) -> Iterable[float]:
    if record.streamed is False:
        return ()
    if not record.ok:
        return (NEVER,)
    if record.t_first_ns is None or record.t_send_ns is None:
        return ()
    return ((record.t_first_ns - record.t_send_ns) / 1e9,)


TTFT = Metric("ttft", _ttft)


def _e2e(record: Record) -> Iterable[float]:
    if not record.ok or record.t_last_ns is None or record.t_send_ns is None:
        return (NEVER,)
    return ((record.t_last_ns - record.t_send_ns) / 1e9,)


E2E = Metric("e2e", _e2e)


def _response(record: Record) -> Iterable[float]:
    if not record.ok or record.t_last_ns is None:
        return (NEVER,)
    return ((record.t_last_ns - record.t_scheduled_ns) / 1e9,)


RESPONSE = Metric("response", _response)


def tpot(tokenizer: ReferenceTokenizer) -> Metric:
    """Return the time per output token, as the reference tokenizer counts tokens.

    The throughput counts the same tokens, so that the two can be reconciled: where every answer
    has a TPOT, the busy time under sequential load is the sum of ``TTFT + TPOT * (N - n1)``.
    """
    return Metric("tpot", partial(_tpot, tokenizer))


def _tpot(tokenizer: ReferenceTokenizer, record: Record) -> Iterable[float]:
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


def _icl(record: Record) -> Iterable[float]:
    if not record.ok or record.streamed is False:
        return ()
    gaps: list[float] = (np.diff(np.frombuffer(record.chunk_ns, np.int64)) / 1e9).tolist()
    return gaps


def longest_stall(record: Record) -> float | None:
    """Return the longest gap between two chunks with content, in seconds."""
    return max(_icl(record), default=None)


def tokens_per_chunk(records: Iterable[Record], tokenizer: ReferenceTokenizer) -> float | None:
    """Return the mean over all streamed chunks; near 1, every chunk is one token."""
    streamed = [record for record in records if record.streamed]
    chunks = sum(len(record.chunk_ns) for record in streamed)
    return sum(tokenizer.count(record.raw) for record in streamed) / chunks if chunks else None


ICL = Metric("icl", _icl)


def _schedule_lag(record: Record) -> Iterable[float]:
    if record.t_send_ns is None:
        return ()
    return ((record.t_send_ns - record.t_scheduled_ns) / 1e9,)


SCHEDULE_LAG = Metric("schedule_lag", _schedule_lag)


def latencies(tokenizer: ReferenceTokenizer) -> tuple[Metric, ...]:
    """Return the metrics of ``latency`` in ``report.json``, in their order.

    Args:
        tokenizer: Counts the tokens of every target.
    """
    return TTFT, E2E, RESPONSE, tpot(tokenizer), ICL


def throughput(records: Sequence[Record], tokens: float, *, sequential: bool) -> float | None:
    """Return the output tokens per second of one target; ``None`` if no time passed.

    Args:
        records: All records of the target.
        tokens: Number of output tokens of its answers.
        sequential: Whether the target was idle during requests to other targets.
    """
    seconds = busy_seconds(records) if sequential else window_seconds(records)
    return tokens / seconds if seconds > 0 else None


def window_seconds(records: Iterable[Record]) -> float:
    """Return the time from the first send to the last content, summed over sessions."""
    return sum(
        max(end for _, end in spans) - min(begin for begin, _ in spans)
        for spans in _spans_by_session(records)
    )


def busy_seconds(records: Iterable[Record]) -> float:
    """Return the seconds with at least one request in flight."""
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


METRICS = ("ttft", "e2e", "response", "tpot", "icl")
_ENTRY = re.compile(r"\s*([a-z0-9]+)\s*=\s*([0-9.eE+-]+)\s*(ms|s)?\s*")


def parse_slo(text: str) -> dict[str, float]:
    """Parse service levels such as ``ttft=0.5,e2e=500ms`` into limits in seconds by metric.

    Raises:
        ConfigurationError: An entry is not a valid limit, or its metric is unknown.
    """
    limits: dict[str, float] = {}
    for entry in text.split(","):
        match = _ENTRY.fullmatch(entry)
        try:
            name, limit = (match.group(1), float(match.group(2))) if match else ("", 0.0)
        except ValueError:
            name, limit = "", 0.0
        if match is None or name not in METRICS or not 0 < limit < float("inf"):
            raise ConfigurationError(
                f"service level {entry.strip()!r}: write METRIC=SECONDS, with one of "
                f"{', '.join(METRICS)}, as in ttft=0.5,e2e=5"
            )
        limits[name] = limit / 1000 if match.group(3) == "ms" else limit
    return limits


def is_good(record: Record, limits: Mapping[str, float], metrics: Iterable[Metric]) -> bool:
    """Return whether a request was answered within every limit.

    For a route that does not stream, a limit on the first token applies to the latency of the
    whole answer, because its first token arrives with the whole answer.
    """
    if not record.ok:
        return False
    for metric in metrics:
        limit = limits.get(metric.name, float("inf"))
        whole = metric.name == "ttft" and not record.streamed
        if any(value > limit for value in (E2E if whole else metric).values(record)):
            return False
    return True
