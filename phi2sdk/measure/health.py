"""Monitor this machine during a run: the lag of the event loop, and the CPU usage.

The event loop takes the times of a latency, so a delayed loop measures latencies that are too long.
A delayed schedule changes the load that was specified.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

_PROBE_S = 0.02
_REPORT_S = 5.0
_RATIO = 1.05


@dataclass(slots=True)
class LagHistogram:
    """A histogram of lags with bins that grow by 5%, so that it uses little memory.

    Attributes:
        bins: Bin number -> how many; bin ``b`` holds lags up to ``1.05**b`` microseconds.
    """

    bins: Counter[int] = field(default_factory=Counter)

    def add(self, seconds: float) -> None:
        """Count one lag."""
        self.bins[math.ceil(math.log(max(seconds * 1e6, 1.0), _RATIO))] += 1

    @property
    def count(self) -> int:
        """Return the number of lags."""
        return self.bins.total()

    def quantile(self, p: float) -> float | None:
        """Seconds, an upper bound within 5%; ``None`` where nothing was counted."""
        left = p * self.count
        for number in sorted(self.bins):
            left -= self.bins[number]
            if left <= 0:
                return _RATIO**number / 1e6
        return None

    def to_json(self) -> dict[str, int]:
        """Bins as JSON keeps them."""
        return {str(number): count for number, count in sorted(self.bins.items())}


@dataclass(slots=True)
class Health:
    """The sum of the health events of a journal.

    Attributes:
        lag: Lags of the event loop.
        cpu_s: CPU seconds of this process.
        wall_s: Elapsed seconds.
    """

    lag: LagHistogram = field(default_factory=LagHistogram)
    cpu_s: float = 0.0
    wall_s: float = 0.0

    @classmethod
    def of(cls, events: Iterable[Mapping[str, Any]]) -> Self:
        """All events together."""
        health = cls()
        for event in events:
            health.lag.bins.update({int(b): int(n) for b, n in event["lag"].items()})
            health.cpu_s += event["cpu_s"]
            health.wall_s += event["wall_s"]
        return health

    @property
    def cpu_share(self) -> float | None:
        """Return CPU seconds per second, which may exceed 1 with several threads."""
        return self.cpu_s / self.wall_s if self.wall_s > 0 else None


class Monitor:
    """Probes the event loop while its block runs.

    A probe is due every 20 ms; its lag is how much later it ran.

    Args:
        report: Takes a health event every 5 seconds, and one at the end.
    """

    def __init__(self, report: Callable[[Mapping[str, Any]], None]) -> None:
        self._report = report
        self._lag = LagHistogram()
        self._task: asyncio.Task[None] | None = None
        self._since = (0.0, 0.0)

    async def __aenter__(self) -> Self:
        self._since = (time.process_time(), time.perf_counter())
        self._task = asyncio.create_task(self._probe())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        self._flush()

    async def _probe(self) -> None:
        due = time.perf_counter()
        while True:
            due += _PROBE_S
            await asyncio.sleep(due - time.perf_counter())
            now = time.perf_counter()
            self._lag.add(now - due)
            # A long halt delayed many probes; each of them would have seen its own lag.
            while now - due > _PROBE_S:
                due += _PROBE_S
                self._lag.add(now - due)
            if now - self._since[1] >= _REPORT_S:
                self._flush()

    def _flush(self) -> None:
        cpu, wall = time.process_time(), time.perf_counter()
        event = {
            "lag": self._lag.to_json(),
            "cpu_s": round(cpu - self._since[0], 6),
            "wall_s": round(wall - self._since[1], 6),
        }
        self._lag, self._since = LagHistogram(), (cpu, wall)
        self._report(event)
