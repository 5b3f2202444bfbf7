"""Schedules of emulators. Deadlines are fixed at arrival, so that delays do not accumulate."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Schedule:
    """The times when tokens are due, in seconds after the arrival of the request.

    Token ``i`` (from 0) is due at ``first + i * per_token``. Tokens are sent
    in writes of ``tokens_per_write`` when the last token of the write is due. From token number
    ``stall[0]`` on, all tokens are ``stall[1]`` seconds later. A response without a stream is sent
    when its last token is due. The default sends tokens as soon as the engine yields them.
    """

    first: float = 0.0
    per_token: float = 0.0
    tokens_per_write: int = 1
    stall: tuple[int, float] | None = None

    def __post_init__(self) -> None:
        if self.first < 0 or self.per_token < 0 or (self.stall is not None and self.stall[1] < 0):
            raise ValueError("a schedule's times are seconds and cannot be negative")
        if self.tokens_per_write < 1:
            raise ValueError("tokens_per_write must be at least 1")

    def due(self, index: int) -> float:
        """Return the seconds from arrival until token ``index`` is due."""
        seconds = self.first + index * self.per_token
        if self.stall is not None and index >= self.stall[0]:
            seconds += self.stall[1]
        return seconds


class Pace:
    """A schedule that started at the arrival of one request."""

    def __init__(self, schedule: Schedule, arrival_ns: int) -> None:
        self._schedule = schedule
        self._arrival_ns = arrival_ns

    async def until(self, index: int) -> None:
        """Wait until token ``index`` is due; return immediately if it is due already."""
        due_ns = self._arrival_ns + round(self._schedule.due(index) * 1e9)
        left_ns = due_ns - time.perf_counter_ns()
        if left_ns > 0:
            await asyncio.sleep(left_ns / 1e9)

    async def writes(self, items: AsyncGenerator[_Item, None]) -> AsyncGenerator[list[_Item], None]:
        """Group items, one per token, into writes, and yield each write when it is due."""
        group: list[_Item] = []
        index = -1
        async with aclosing(items):
            async for item in items:
                index += 1
                group.append(item)
                if len(group) == self._schedule.tokens_per_write:
                    await self.until(index)
                    yield group
                    group = []
            if group:
                await self.until(index)
                yield group
