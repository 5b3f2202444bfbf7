"""What every emulated server keeps, whatever its transport: calls, faults, bill, exchanges."""

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
"""Bytes of one body that its call keeps at most."""
KEPT_BYTES = 32 << 20
"""Bytes of all bodies of a log; the oldest make place for new ones."""


@dataclass(slots=True)
class Call:
    """One call over the wire.

    Attributes:
        path: The route, or the gRPC method's name. ``query`` is the rest of the URL.
        headers: Lower-case names; credentials are masked, ``authorized`` says if they were right.
        body: The parsed body (JSON, or the protobuf message); ``None`` where it could not be parsed
            or is longer than :data:`KEPT_PER_CALL`.
        raw: The body's first :data:`KEPT_PER_CALL` bytes; none of an unauthorized call, whose body
            is not read, and none of an old call once the log holds :data:`KEPT_BYTES`.
        t_received_ns: ``time.perf_counter_ns()`` at arrival.
        sent: For each write that carried generated text: the instant, and how many characters.
        prompt: What the engine was given, chat template included.
        decoding: The sampling parameters as the server understood them.
        finish: Why generation ended, in the provider's own word.
        prompt_tokens, completion_tokens: What this call is billed for.
        status: HTTP status or the provider's code; None when none was sent.
        fault: The kind of the fault that this call met.
        cancelled: The client went away before the end.
        ended: Set when the server is through with the call.
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
        """Note the body, as far as it is kept."""
        self.raw = raw[:KEPT_PER_CALL]
        self.body = body if len(raw) <= KEPT_PER_CALL else None

    def mark_sent(self, characters: int) -> None:
        """Note that ``characters`` of generated text leave now."""
        self.sent.append((time.perf_counter_ns(), characters))


class CallLog(list[Call]):
    """All calls in the order of arrival; other threads can wait on it."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()
        self._with_body: deque[Call] = deque()
        self._kept = 0

    def append(self, call: Call) -> None:
        """Add a call and wake who waits; the bodies of the oldest calls make place for its own."""
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
        """Block until ``count`` calls have arrived; raises ``TimeoutError``.

        Not for the emulator's own event loop: it would wait for itself.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: len(self) >= count, timeout):
                raise TimeoutError(f"{len(self)} of {count} calls arrived within {timeout} s")
            return list(self)


@dataclass(slots=True)
class Meter:
    """A provider's bill: successful and failed requests, and the tokens it charges for."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def billed_tokens(self) -> int:
        """Prompt and completion together."""
        return self.prompt_tokens + self.completion_tokens


class Refusal(Exception):
    """A request that the provider answers with an error of its own."""

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
        engine: What answers. May be exchanged while running, as may ``key`` and ``schedule``.
        calls: Every call, in order. ``meter`` is the provider's bill.
        detections: The GET requests without a key by which clients detect the server's software.
            They are not among ``calls``, are not metered, and meet no faults.
        faults: What goes wrong with the next calls.
        stopping: The server ends what is running.
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
    """One request on its way through a server, and what it is billed."""

    def __init__(self, state: ServerState, call: Call) -> None:
        self.call = call
        self.fault: Fault | None = None
        self.pace = Pace(state.schedule, call.t_received_ns)
        self._meter = state.meter

    def bill(self, prompt_tokens: int, completion_tokens: int, finish: str) -> None:
        """Charge for the call, on its record and on the server's meter."""
        call, meter = self.call, self._meter
        meter.prompt_tokens += prompt_tokens - call.prompt_tokens
        meter.completion_tokens += completion_tokens - call.completion_tokens
        call.prompt_tokens, call.completion_tokens = prompt_tokens, completion_tokens
        call.finish = finish
