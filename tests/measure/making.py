"""Records and keys for tests."""

from __future__ import annotations

import re
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import replace

from phi2sdk.completion import Attempt, Count, Usage
from phi2sdk.measure.records import Arm, Key, Outcome, Record
from phi2sdk.measure.tokens import ReferenceTokenizer

MS = 1_000_000


def key(prompt: str = "p", target: str = "t", repetition: int = 0, arm: Arm = "greedy") -> Key:
    return Key(arm, target, prompt, repetition)


def answer(
    prompt: str = "p",
    *,
    target: str = "t",
    repetition: int = 0,
    arm: Arm = "greedy",
    text: str = "one two",
    raw: str | None = None,
    scheduled_ms: float = 0,
    send_ms: float = 0,
    chunks_ms: Sequence[float] = (10, 20),
    chunks: Sequence[str] = (),
    streamed: bool = True,
    usage: Usage | None = None,
    session: int = 1,
) -> Record:
    """An answered request; times in milliseconds after the session's start.

    Its raw text is that of the ``chunks``; else its characters are spread evenly over them.
    """
    raw = "".join(chunks) or (text if raw is None else raw)
    share = len(raw) // len(chunks_ms)
    chars = [len(one) for one in chunks] or [share] * (len(chunks_ms) - 1)
    times = [round(ms * MS) for ms in chunks_ms]
    send_ns = round(send_ms * MS)
    return Record(
        key=key(prompt, target, repetition, arm),
        session=session,
        outcome="ok" if text.strip() else "empty",
        t_scheduled_ns=round(scheduled_ms * MS),
        t_send_ns=send_ns,
        t_first_ns=times[0] if streamed else None,
        t_last_ns=times[-1],
        t_close_ns=times[-1],
        streamed=streamed,
        chunk_ns=array("q", times),
        chunk_chars=array("q", [*chars, len(raw) - sum(chars)][: len(times)]),
        attempts=(Attempt(target, send_ns, times[-1]),),
        text=text,
        raw=raw,
        usage=usage or Usage(Count(10), Count(len(text.split()))),
        finish_reason="stop",
        route="route",
    )


WORDS = ReferenceTokenizer(
    "words",
    estimated=False,
    _encode=lambda text: tuple(zlib.crc32(word.encode()) for word in text.split()),
    _spans=lambda text: [match.span() for match in re.finditer(r"\S+", text)],
)
"""A token is a word."""


def failure(
    prompt: str = "p",
    *,
    target: str = "t",
    repetition: int = 0,
    outcome: Outcome = "error",
    error: str = "Overloaded",
    at_ms: float = 5,
) -> Record:
    """A request without an answer."""
    whole = answer(prompt, target=target, repetition=repetition, chunks_ms=(at_ms,))
    return replace(
        whole,
        outcome=outcome,
        error=error,
        message=f"{error} happened",
        t_first_ns=None,
        t_last_ns=None,
        chunk_ns=array("q"),
        chunk_chars=array("q"),
        text="",
        raw="",
        usage=Usage(),
        finish_reason=None,
    )
