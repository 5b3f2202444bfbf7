"""Cuts answers at stops, in the same way for every backend.

The answer ends at the stop that is *complete first* in the text. If several stops are complete at
the same character, the one that began first counts. The rule depends only on the text and not on
its chunks, so a stream and a single response are cut at the same character.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import aclosing, suppress
from dataclasses import replace
from typing import ClassVar

from phi2sdk.completion import Chunk, Done, Event, Request, Sent
from phi2sdk.errors import Phi2Error
from phi2sdk.prompts import END_OF_TEXT

ACCOUNT_SECONDS = 1.0
"""Seconds to wait for the counts of an answer after its text is complete."""


def stops_of(request: Request) -> tuple[str, ...]:
    """Return all stops of a request without repetition, those of the caller first."""
    return tuple(dict.fromkeys((*request.sampling.stop, *request.prompt.stop)))


async def cut_at_stops(
    events: AsyncGenerator[Event, None], request: Request
) -> AsyncGenerator[Event, None]:
    """Yield the events of a backend up to the first stop.

    Chunks keep their order and time, and only their ``text`` changes: text that may become a stop
    is withheld until this is decided. ``raw`` stays as received.

    A stream that has not ended at the stop is closed, so that the provider stops working, and its
    ``Done`` has ``cut`` set. If the provider has already ended the answer, its token counts follow
    immediately. They are kept, and awaited for at most ``ACCOUNT_SECONDS``.
    """
    prompt = request.prompt
    cutter = StopCutter(
        stops_of(request),
        top_level=prompt.format == "code",
        line_start=prompt.text.endswith("\n"),
    )
    last_ns, streamed = 0, True
    async with aclosing(events) as source:
        async for event in source:
            if isinstance(event, Chunk):
                last_ns = event.t_ns
                visible = cutter.feed(event.raw)
                yield event if visible == event.text else replace(event, text=visible)
                if cutter.ended:
                    account = await _account(source) if event.last or not streamed else None
                    ended = account or Done(last_ns, None, cut=True)
                    yield replace(ended, finish_reason="stop")
                    return
            elif isinstance(event, Done):
                if rest := cutter.flush():
                    yield Chunk(text=rest, raw="", t_ns=last_ns)
                yield event
            else:
                if isinstance(event, Sent):
                    streamed = event.streamed
                yield event


async def _account(events: AsyncGenerator[Event, None]) -> Done | None:
    """Wait for the end of an answer whose text is complete; ``None`` if it does not arrive."""
    done: Done | None = None
    with suppress(TimeoutError, Phi2Error):
        async with asyncio.timeout(ACCOUNT_SECONDS):
            async for event in events:
                done = event if isinstance(event, Done) else done
    return done


class StopCutter:
    """Cuts a text that arrives in pieces.

    Args:
        stops: Strings before which the text ends. ``<|endoftext|>`` is always one of them.
        top_level: Whether to end also before the next top-level statement of Python code: a line
            break that is followed by a character at column 0 other than white space or a closing
            bracket, outside a triple-quoted string.
        line_start: Whether the text begins at column 0, because its prompt ends in a line break.

    >>> cutter = StopCutter(["\\nBob:"])
    >>> cutter.feed("Hello\\nBo"), cutter.feed("b: hi"), cutter.ended
    ('Hello', '', True)
    """

    def __init__(
        self, stops: Iterable[str], *, top_level: bool = False, line_start: bool = False
    ) -> None:
        self._stops = tuple(dict.fromkeys((*stops, END_OF_TEXT)))
        self._code = _TopLevel(line_start=line_start) if top_level else None
        self._held = ""
        self.ended = False

    def feed(self, piece: str) -> str:
        """Add a piece; return the text that certainly precedes the stop."""
        if self.ended:
            return ""
        window = self._held + piece
        found = self._first_stop(window)
        if self._code is not None:
            found = _earlier(found, self._code.feed(piece, len(self._held)))
        if found is not None:
            self.ended, self._held = True, ""
            return window[: found[1]]
        keep = self._undecided(window)
        self._held = window[len(window) - keep :]
        return window[: len(window) - keep]

    def flush(self) -> str:
        """Return the rest of a text that ended without a stop."""
        rest, self._held = self._held, ""
        return rest

    def _first_stop(self, window: str) -> tuple[int, int] | None:
        """Return (end, start) of the stop that is complete first."""
        best: tuple[int, int] | None = None
        for stop in self._stops:
            start = window.find(stop)
            if start >= 0:
                best = _earlier(best, (start + len(stop), start))
        return best

    def _undecided(self, window: str) -> int:
        """Return the number of characters at the end that may be the beginning of a stop."""
        keep = 1 if self._code is not None and window.endswith("\n") else 0
        for stop in self._stops:
            first, at = stop[0], max(0, len(window) - len(stop) + 1)
            while 0 <= (at := window.find(first, at)) < len(window) - keep:
                if stop.startswith(window[at:]):
                    keep = len(window) - at
                    break
                at += 1
        return keep


class _TopLevel:
    """Finds the line break before the next top-level statement, outside triple quotes."""

    _OUTSIDE = re.compile(r"\"\"\"|'''|\\.|#[^\n]*|\n(?=[^\s)\]}])", re.DOTALL)
    _INSIDE: ClassVar[Mapping[str, re.Pattern[str]]] = {
        quote: re.compile(rf"{quote}|\\.", re.DOTALL) for quote in ('"""', "'''")
    }

    def __init__(self, *, line_start: bool) -> None:
        self._pending = "\n" if line_start else ""  # from where the scan continues
        self._quote: str | None = None

    def feed(self, piece: str, held: int) -> tuple[int, int] | None:
        """Return (end, start) in a window whose first ``held`` characters were scanned before."""
        text = self._pending + piece
        offset = held - len(self._pending)
        at = 0
        while match := self._token(text, at):
            token = match.group()
            if token == "\n":
                return offset + match.end() + 1, max(0, offset + match.start())
            if match.end() == len(text) and token[0] in "#\\":
                break  # a comment that may continue in the next piece
            if token in self._INSIDE:
                self._quote = None if self._quote else token
            at = match.end()
        else:
            at = max(at, len(text) - 2)  # '""' may become '"""', a line break a statement
        self._pending = text[at:]
        return None

    def _token(self, text: str, at: int) -> re.Match[str] | None:
        return (self._INSIDE[self._quote] if self._quote else self._OUTSIDE).search(text, at)


def _earlier(a: tuple[int, int] | None, b: tuple[int, int] | None) -> tuple[int, int] | None:
    if a is None or b is None:
        return a or b
    return min(a, b)
