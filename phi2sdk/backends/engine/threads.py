"""Choose the number of CPU threads for a pass through the model.

A pass has about a hundred operations, and after each of them every thread waits for the slowest
thread. On cores that other programs use, two threads were six times slower than one thread (a step
of 16 rows, hidden 512: 391 ms and 64 ms); on idle cores they are faster. The faster choice cannot
be predicted, so it is measured during the work.
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
    """The choice between one thread and all threads, by recent passes of about the same size.

    The slower choice is tried again after 16 passes. Each time that it is slower again, the number
    of passes until the next trial doubles.

    Attributes:
        seconds: Recent durations of a pass on one thread and on all threads; ``None`` if untried.
    """

    seconds: list[float | None] = field(default_factory=lambda: [None, None])
    _wait: int = 16
    _left: int = 16

    def pick(self) -> int:
        """Return 0 to use one thread, and 1 to use all."""
        one, every = self.seconds
        if one is None or every is None:
            return 0 if one is None else 1
        faster = int(every < one)
        if self._left:
            return faster
        return 1 - faster

    def took(self, which: int, seconds: float) -> None:
        """Record the duration of a pass with the threads that :meth:`pick` returned."""
        one, every = self.seconds
        if one is None or every is None:
            self.seconds[which] = seconds
            return
        before = int(every < one)
        old = one if which == 0 else every
        # A trial replaces the old value. The usual choice is averaged, because a single pass may
        # be slowed by another program.
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
        always_one: Whether to use one thread always, for models so small that waiting for a
            second thread takes longer than its share of the work.
    """

    def __init__(self, *, always_one: bool) -> None:
        self._always_one = always_one
        self._paces: dict[int, ThreadPace] = {}  # by the bit length of the number of tokens

    @contextmanager
    def among(self, tokens: int, *, fixed: bool = False) -> Iterator[None]:
        """Set the number of threads while a pass runs; the block must wait for its result.

        Args:
            tokens: Number of tokens in the pass.
            fixed: Whether to use all threads without a trial, because changing the number of
                threads would recompile a compiled step.
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
