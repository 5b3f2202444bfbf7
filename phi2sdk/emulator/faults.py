"""Scripted faults, one for each of the next calls of an emulated server."""

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
    """A fault that the emulator applies to one call.

    Kinds, and the fields that each reads:

    - ``status``: answer ``status`` with ``headers`` and ``body`` (bytes and text are sent
      unchanged, ``None`` is the provider's error for that status, other values are sent as JSON)
    - ``delay``: wait ``seconds``, then answer normally
    - ``hang``: never answer; with ``after``, send nothing more after that many events
    - ``reset``: reset the connection at the point ``where``; ``after`` events in a stream
    - ``cut``: close a stream properly after ``after`` events, without its end; a plain body is
      truncated
    - ``garbage``: status 200 and a body of the given ``form``; with ``after``, an event of that
      form after that many valid events
    - ``error_event``: after ``after`` events, an error inside the stream (``body``, or that of the
      provider)
    - ``endless``: a stream that repeats after ``after`` events and never ends
    - ``drip``: the right response, one byte every ``seconds``
    - ``huge``: a body of ``size`` bytes, in a stream one event of that size after ``after`` valid
      events; sent until the client disconnects
    - ``gzip``: the same body compressed: small when sent, ``size`` bytes when unpacked
    - ``twice``: in a stream, the event after ``after`` valid events is sent twice
    - ``swapped``: in a stream, the event after ``after`` valid events is sent after the next event
    - ``grpc``: abort with the status name ``code``, ``after`` messages
    - ``clarifai``: answer with the Clarifai status ``status`` (``where="output"``: in the output)

    ``path`` limits a fault to one route; without it, the fault applies to the next generating call.
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
    """The faults of one server, used up in order. It is thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queue: deque[Fault] = deque()

    def push(self, fault: Fault, times: int = 1) -> None:
        """Apply ``fault`` to the next ``times`` calls after the calls with scripted faults."""
        with self._lock:
            self._queue.extend([fault] * times)

    def clear(self) -> None:
        """Remove all faults that were not applied yet."""
        with self._lock:
            self._queue.clear()

    def take(self, path: str, *, generating: bool) -> Fault | None:
        """Remove and return the fault for a call to ``path``, if there is one."""
        with self._lock:
            for index, fault in enumerate(self._queue):
                if fault.path == path or (fault.path is None and generating):
                    del self._queue[index]
                    return fault
        return None

    def __len__(self) -> int:
        return len(self._queue)
