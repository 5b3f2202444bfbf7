"""Scripted faults: what goes wrong with the next calls, one fault a call."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

__all__ = ["Fault", "FaultKind", "FaultQueue", "GarbageForm", "ResetPoint"]

FaultKind = Literal[
    "status",
    "delay",
    "hang",
    "reset",
    "cut",
    "garbage",
    "error_event",
    "endless",
    "drip",
    "huge",
    "gzip",
    "twice",
    "swapped",
    "grpc",
    "clarifai",
]
ResetPoint = Literal["before_headers", "in_headers", "in_body", "between_events"]
GarbageForm = Literal[
    "bytes",
    "truncated",
    "wrong_shape",
    "empty",
    "object",
    "null",
    "html",
    "invalid_utf8",
    "control",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with one call.

    Kinds, and the fields that each reads:

    - ``status``: answer ``status`` with ``headers`` and ``body`` (bytes and text as they are, None
      as the provider's own error for that status, anything else as JSON)
    - ``delay``: wait ``seconds``, then go on as if nothing had happened
    - ``hang``: never answer; with ``after``, fall silent after that many events
    - ``reset``: reset the connection at the point ``where``; ``after`` events in a stream
    - ``cut``: close a stream properly after ``after`` events, without its end; a plain body stops
      short
    - ``garbage``: status 200 and a body of the given ``form``; with ``after``, an event of that
      form after so many good ones
    - ``error_event``: after ``after`` events, an error inside the stream (``body``, or the
      provider's own)
    - ``endless``: a stream that repeats itself after ``after`` events and never ends
    - ``drip``: the right reply, a byte every ``seconds``
    - ``huge``: a body of ``size`` bytes, in a stream one event of that size after ``after`` good
      ones; sent until the client has enough
    - ``gzip``: such a body from its start, compressed: small on the wire, ``size`` unpacked
    - ``twice``: in a stream, the event after ``after`` good ones is sent two times
    - ``swapped``: in a stream, the event after ``after`` good ones comes behind its successor
    - ``grpc``: abort with the status name ``code``, ``after`` messages
    - ``clarifai``: answer with the Clarifai status ``status`` (``where="output"``: in the output)

    ``path`` limits a fault to one route; without it, it meets the next call that would generate.
    """

    kind: FaultKind
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    seconds: float = 0.0
    size: int = 1 << 30
    after: int | None = None
    where: ResetPoint | Literal["output"] = "before_headers"
    form: GarbageForm = "bytes"
    code: str = "UNAVAILABLE"
    path: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(FaultKind):
            raise ValueError(f"unknown kind of fault {self.kind!r}: one of {get_args(FaultKind)}")


class FaultQueue:
    """The faults of one server, consumed in order. Safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[Fault] = deque()

    def push(self, fault: Fault, times: int = 1) -> None:
        """Let ``fault`` meet the next ``times`` calls, after those already scripted."""
        with self._lock:
            self._queue.extend([fault] * times)

    def clear(self) -> None:
        """Forget what has not happened yet."""
        with self._lock:
            self._queue.clear()

    def take(self, path: str, *, generating: bool) -> Fault | None:
        """The fault for a call to ``path``, if one is due; it is used up."""
        with self._lock:
            for index, fault in enumerate(self._queue):
                if fault.path == path or (fault.path is None and generating):
                    del self._queue[index]
                    return fault
        return None

    def __len__(self) -> int:
        return len(self._queue)
