"""The state of an emulated server for every transport: calls, faults, meter, exchanges."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from phi2sdk.emulator.clock import Pace, Schedule
from phi2sdk.emulator.engine import Decoding, Engine
from phi2sdk.emulator.faults import Fault, FaultQueue

__all__ = [
    "Call",
    "CallLog",
    "Exchange",
    "KEPT_BYTES",
    "KEPT_PER_CALL",
    "Meter",
    "Refusal",
    "ServerState",
]

MASK = "***"

KEPT_PER_CALL = 1 << 20
"""Maximum number of bytes of a body that a call keeps."""
KEPT_BYTES = 32 << 20
"""Maximum number of bytes of all bodies in a log; the oldest bodies are removed first."""


@dataclass(slots=True)
class Call:
    """One call from a client.

    Attributes:
        path: The route, or the name of the gRPC method. ``query`` is the rest of the URL.
        headers: Names in lower case, with masked credentials.
        authorized: Whether the credentials were right.
        body: The parsed body (JSON, or the protobuf message); ``None`` if it could not be parsed
            or is longer than :data:`KEPT_PER_CALL`.
        raw: The first :data:`KEPT_PER_CALL` bytes of the body; none of an unauthorized call,
            whose body is not read, and none of an old call when the log reaches :data:`KEPT_BYTES`.
        t_received_ns: ``time.perf_counter_ns()`` at arrival.
        sent: The time and the number of characters of each write with generated text.
        prompt: The prompt for the engine, with the chat template.
        decoding: The sampling parameters as the server understood them.
        finish: The finish reason in the term of the provider.
        prompt_tokens, completion_tokens: The billed tokens of this call.
        status: The HTTP status or the code of the provider; ``None`` if none was sent.
        fault: The kind of the fault that was applied to this call.
        cancelled: Whether the client disconnected before the end.
        ended: Set when the server has finished the call.
    """

    path: str
    method: str
    headers: Mapping[str, str]
    query: str = ""
    authorized: bool = False
    body: Any = None
    raw: bytes = b""
    t_received_ns: int = field(default_factory=time.perf_counter_ns)
    sent: list[tuple[int, int]] = field(default_factory=list)
    prompt: str | None = None
    decoding: Decoding | None = None
    finish: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    status: int | str | None = None
    fault: str | None = None
    cancelled: bool = False
    ended: threading.Event = field(default_factory=threading.Event, repr=False, compare=False)

    def keep(self, raw: bytes, body: Any) -> None:
        """Record the body up to the limit."""
        self.raw = raw[:KEPT_PER_CALL]
        self.body = body if len(raw) <= KEPT_PER_CALL else None

    def mark_sent(self, characters: int) -> None:
        """Record that ``characters`` of generated text are sent now."""
        self.sent.append((time.perf_counter_ns(), characters))


class CallLog(list[Call]):
    """A log of all calls in the order of arrival. Other threads can wait for calls."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._with_body: deque[Call] = deque()
        self._kept = 0

    def append(self, call: Call) -> None:
        """Add a call and notify waiting threads; remove the oldest bodies above the limit."""
        with self._changed:
            super().append(call)
            self._with_body.append(call)
            self._kept += len(call.raw)
            while self._kept > KEPT_BYTES:
                oldest = self._with_body.popleft()
                self._kept -= len(oldest.raw)
                oldest.raw, oldest.body = b"", None
            self._changed.notify_all()

    def wait_for(self, count: int, timeout: float = 10.0) -> list[Call]:
        """Block until ``count`` calls have arrived.

        Do not call it on the event loop of the emulator, which it would block.

        Raises:
            TimeoutError: The calls have not arrived in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self) >= count, timeout):
                raise TimeoutError(f"{len(self)} of {count} calls arrived within {timeout} s")
            return list(self)


@dataclass(slots=True)
class Meter:
    """The meter of a provider: successful and failed requests, and the billed tokens."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Refusal(Exception):
    """A request that the provider answers with one of its errors."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param


class ServerState:
    """The state of an emulated provider.

    Attributes:
        engine: The engine that answers. It can be replaced at any time, and so can ``key`` and
            ``schedule``.
        calls: All calls in order. ``meter`` counts the billed tokens.
        detections: The GET requests without a key by which clients detect the server's software.
            They are not among ``calls``, are not metered, and meet no faults.
        faults: The scripted faults of the next calls.
        stopping: Set when the server aborts the calls in progress.
    """

    def __init__(self, engine: Engine, *, key: str, schedule: Schedule) -> None:
        self.engine = engine
        self.key = key
        self.schedule = schedule
        self.calls = CallLog()
        self.detections = CallLog()
        self.faults = FaultQueue()
        self.meter = Meter()
        self.stopping = False


class Exchange:
    """One request in a server, with its billed tokens."""

    def __init__(self, state: ServerState, call: Call) -> None:
        self.call = call
        self.fault: Fault | None = None
        self.pace = Pace(state.schedule, call.t_received_ns)
        self._meter = state.meter

    def bill(self, prompt_tokens: int, completion_tokens: int, finish: str) -> None:
        """Bill the call on its record and on the meter of the server."""
        call, meter = self.call, self._meter
        meter.prompt_tokens += prompt_tokens - call.prompt_tokens
        meter.completion_tokens += completion_tokens - call.completion_tokens
        call.prompt_tokens, call.completion_tokens = prompt_tokens, completion_tokens
        call.finish = finish
