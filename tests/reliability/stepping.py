"""Cancel a coroutine at its k-th suspension, and look for what it leaves behind."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import AsyncGenerator, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

__all__ = ["AbandonedGenerators", "CancelAt", "open_files", "quiet_loop", "settle"]


class CancelAt:
    """Awaits a coroutine, and cancels the current task while it waits for the ``step``-th time.

    Attributes:
        steps: How often it has waited.
    """

    def __init__(self, work: Coroutine[Any, Any, Any], step: int) -> None:
        self._work = work
        self._step = step
        self.steps = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        inner = self._work.__await__()
        error: BaseException | None = None
        while True:
            try:
                waited = inner.send(None) if error is None else inner.throw(error)
            except StopIteration as end:
                return end.value
            finally:
                error = None  # else its traceback and this frame would keep each other alive
            self.steps += 1
            if self.steps == self._step:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            try:
                yield waited
            except BaseException as thrown:
                error = thrown


class AbandonedGenerators:
    """Records async generators that were not closed, so that the collector had to close them."""

    def __init__(self) -> None:
        self.found: list[str] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch while the block runs, on the running loop."""
        before = sys.get_asyncgen_hooks()

        def abandoned(generator: AsyncGenerator[Any, Any]) -> None:
            self.found.append(repr(generator))
            if before.finalizer is not None:
                before.finalizer(generator)

        sys.set_asyncgen_hooks(firstiter=before.firstiter, finalizer=abandoned)
        try:
            yield
        finally:
            sys.set_asyncgen_hooks(*before)


async def quiet_loop() -> list[str]:
    """Tasks that are left on the loop once everything had its turn."""
    for _ in range(200):
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if not left:
            return []
        await asyncio.wait(left, timeout=0.01)
    return [repr(task) for task in left]


def open_files() -> set[str]:
    """Return what this process has open, without the descriptors of this check."""
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(f"{entry.name}:{os.readlink(entry)}")
    return {name for name in found if "/proc/" not in name}


def settle(before: set[str], threads: set[str], deadline: float = 5.0) -> tuple[set[str], set[str]]:
    """(files, threads) that are new since, once the other side's have had time to go."""
    gc.collect()  # gRPC's calls are cycles: a cancelled one holds its connection until then
    waited = threading.Event()
    files, names = _new(before, threads)
    for _ in range(int(deadline / 0.01)):
        if not files and not names:
            break
        waited.wait(0.01)
        files, names = _new(before, threads)
    return files, names


def _new(before: set[str], threads: set[str]) -> tuple[set[str], set[str]]:
    return open_files() - before, {thread.name for thread in threading.enumerate()} - threads
