"""Server-sent events, read from bytes (WHATWG HTML, section 9.2.6).

Takes what servers really send: LF, CRLF or CR line ends, comments, ``event:`` lines, ``data:``
with and without its space, several ``data:`` lines an event, characters split across reads,
several events in one read.
"""

from __future__ import annotations

from dataclasses import dataclass

from phi2sdk.errors import BadResponse

__all__ = ["ServerEvent", "SSEReader"]

MAX_EVENT_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event: its ``data`` as UTF-8 bytes, and its type (``message`` unless named)."""

    data: bytes
    type: str = "message"


class SSEReader:
    """Reads events from bytes, and keeps an incomplete event.

    >>> SSEReader().feed(b"data: one\\n\\ndata:two\\n\\n")
    [ServerEvent(data=b'one', type='message'), ServerEvent(data=b'two', type='message')]
    """

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max = max_event_bytes
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0
        self._type = "message"
        self._began = False

    def feed(self, piece: bytes) -> list[ServerEvent]:
        """Add bytes; return the events that they complete.

        Raises:
            BadResponse: An event is longer than ``max_event_bytes``.
        """
        buffer = self._rest + piece if self._rest else piece
        if not self._began and buffer:
            if b"\xef\xbb\xbf".startswith(buffer[:3]) and len(buffer) < 3:
                self._rest = buffer
                return []
            buffer = buffer.removeprefix(b"\xef\xbb\xbf")
            self._began = True
        if b"\r" in buffer:
            # A CR at the very end may be the first half of a CRLF: it waits for the next read.
            tail = b"\r" if buffer.endswith(b"\r") else b""
            body = buffer[: len(buffer) - len(tail)]
            buffer = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n") + tail
        lines = buffer.split(b"\n")
        self._rest = lines.pop()
        events: list[ServerEvent] = []
        for line in lines:
            self._take(line, events)
        if self._size + len(self._rest) > self._max:
            raise BadResponse(f"a server-sent event is longer than {self._max} bytes")
        return events

    def close(self) -> list[ServerEvent]:
        """Return the event in the last bytes of a stream, with or without a blank line.

        (The standard would drop it. Some servers omit the last blank line; and whether a text is
        complete is for its reader to say.)
        """
        return self.feed(b"\n\n") if self._rest or self._data else []

    def _take(self, line: bytes, events: list[ServerEvent]) -> None:
        if not line:
            if self._data:
                events.append(ServerEvent(b"\n".join(self._data), self._type))
            self._data, self._size, self._type = [], 0, "message"
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
            self._size += len(value) + 1
            if self._size > self._max:
                raise BadResponse(f"a server-sent event is longer than {self._max} bytes")
        elif name == b"event":
            self._type = value.decode("utf-8", "replace") or "message"
