"""The journal of a run: its events in order, one JSON object per line.

The events are ``session``; for each request ``intent`` (before it is sent), ``attempt`` (when a
call ends) and ``done`` (the record); ``calibration`` and ``health``, about this machine; and
``over``, when a run with a duration has ended. Lines are only appended, and each line is flushed. A
process that is killed while it writes leaves a truncated last line. Readers ignore that line, and
the next session removes it.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from phi2sdk.completion import Attempt
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.events import check_event
from phi2sdk.measure.files import ANOTHER_COPY, AppendedFile, read_bytes
from phi2sdk.measure.prompt_logprobs import ScoredText
from phi2sdk.measure.records import Key, Record, paused_collector
from phi2sdk.parsing import parse_json


@dataclass(slots=True)
class Recorded:
    """The content of a journal.

    Attributes:
        done: The records, by key.
        open: Requests that were sent but have no record, with the number of times each was sent.
            They may have been charged.
        sessions: Number of sessions.
        health: The health events.
        calibrations: The measurement error on each wire, before each session.
        over: Whether the duration of the run has passed, and its last requests have ended.
        scored: The requests for log-probabilities, which have a file of their own.
    """

    done: dict[Key, Record] = field(default_factory=dict)
    open: dict[Key, int] = field(default_factory=dict)
    sessions: int = 0
    health: list[Mapping[str, Any]] = field(default_factory=list)
    calibrations: list[Mapping[str, Any]] = field(default_factory=list)
    over: bool = False
    scored: tuple[ScoredText, ...] = ()

    @property
    def elapsed(self) -> float:
        """Return the measured seconds of all sessions, from the first due time to the last end.

        Only the greedy arm counts, because only its latencies are measured.
        """
        spans: dict[int, tuple[int, int]] = {}
        for key, record in self.done.items():
            if key.arm == "greedy":
                begin, end = record.t_scheduled_ns, record.t_close_ns
                first, last = spans.get(record.session, (begin, end))
                spans[record.session] = min(first, begin), max(last, end)
        return sum(end - begin for begin, end in spans.values()) / 1e9


def read_journal(path: Path) -> Recorded:
    """All that is recorded; nothing where there is no file.

    Raises:
        ConfigurationError: A line before the last is not an event, or a key is done twice; or the
            file cannot be read.
    """
    try:
        return _recorded(path, read_bytes(path))
    except FileNotFoundError:
        return Recorded()


def _recorded(path: Path, lines: bytes) -> Recorded:
    found = Recorded()
    attempts: dict[Key, list[Attempt]] = {}
    with paused_collector():
        for number, line in enumerate(io.BytesIO(lines), start=1):
            if not line.endswith(b"\n"):
                break  # torn: its writer was killed
            try:
                _take(check_event(parse_json(line)), found, attempts)
            except ValueError as error:
                raise ConfigurationError(
                    f"{path}, line {number}: no event of a run ({error}). The file is damaged, or "
                    f"something else wrote it. {ANOTHER_COPY}"
                ) from None
    return found


def _take(event: Mapping[str, Any], found: Recorded, attempts: dict[Key, list[Attempt]]) -> None:
    kind = event["event"]
    if kind == "session":
        found.sessions = event["session"]
        return
    if kind in ("health", "calibration"):
        (found.health if kind == "health" else found.calibrations).append(event)
        return
    if kind == "over":
        found.over = True
        return
    key = Key(*event["key"])
    if kind == "intent":
        found.open[key] = found.open.get(key, 0) + 1
        attempts.pop(key, None)
    elif kind == "attempt":
        attempts.setdefault(key, []).append(_attempt(event))
    else:
        if key in found.done:
            raise ValueError("its request is done twice")
        record = Record.from_json(event, tuple(attempts.pop(key, ())))
        found.done[record.key] = record
        _close(found.open, key)


def _close(open_: dict[Key, int], key: Key) -> None:
    """Close the last intent of a key; earlier intents stay open."""
    left = open_.get(key, 0) - 1
    if left > 0:
        open_[key] = left
    else:
        open_.pop(key, None)


def _attempt(event: Mapping[str, Any]) -> Attempt:
    return Attempt(
        event["key"][1],
        event["t_send"],
        event["t_end"],
        event.get("error"),
        event.get("status"),
        event.get("wait", 0.0),
    )


class Journal:
    """Appends events to a file; a context manager.

    Only one process may write: a second is refused while the first has the file open. The file is
    read after it is locked.

    Args:
        path: The file; made where it is missing.

    Attributes:
        recorded: What it held when it was opened.

    Raises:
        ConfigurationError: Another process writes to it, it is damaged, or it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._file = AppendedFile(path)
        try:
            self.recorded = _recorded(path, self._file.read())
        except BaseException:
            self._file.close()
            raise
        self.session = self.recorded.sessions + 1

    def begin(self, started: str) -> None:
        """A session begins, at ``started`` (ISO, UTC)."""
        self._write({"event": "session", "session": self.session, "started": started})

    def intent(self, key: Key) -> None:
        """A request is about to be sent."""
        self._write({"event": "intent", "key": list(key), "session": self.session})

    def attempt(self, key: Key, number: int, attempt: Attempt, epoch_ns: int) -> None:
        """A call has ended."""
        event: dict[str, Any] = {"event": "attempt", "key": list(key), "n": number}
        event["t_send"] = attempt.t_send_ns - epoch_ns
        event["t_end"] = attempt.t_end_ns - epoch_ns
        if attempt.error is not None:
            event |= {"error": attempt.error, "status": attempt.status, "wait": attempt.wait}
        self._write(event)

    def done(self, record: Record) -> None:
        """Record the end of a request."""
        self._write({"event": "done", **record.to_json()})

    def health(self, report: Mapping[str, Any]) -> None:
        """Record the health of this machine in the last seconds."""
        self._write({"event": "health", "session": self.session, **report})

    def calibration(self, found: Mapping[str, Any]) -> None:
        """Record the measurement error on one wire."""
        self._write({"event": "calibration", "session": self.session, **found})

    def over(self) -> None:
        """Record that the duration of the run has passed and all requests have ended."""
        self._write({"event": "over", "session": self.session})

    def close(self) -> None:
        """Close the file and let others write. Closing twice is harmless."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self, event: Mapping[str, Any]) -> None:
        line = json.dumps(event, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        self._file.append(line)
