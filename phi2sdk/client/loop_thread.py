"""The event loop behind the synchronous client: one thread, shared by all of them.

One loop, since gRPC's asyncio layer has one global poller and dislikes several; counted, so that
the thread ends with the last client; and in a thread of its own, so that the client also works
where a loop is already running, as in a notebook.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import os
import threading
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import aclosing, contextmanager, suppress
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from phi2sdk.errors import Cancelled, ConfigurationError

__all__ = ["LoopThread", "Pump"]

T = TypeVar("T")

LIVENESS_SECONDS = 1.0
"""How often a waiting thread looks whether the loop's thread still lives."""


class Closer(Protocol):
    """Something to close at exit."""

    def close(self) -> None:
        """Give back what it holds; closing twice is harmless."""


class LoopThread:
    """A running event loop in a daemon thread; get one by :meth:`acquire`.

    Attributes:
        lock: Held while users come and go and while work is handed over, so that nothing is handed
            to a loop that is about to end. A caller may hold it around several steps.
        pid: The process whose thread it is.
    """

    lock: ClassVar[threading.RLock] = threading.RLock()
    _shared: ClassVar[LoopThread | None] = None

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._users = 0
        self._ended = False
        self._closers: weakref.WeakSet[Closer] = weakref.WeakSet()
        self.loop = _new_loop()
        self._thread = threading.Thread(target=self._run, name="phi2sdk", daemon=True)
        self._thread.start()
        atexit.register(self._close_all)

    @classmethod
    def acquire(cls, user: Closer | None = None) -> LoopThread:
        """The shared thread, started if need be. Every call wants one :meth:`release`.

        Args:
            user: Closed at the interpreter's exit, if it still lives then.
        """
        with cls.lock:
            shared = cls._shared
            if shared is None or shared.pid != os.getpid():  # a fork copies no threads
                shared = cls._shared = LoopThread()
            shared._users += 1
            if user is not None:
                shared._closers.add(user)
            return shared

    def is_alive(self) -> bool:
        """Whether it still runs: not after the last release, and never in a forked child."""
        return self.pid == os.getpid() and self._thread.is_alive()

    def release(self) -> None:
        """One user less; the last one ends the thread and waits for it."""
        with self.lock:
            self._users -= 1
            if self._users > 0 or self.pid != os.getpid():
                return
            self._ended = True
            if LoopThread._shared is self:
                LoopThread._shared = None
            self.loop.call_soon_threadsafe(self.loop.stop)
        atexit.unregister(self._close_all)
        self._thread.join()

    def is_current(self) -> bool:
        """Whether the caller is on this very thread."""
        return threading.current_thread() is self._thread

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine on the loop.

        Raises:
            ConfigurationError: The thread has ended: the client was closed.
        """
        try:
            with self._running():
                return asyncio.run_coroutine_threadsafe(work, self.loop)
        except ConfigurationError:
            work.close()
            raise

    def call_soon(self, function: Callable[[], None]) -> None:
        """Call a function on the loop.

        Raises:
            ConfigurationError: The thread has ended: the client was closed.
        """
        with self._running():
            self.loop.call_soon_threadsafe(function)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it; Ctrl-C cancels it first.

        Raises:
            Cancelled: It was cancelled on the loop's side.
            ConfigurationError: The thread has ended: the client was closed.
            RuntimeError: Called from the loop itself, which would wait for itself for ever.
        """
        if self.is_current():
            work.close()
            raise RuntimeError("the synchronous client cannot be used inside its own event loop")
        future = self.submit(work)
        try:
            return future.result()
        except CancelledError:
            raise Cancelled("the request was cancelled") from None
        except BaseException:
            future.cancel()
            raise

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Keep the thread from ending meanwhile."""
        if self.pid != os.getpid():
            raise _closed()
        with self.lock:
            if self._ended or not self._thread.is_alive():
                raise _closed()
            yield

    def _close_all(self) -> None:
        """At exit, while threads still run: what nobody closed would otherwise wait for ever."""
        if self.pid != os.getpid():
            return
        for user in list(self._closers):
            with suppress(Exception):
                user.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            rest = asyncio.all_tasks(self.loop)
            for task in rest:
                task.cancel()
            self.loop.run_until_complete(asyncio.gather(*rest, return_exceptions=True))
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            asyncio.set_event_loop(None)
            self.loop.close()


def _closed() -> ConfigurationError:
    return ConfigurationError("this client is closed: open a new one")


def _renew_lock() -> None:
    """In a forked child: the thread that held the lock may not have come along."""
    LoopThread.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def _new_loop() -> asyncio.AbstractEventLoop:
    """uvloop's where it is installed, which answers a fifth sooner; else asyncio's own."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class Pump(Generic[T]):
    """Carries an async generator's items to another thread.

    One task fills a bounded buffer and pauses when it is full; the consumer takes items under a
    lock and wakes the loop only when the task had paused. No cross-thread call per item.

    Args:
        thread: Where the generator runs.
        source: The items.
        limit: Items that may wait at most.

    Raises:
        ConfigurationError: The thread has ended: the client was closed.
    """

    def __init__(
        self, thread: LoopThread, source: AsyncGenerator[T, None], limit: int = 256
    ) -> None:
        self._thread = thread
        self._source = source
        self._limit = limit
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._paused = False
        self._error: BaseException | None = None
        self._room = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        thread.call_soon(self._start)

    def __iter__(self) -> Iterator[T]:
        """The items in order; ends the task when it is left.

        Raises:
            Cancelled: The task was cancelled.
            Phi2Error: Whatever the generator raised.
        """
        try:
            while items := self._take():
                yield from items
            if self._error is not None:
                raise self._error
        finally:
            self.close()

    def close(self) -> None:
        """Cancel the task, and wait until it has let go of its connection."""
        if self._ended or not self._thread.is_alive():
            return
        with suppress(RuntimeError):  # the loop has just closed, and cancelled the task itself
            self._thread.loop.call_soon_threadsafe(self._cancel)
        if not self._thread.is_current():
            with self._changed:
                self._wait(lambda: self._ended)

    def _take(self) -> list[T]:
        """All that waits, at least one item; none at the end."""
        with self._changed:
            self._wait(lambda: bool(self._items) or self._ended)
            items = list(self._items)
            self._items.clear()
            if self._paused:
                self._paused = False
                with suppress(RuntimeError):  # the loop has closed, and will send no more
                    self._thread.loop.call_soon_threadsafe(self._room.set)
        return items

    def _wait(self, holds: Callable[[], bool]) -> None:
        """Wait for the task's side, as long as there is one."""
        while not self._changed.wait_for(holds, timeout=LIVENESS_SECONDS):
            if not self._thread.is_alive() and not holds():
                self._ended = True
                self._error = self._error or Cancelled("the stream's client was closed")

    # What follows runs on the loop.

    def _start(self) -> None:
        self._task = self._thread.loop.create_task(self._fill())
        self._task.add_done_callback(self._finish)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _fill(self) -> None:
        async with aclosing(self._source) as source:
            async for item in source:
                if self._put(item):
                    await self._room.wait()

    def _put(self, item: T) -> bool:
        """Hand an item over; whether the buffer is now full."""
        with self._changed:
            self._items.append(item)
            self._changed.notify()
            self._paused = len(self._items) >= self._limit
            if self._paused:
                self._room.clear()
            return self._paused

    def _finish(self, task: asyncio.Task[None]) -> None:
        with self._changed:
            if task.cancelled():
                self._error = Cancelled("the stream was cancelled")
            else:
                self._error = task.exception()
            self._ended = True
            self._changed.notify_all()
