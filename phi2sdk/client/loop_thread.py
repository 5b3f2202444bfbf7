"""The event loop of the synchronous clients: one thread that all of them share.

There is one loop because the asyncio layer of gRPC has one global poller, which does not work with
several loops. The users of the thread are counted, so that it ends with the last client. It is a
separate thread, so that the client also works where a loop is already running, as in a notebook.
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

T = TypeVar("T")

LIVENESS_SECONDS = 1.0
"""Interval in which a waiting thread checks that the thread of the loop still runs."""


class Closer(Protocol):
    """An object that is closed at exit."""

    def close(self) -> None:
        """Release all resources. Closing twice has no effect."""


class LoopThread:
    """A running event loop in a daemon thread. Use :meth:`acquire` to get it.

    Attributes:
        lock: Held while users are counted and while work is submitted, so that no work is submitted
            to a loop that is about to end. A caller may hold it for several steps.
        pid: The process that the thread belongs to.
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
        """Return the shared thread, and start it if necessary. Each call needs a :meth:`release`.

        Args:
            user: Closed when the interpreter exits, if it still exists.
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
        """Return whether the thread runs: not after the last release, and not in a forked child."""
        return self.pid == os.getpid() and self._thread.is_alive()

    def release(self) -> None:
        """Remove a user. The last one ends the thread and waits for its end."""
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
        """Return whether the caller runs on this thread."""
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
            Cancelled: The coroutine was canceled on the loop.
            ConfigurationError: The thread has ended: the client was closed.
            RuntimeError: The caller runs on the loop itself, which would wait for itself.
        """
        if self.is_current():
            work.close()
            raise RuntimeError(
                "the synchronous client cannot be used inside its own event loop. Use "
                "AsyncPhi2Client there"
            )
        future = self.submit(work)
        try:
            return future.result()
        except CancelledError:
            raise Cancelled("the request was canceled") from None
        except BaseException:
            future.cancel()
            raise

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Keep the thread from ending within the ``with`` block."""
        if self.pid != os.getpid():
            raise _closed()
        with self.lock:
            if self._ended or not self._thread.is_alive():
                raise _closed()
            yield

    def _close_all(self) -> None:
        """Close all users at exit while threads still run; an open stream would wait forever."""
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
    return ConfigurationError("this client is closed. Open a new client")


def _renew_lock() -> None:
    """Replace the lock in a forked child, where the thread that holds it may not exist."""
    LoopThread.lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def _new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop of uvloop if it is installed, which is a fifth faster, or else of asyncio."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


class Pump(Generic[T]):
    """Passes the items of an async generator to another thread.

    A task fills a bounded buffer and pauses when the buffer is full. The consumer takes items under
    a lock and wakes the loop only if the task is paused, so that no item needs a call between
    threads.

    Args:
        thread: The thread that runs the generator.
        source: The items.
        limit: Largest number of items in the buffer.

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
        """Yield the items in order, and end the task at the end.

        Raises:
            Cancelled: The task was canceled.
            Phi2Error: The generator raised it.
        """
        try:
            while items := self._take():
                yield from items
            if self._error is not None:
                raise self._error
        finally:
            self.close()

    def close(self) -> None:
        """Cancel the task, and wait until it has released its connection."""
        if self._ended or not self._thread.is_alive():
            return
        with suppress(RuntimeError):  # the loop has closed and canceled the task
            self._thread.loop.call_soon_threadsafe(self._cancel)
        if not self._thread.is_current():
            with self._changed:
                self._wait(lambda: self._ended)

    def _take(self) -> list[T]:
        """Wait for items and return all in the buffer; an empty list at the end."""
        with self._changed:
            self._wait(lambda: bool(self._items) or self._ended)
            items = list(self._items)
            self._items.clear()
            if self._paused:
                self._paused = False
                with suppress(RuntimeError):  # the loop has closed, and sends no more items
                    self._thread.loop.call_soon_threadsafe(self._room.set)
        return items

    def _wait(self, holds: Callable[[], bool]) -> None:
        """Wait until ``holds`` is true, or the thread of the loop has ended."""
        while not self._changed.wait_for(holds, timeout=LIVENESS_SECONDS):
            if not self._thread.is_alive() and not holds():
                self._ended = True
                self._error = self._error or Cancelled("the stream's client was closed")

    # The following methods run on the loop.

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
        """Add an item to the buffer; return whether the buffer is full."""
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
                self._error = Cancelled("the stream was canceled")
            else:
                self._error = task.exception()
            self._ended = True
            self._changed.notify_all()
