"""The records of a run as CSV: one row for each request, for a spreadsheet or a data frame."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from phi2sdk.analysis.metrics import E2E, TTFT, Metric
from phi2sdk.completion import Count
from phi2sdk.measure.files import write_file
from phi2sdk.measure.folder import Run
from phi2sdk.measure.records import Record
from phi2sdk.text import for_csv

CSV = "records.csv"
Value = str | int | float | None


def _seconds(name: str) -> Callable[[Record], Value]:
    def value(record: Record) -> Value:
        found: int | None = getattr(record, name)
        return None if found is None else found / 1e9

    return value


def _latency(metric: Metric) -> Callable[[Record], Value]:
    def value(record: Record) -> Value:
        found = next(iter(metric.values(record)), None)
        return None if found is None or found == float("inf") else found

    return value


def _tokens(name: str) -> Callable[[Record], Value]:
    def value(record: Record) -> Value:
        found: Count | None = getattr(record.usage, name)
        return None if found is None or found.estimated else found.value

    return value


COLUMNS: Mapping[str, tuple[str, Callable[[Record], Value]]] = {
    "arm": ("warmup, greedy (the measured requests) or sampled", lambda r: r.key.arm),
    "target": ("name of the target", lambda r: r.key.target),
    "prompt": ("id of the prompt", lambda r: r.key.prompt),
    "repetition": ("number of the repetition, from 0", lambda r: r.key.repetition),
    "session": ("number of the session; a resumed run has several", lambda r: r.session),
    "outcome": ("ok, empty, filtered, timeout or error", lambda r: r.outcome),
    "error": ("type of the error", lambda r: r.error),
    "status": ("HTTP or gRPC status of the error", lambda r: r.status),
    "message": ("message of the error", lambda r: r.message),
    "scheduled_s": ("time at which the request was due", _seconds("t_scheduled_ns")),
    "sent_s": ("time at which it was sent", _seconds("t_send_ns")),
    "first_token_s": ("time of the first content of a stream", _seconds("t_first_ns")),
    "last_token_s": ("time of the last content", _seconds("t_last_ns")),
    "closed_s": ("time at which the request ended", _seconds("t_close_ns")),
    "ttft_s": ("time to first token", _latency(TTFT)),
    "e2e_s": ("end-to-end latency", _latency(E2E)),
    "chunks": ("chunks with content", lambda r: len(r.chunk_ns)),
    "input_tokens": ("input tokens that the provider reported", _tokens("input")),
    "output_tokens": ("billed output tokens that the provider reported", _tokens("output_billed")),
    "cached_tokens": ("cached input tokens that the provider reported", _tokens("cached")),
    "attempts": ("calls, with retries", lambda r: len(r.attempts)),
    "waited_s": ("time between attempts", lambda r: r.waited),
    "finish_reason": ("why the answer ended", lambda r: r.finish_reason),
    "model": ("model that the provider reported", lambda r: r.model),
    "route": ("route of the request", lambda r: r.route),
    "request_id": ("id that the provider gave", lambda r: r.request_id),
    "text": ("the answer, cut at the stop", lambda r: r.text),
}
"""Each column with its meaning. Times are seconds since the start of the session."""


def records_csv(records: Iterable[Record]) -> str:
    """Return records as CSV with a header (RFC 4180).

    An unknown value is an empty cell. Text that a spreadsheet would execute as a formula begins
    with an apostrophe; see :func:`phi2sdk.text.for_csv`.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for record in records:
        values = (value(record) for _, value in COLUMNS.values())
        writer.writerow(for_csv(v) if isinstance(v, str) else v for v in values)
    return out.getvalue()


def write_csv(run: Run, folder: Path) -> Path:
    """Write the records of a run into its folder, in the order in which they ended.

    Raises:
        ConfigurationError: The folder cannot be written.
    """
    file = folder / CSV
    write_file(file, records_csv(run.recorded.done.values()))
    return file
