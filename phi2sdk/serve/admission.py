"""Admission control: a limit on requests in progress, a bounded queue, and a request rate."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

from phi2sdk.serve.refusal import Refusal

__all__ = ["Admission"]

_LONGEST_ADVICE = 60.0
"""Largest Retry-After in seconds; clients of OpenAI ignore a longer one."""
_WEIGHT = 0.1
"""Weight of the newest request in the moving average of durations."""


class Admission:
    """Lets a limited number of requests run, makes others wait in order, and refuses the rest.

    Args:
        concurrency: Maximum number of requests in progress.
        queue: Maximum number of requests that wait.
        rate: Maximum number of requests per second in the long run; ``None`` for no limit.

    Attributes:
        running: Number of slots in use.
        waiting: Number of requests that wait.
        draining: Whether new requests are refused, because the server ends.
    """

    def __init__(self, concurrency: int, queue: int, rate: float | None = None) -> None:
        self.running = 0
        self.waiting = 0
        self.draining = False
        self._concurrency = concurrency
        self._queue = queue
        self._interval = 0.0 if rate is None else 1.0 / rate
        self._next = 0.0  # the earliest time of the next request under the rate
        self._line: deque[asyncio.Future[None]] = deque()
        self._seconds = 1.0  # moving average of the duration of a request

    @asynccontextmanager
    async def slot(self, deadline: float) -> AsyncIterator[None]:
        """Wait for a slot, and hold it within the ``async with`` block.

        Args:
            deadline: Time on the clock ``monotonic`` at which the request gives up.

        Raises:
            Refusal: The queue is full, the server ends, or the deadline passes first.
        """
        if self.draining:
            raise Refusal(503, "the server is shutting down", code="shutting_down", retry_after=1)
        if self.running < self._concurrency and not self._line and not self._interval:
            self.running += 1
        else:
            await self._enter(deadline)
        begun = monotonic()
        try:
            yield
        finally:
            self._seconds += _WEIGHT * (monotonic() - begun - self._seconds)
            self.release()

    def take_free(self, most: int) -> int:
        """Take up to ``most`` slots that are free now, and return their number."""
        free = 0 if self._line else self._concurrency - self.running
        taken = max(0, min(most, free))
        self.running += taken
        return taken

    def release(self) -> None:
        """Give one slot back, to the request that waits longest if there is one."""
        while self._line:
            first = self._line.popleft()
            if not first.done():
                first.set_result(None)
                return
        self.running -= 1

    async def _enter(self, deadline: float) -> None:
        due = self._due()
        if self.waiting >= self._queue and (due > 0 or self.running >= self._concurrency):
            raise self._full(due)
        if self._interval:
            self._next = max(self._next, monotonic()) + self._interval
        self.waiting += 1
        try:
            async with asyncio.timeout(max(0.0, deadline - monotonic())):
                if due > 0:
                    await asyncio.sleep(due)
                if self.running < self._concurrency and not self._line:
                    self.running += 1
                else:
                    await self._in_line()
        except TimeoutError:
            raise Refusal(
                504, "the request waited in the queue until its timeout", code="timeout"
            ) from None
        finally:
            self.waiting -= 1

    async def _in_line(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except BaseException:
            if turn.done() and not turn.cancelled():
                self.release()  # the slot was assigned at the moment of the cancellation
            raise

    def _due(self) -> float:
        """Return the seconds until the rate permits one more request."""
        return max(0.0, self._next - monotonic()) if self._interval else 0.0

    def _full(self, due: float) -> Refusal:
        wait = max(due, self._seconds * (self.waiting + 1) / self._concurrency)
        return Refusal(
            429,
            f"{self.running} requests are in progress and {self.waiting} wait, which is the limit "
            "of this server. Send the request again later",
            code="queue_full",
            retry_after=math.ceil(min(max(wait, 1.0), _LONGEST_ADVICE)),
        )
