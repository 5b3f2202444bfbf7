"""The record of a request in the journal.

All clock readings are nanoseconds since the session of the run began. A session is one process,
from start or resumption to its end. Clocks of different sessions are never compared.
"""

from __future__ import annotations

import gc
import sys
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

from phi2sdk.completion import Attempt, Completion, Count, Usage
from phi2sdk.errors import ContentFiltered, Phi2Error, Timeout
from phi2sdk.fold import Fold
from phi2sdk.text import for_terminal

Arm = Literal["warmup", "greedy", "sampled"]
Outcome = Literal["ok", "empty", "filtered", "timeout", "error"]


_OPTIONAL = {
    "t_send": "t_send_ns",
    "t_first": "t_first_ns",
    "t_last": "t_last_ns",
    **{name: name for name in ("streamed", "error", "status", "message")},
    **{name: name for name in ("finish_reason", "model", "request_id", "route")},
}
"""Name in the journal -> field of a record, for the fields that may be ``None``."""


class Key(NamedTuple):
    """Which request of a run: each has exactly one record."""

    arm: Arm
    target: str
    prompt: str
    repetition: int


@dataclass(frozen=True, slots=True)
class Record:
    """The outcome of one request.

    Attributes:
        key: The request.
        session: The number of the session.
        outcome: ``ok`` for an answer with text; ``empty`` if no text is left after the cut.
        error, status, message: The failure, if any.
        streamed: Whether the answer was streamed; ``None`` if nothing was sent.
        t_scheduled_ns: Time at which the request was due.
        t_send_ns: Time at which the first attempt was sent; ``None`` if nothing was sent.
        t_first_ns: Time of the first chunk with content; ``None`` if nothing was streamed.
        t_last_ns: Time of the last content, or of the decision to cut at a stop.
        t_close_ns: Time at which the request was closed.
        chunk_ns, chunk_chars: Time and number of characters of each chunk with content.
        attempts: Every call, including failed ones.
        text: The answer, cut at the stop.
        raw: The answer as received.
        usage: Tokens as the provider counts them, if it does.
        cut: Whether the client cut the answer at a stop.
        finish_reason, model, request_id, route, wrapped: As reported; see the receipt.
    """

    key: Key
    session: int
    outcome: Outcome
    t_scheduled_ns: int
    t_close_ns: int
    t_send_ns: int | None = None
    t_first_ns: int | None = None
    t_last_ns: int | None = None
    streamed: bool | None = None
    error: str | None = None
    status: int | None = None
    message: str | None = None
    chunk_ns: array[int] = field(default_factory=lambda: array("q"))
    chunk_chars: array[int] = field(default_factory=lambda: array("q"))
    attempts: tuple[Attempt, ...] = ()
    text: str = ""
    raw: str = ""
    usage: Usage = field(default_factory=Usage)
    cut: bool = False
    finish_reason: str | None = None
    model: str | None = None
    request_id: str | None = None
    route: str | None = None
    wrapped: bool = False

    @property
    def ok(self) -> bool:
        """Return whether there is an answer with text."""
        return self.outcome == "ok"

    @property
    def waited(self) -> float:
        """Seconds spent between attempts."""
        return sum(attempt.wait for attempt in self.attempts)

    @staticmethod
    def of(
        key: Key,
        account: Fold,
        result: Completion | Phi2Error,
        *,
        session: int,
        epoch_ns: int,
        t_scheduled_ns: int,
        t_close_ns: int,
    ) -> Record:
        """The record of a folded request.

        Args:
            key: Which request it was.
            account: Its events.
            result: The answer, or what went wrong.
            session: The session's number.
            epoch_ns: ``perf_counter_ns`` at which the session began.
            t_scheduled_ns: The reading at which it was due.
            t_close_ns: The reading at which nothing more could come.
        """
        receipt, timing = account.receipt(), account.timing()
        attempts = tuple(_shifted(a, epoch_ns) for a in account.attempts)
        chunks = timing.chunks if timing else ()
        answered = isinstance(result, Completion)
        last_ns = timing.t_last_ns - epoch_ns if timing and (answered or chunks) else None
        first_ns = timing.t_first_ns if timing else None
        failure = None if isinstance(result, Completion) else result
        return Record(
            key=key,
            session=session,
            outcome=_outcome(result),
            t_scheduled_ns=t_scheduled_ns - epoch_ns,
            t_close_ns=t_close_ns - epoch_ns,
            t_send_ns=attempts[0].t_send_ns if attempts else None,
            t_first_ns=None if first_ns is None else first_ns - epoch_ns,
            t_last_ns=last_ns,
            streamed=account.sent.streamed if account.sent else None,
            error=type(failure).__name__ if failure else None,
            status=failure.status if failure else None,
            message=for_terminal(str(failure))[:500] if failure else None,
            chunk_ns=array("q", [t - epoch_ns for t, _, _ in chunks]),
            chunk_chars=array("q", [n for _, n, _ in chunks]),
            attempts=attempts,
            text=result.text if isinstance(result, Completion) else result.partial,
            raw="".join(chunk.raw for chunk in account.chunks),
            usage=result.usage if isinstance(result, Completion) else Usage(),
            cut=bool(account.done and account.done.cut),
            finish_reason=result.finish_reason if isinstance(result, Completion) else None,
            model=result.model if isinstance(result, Completion) else None,
            request_id=result.request_id,
            route=receipt.route if receipt else None,
            wrapped=receipt.wrapped if receipt else False,
        )

    def to_json(self) -> dict[str, Any]:
        """The record as the journal keeps it; fields at their default are left out."""
        plain: dict[str, Any] = {"key": list(self.key), "session": self.session}
        plain |= {"outcome": self.outcome, "t_scheduled": self.t_scheduled_ns}
        plain["t_close"] = self.t_close_ns
        for name, field_name in _OPTIONAL.items():
            if (value := getattr(self, field_name)) is not None:
                plain[name] = value
        if self.chunk_ns:
            plain["chunks"] = {"t": list(self.chunk_ns), "chars": list(self.chunk_chars)}
        plain["text"] = self.text
        if self.raw != self.text:
            plain["raw"] = self.raw
        if usage := _usage_to_json(self.usage):
            plain["usage"] = usage
        plain |= {name: True for name in ("cut", "wrapped") if getattr(self, name)}
        return plain

    @staticmethod
    def from_json(plain: Mapping[str, Any], attempts: tuple[Attempt, ...] = ()) -> Record:
        """The record that :meth:`to_json` wrote.

        Raises:
            KeyError, TypeError, ValueError: It is not a valid record.
        """
        chunks = plain.get("chunks") or {}
        arm, target, prompt, repetition = plain["key"]
        text = plain["text"]
        return Record(
            key=Key(sys.intern(arm), sys.intern(target), sys.intern(prompt), repetition),  # type: ignore[arg-type]
            session=plain["session"],
            outcome=plain["outcome"],
            t_scheduled_ns=plain["t_scheduled"],
            t_close_ns=plain["t_close"],
            **{field_name: plain.get(name) for name, field_name in _OPTIONAL.items()},
            chunk_ns=array("q", chunks.get("t", ())),
            chunk_chars=array("q", chunks.get("chars", ())),
            attempts=attempts,
            text=sys.intern(text),
            raw=sys.intern(plain.get("raw", text)),
            usage=_usage_from_json(plain.get("usage", {})),
            cut=plain.get("cut", False),
            wrapped=plain.get("wrapped", False),
        )


