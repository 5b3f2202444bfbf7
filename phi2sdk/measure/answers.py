"""The journal of many numbered rows: one line for each call that is sent and for each answer.

A bulk run numbers the rows of its input, and an evaluation its questions. A line is written to the
operating system before the next step, so a process that is killed loses only the requests in
flight. The events are::

    {"session": 2, "started": "..."}       a process begins
    {"sent": 17, "calls": 1}               row 17: at most this many calls are sent from here
    {"n": 17, "id": "...", "text": ...}    row 17 has an answer or an error
    {"unsent": 17}                         row 17 was announced, but no call was sent
    {"again": [17], "usd": 0.001}          the answers to these calls were lost with a process; they
                                           are charged at their maximum cost, and sent again
"""

from __future__ import annotations

import json
import mmap
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Self

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.files import ANOTHER_COPY, AppendedFile, unwritable
from phi2sdk.parsing import parse_json

_BLOCK = 1 << 20
_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one row.

    Attributes:
        n: Number of the row in the input.
        id: Its id.
        text: The answer; ``None`` if the row failed.
        finish_reason: Why the answer ended, as reported.
        input_tokens, output_tokens: Tokens, if the provider reported them.
        usd: Cost of the answer in US dollars, if the price is known.
        target: Name of the target that answered; of the last one that failed.
        attempts: Calls in this session.
        error: Type and message of the error; ``None`` if the row has an answer.
        charged: US dollars that the budget was charged for all calls, if there is a budget.
        seconds: Seconds since the previous answer of the same task and target, or since the task
            began in this session. Only an evaluation has tasks.
    """

    n: int
    id: str
    text: str | None = None
    finish_reason: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    usd: float | None = None
    target: str | None = None
    attempts: int = 0
    error: str | None = None
    charged: float | None = None
    seconds: float | None = None


_FIELDS = tuple(one.name for one in fields(Answer))


@dataclass(slots=True)
class State:
    """The content of a journal.

    Attributes:
        rows: Number of rows of the input.
        answered, failed: Rows whose last outcome is an answer, or an error.
        calls: Calls with a known outcome.
        again: Calls whose answers were lost with a process, and that are sent again.
        usd: Cost of all answers in US dollars; ``None`` if no price is known.
        charged: US dollars charged to the budgets of all sessions.
        unbudgeted: Number of outcomes of sessions without a budget.
        sessions: Number of sessions.
        recorded: Outcomes of the last session.
        open: Rows that may have been called and have no outcome, with the largest number of calls.
    """

    rows: int
    answered: int = 0
    failed: int = 0
    calls: int = 0
    again: int = 0
    usd: float | None = None
    charged: float = 0.0
    unbudgeted: int = 0
    sessions: int = 0
    recorded: int = 0
    open: dict[int, int] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """Rows without an answer."""
        return self.rows - self.answered

    @property
    def complete(self) -> bool:
        """Return whether each row has an answer or an error."""
        return self.answered + self.failed == self.rows


class AnswerJournal:
    """Appends events to the journal, and finds the last outcome of each row.

    The places of the outcomes are in a temporary file of 8 bytes for each row, so memory does not
    grow with the number of rows.

    Args:
        path: The file; created if it is missing.
        rows: Number of rows of the input.
        seen: Receives each outcome: those in the file, and each that is added.

    Raises:
        ConfigurationError: Another process writes to it, it is damaged, or it cannot be written.
    """

    def __init__(self, path: Path, rows: int, seen: Callable[[Answer], None] | None = None) -> None:
        self.path = path
        self._seen = seen
        self.state = State(rows)
        self._open = ExitStack()
        self._file = AppendedFile(path)
        self._open.callback(self._file.close)
        self._end = 0
        try:
            self._places = self._new_places(rows)
            for number, line in enumerate(self._file.lines(), start=1):
                try:
                    self._take(_checked(parse_json(line)))
                except (ValueError, LookupError, TypeError) as error:
                    raise ConfigurationError(
                        f"{path}, line {number}: no event of this run ({error!r}). The file is "
                        f"damaged, or something else wrote it. {ANOTHER_COPY}"
                    ) from None
                self._end += len(line)
        except BaseException:
            self.close()
            raise

    def begin(self, started: str) -> None:
        """Record that a session begins, at ``started`` (ISO, UTC)."""
        self._write({"session": self.state.sessions + 1, "started": started})

    def sent(self, n: int, calls: int = 1) -> None:
        """Record that at most this many calls are sent for a row from here."""
        self._write({"sent": n, "calls": calls})

    def unsent(self, n: int) -> None:
        """Record that no call was sent for a row that was announced."""
        self._write({"unsent": n})

    def again(self, rows: Sequence[int], usd: float | None) -> None:
        """Record that calls are sent again, because their answers were lost with a process."""
        self._write({"again": list(rows), "usd": usd})

    def outcome(self, answer: Answer) -> None:
        """Record the outcome of a row."""
        named = ((name, getattr(answer, name)) for name in _FIELDS)
        self._write({name: value for name, value in named if value is not None})

    def answered(self, n: int) -> bool:
        """Return whether a row has an answer."""
        return self._places[n] > 0

    def outcomes(self) -> Iterator[Mapping[str, Any]]:
        """Yield the known fields of each row's last :class:`Answer`, in the order of the input."""
        with self.path.open("rb") as file:
            for place in self._places:
                assert place, "there are only outputs of complete runs"
                file.seek(abs(place) - 1)
                yield json.loads(file.readline())

    def outcomes_of(self, rows: Iterable[int]) -> Iterator[Answer | None]:
        """Yield the last outcome of each of these rows; ``None`` for a row without an outcome."""
        with self.path.open("rb") as file:
            for n in rows:
                place = self._places[n]
                if place:
                    file.seek(abs(place) - 1)
                yield Answer(**json.loads(file.readline())) if place else None

    def close(self) -> None:
        """Close the file and let others write. Closing twice has no effect."""
        self._open.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _new_places(self, rows: int) -> memoryview[int]:
        """Return the place + 1 of each row's outcome in the file; below 0 for an error.

        Raises:
            ConfigurationError: The disk is full.
        """
        size = 8 * max(rows, 1)
        try:
            file = tempfile.TemporaryFile(dir=self.path.parent)  # noqa: SIM115 - see close
            self._open.callback(file.close)
            for begin in range(0, size, _BLOCK):  # no holes: a full disk ends a mapping of them
                file.write(bytes(min(_BLOCK, size - begin)))
            file.flush()
        except OSError as error:
            raise unwritable(self.path, error) from error
        mapped = self._open.enter_context(mmap.mmap(file.fileno(), size))
        return self._open.enter_context(memoryview(mapped).cast("q")[:rows])

    def _write(self, event: Mapping[str, Any]) -> None:
        line = _JSON.encode(event)
        self._file.append(line)
        self._take(event)
        self._end += len(line) + 1

    def _take(self, event: Mapping[str, Any]) -> None:
        state = self.state
        if "n" in event:
            self._take_outcome(event)
        elif "sent" in event:
            state.open[event["sent"]] = state.open.get(event["sent"], 0) + event["calls"]
        elif "unsent" in event:
            state.open.pop(event["unsent"], None)
        elif "again" in event:
            for n in event["again"]:
                state.open.pop(n, None)
            state.again += len(event["again"])
            state.charged += event["usd"] or 0.0
            state.unbudgeted += event["usd"] is None
        else:
            state.sessions, state.recorded = event["session"], 0

    def _take_outcome(self, event: Mapping[str, Any]) -> None:
        state, n, failed = self.state, event["n"], "error" in event
        before = self._places[n]
        state.failed += failed - (before < 0)
        state.answered += (not failed) - (before > 0)
        state.recorded += 1
        state.calls += event.get("attempts", 0)
        state.open.pop(n, None)
        if (usd := event.get("usd")) is not None:
            state.usd = (state.usd or 0.0) + usd
        if (charged := event.get("charged")) is not None:
            state.charged += charged
        else:
            state.unbudgeted += 1
        self._places[n] = -(self._end + 1) if failed else self._end + 1
        if self._seen is not None:
            self._seen(Answer(**event))


def _checked(event: Any) -> Mapping[str, Any]:
    """Return an event whose outcome, if it is one, has the fields of :class:`Answer`.

    Raises:
        TypeError: It has other fields.
    """
    if not isinstance(event, dict):
        raise TypeError("it is not an object")
    if "n" in event:
        answer = Answer(**event)
        if (answer.text is None) == (answer.error is None) or answer.n < 0:
            raise TypeError("it has neither an answer nor an error")
    return event
