"""On how many of a CPU's threads a pass through the model is computed.

A pass is about a hundred operations, and after each of them every thread waits for the slowest. On
cores that other programs use as well, two threads were measured to be six times slower than one
(a step of 16 rows, hidden 512: 391 and 64 ms); on quiet ones they are faster. Nobody knows
beforehand, so it is measured while the work goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

import torch

__all__ = ["ThreadPace", "Threads"]


@dataclass(slots=True)
class ThreadPace:
    """One thread or all: whichever was faster lately for about as much work.

    The slower one is tried again after 16 passes, and after twice as many each time that it loses.

    Attributes:
        seconds: Lately taken by a pass on one thread, and on all; ``None``: not tried.
    """

    seconds: list[float | None] = field(default_factory=lambda: [None, None])
    _wait: int = 16
    _left: int = 16

    def pick(self) -> int:
        """0: use one thread; 1: use all."""
        one, every = self.seconds
        if one is None or every is None:
            return 0 if one is None else 1
        faster = int(every < one)
        if self._left:
            return faster
        return 1 - faster

    def took(self, which: int, seconds: float) -> None:
        """What a pass took with the threads that :meth:`pick` named."""
        one, every = self.seconds
        if one is None or every is None:
            self.seconds[which] = seconds
            return
        before = int(every < one)
        old = one if which == 0 else every
        # A trial counts as it is; what is usual moves slowly, since a single pass may be disturbed.
        self.seconds[which] = seconds if which != before else old + 0.2 * (seconds - old)
        if which == before:
            self._left = max(0, self._left - 1)
            return
        won = seconds < (one if before == 0 else every)
        self._wait = 16 if won else min(2 * self._wait, _LONGEST_WAIT)
        self._left = self._wait


_LONGEST_WAIT = 512


class Threads:
    """The number of threads for each pass.

    Args:
        always_one: Do not even try others: for models so small that waiting for another thread
            always costs more than its work.
    """

    def __init__(self, *, always_one: bool) -> None:
        self._always_one = always_one
        self._paces: dict[int, ThreadPace] = {}  # by the power of two that the tokens reach

    @contextmanager
    def among(self, tokens: int, *, fixed: bool = False) -> Iterator[None]:
        """Compute a pass of so many tokens; must not return before it is computed.

        Args:
            tokens: The size of the pass.
            fixed: Try nothing: compiled code has its threads built in, and a change of their
                number would compile it anew.
        """
        usual = torch.get_num_threads()
        if usual == 1:
            yield
            return
        pace = self._paces.setdefault(tokens.bit_length(), ThreadPace())
        which = 0 if self._always_one else 1 if fixed else pace.pick()
        if which == 0:
            torch.set_num_threads(1)
        began = perf_counter()
        try:
            yield
            if not fixed:
                pace.took(which, perf_counter() - began)
        finally:
            if which == 0:
                torch.set_num_threads(usual)