def _outcome(result: Completion | Phi2Error) -> Outcome:
    if isinstance(result, Completion):
        if result.finish_reason == "filter":
            return "filtered"
        return "ok" if result.text.strip() else "empty"
    if isinstance(result, ContentFiltered):
        return "filtered"
    return "timeout" if isinstance(result, Timeout) else "error"


def _shifted(attempt: Attempt, epoch_ns: int) -> Attempt:
    t_send_ns, t_end_ns = attempt.t_send_ns - epoch_ns, attempt.t_end_ns - epoch_ns
    return replace(attempt, t_send_ns=t_send_ns, t_end_ns=t_end_ns)


_COUNTS = ("input", "output_billed", "output_kept", "cached")


def _usage_to_json(usage: Usage) -> dict[str, Any]:
    counts = {name: getattr(usage, name) for name in _COUNTS}
    return {
        name: [count.value, "estimated"] if count.estimated else count.value
        for name, count in counts.items()
        if count is not None
    }


def _usage_from_json(plain: Mapping[str, Any]) -> Usage:
    return Usage(
        **{
            name: Count(value[0], estimated=True) if isinstance(value, list) else Count(value)
            for name, value in plain.items()
        }
    )


@contextmanager
def paused_collector() -> Iterator[None]:
    """No collection while the block runs; afterwards as before."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
