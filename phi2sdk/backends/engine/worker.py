"""The thread that owns the model: it takes requests from a queue and reports tokens by callback.

Torch is imported on this thread, together with the model, so that no event loop waits for it.
"""

from __future__ import annotations

import atexit
import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

from phi2sdk.backends.engine.job import Failed, Job
from phi2sdk.errors import ConfigurationError, Overloaded, Phi2Error, ProviderFault

if TYPE_CHECKING:
    from phi2sdk.backends.engine.model import LocalModel

__all__ = ["MAX_WAITING", "Worker"]

T = TypeVar("T")

MAX_WAITING = 16_384
"""Maximum number of requests that wait for a slot; another request raises
:class:`~phi2sdk.errors.Overloaded`."""


class Worker:
    """Load the model, then run jobs in the order of their arrival.

    Args:
        load: Returns the model; called on the thread.
        slots: Maximum number of requests in progress; further requests wait.

    Attributes:
        model: The model when it is loaded, or the error raised while loading.
        pid: The process of the thread.
    """

    def __init__(self, load: Callable[[], LocalModel], slots: int) -> None:
        self.pid = os.getpid()
        self.model: Future[LocalModel] = Future()
        self.model.set_running_or_notify_cancel()  # a running future cannot be canceled
        self._jobs: queue.SimpleQueue[Job | Callable[[], None] | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._failure: str | None = None  # of the device
        self._lock = threading.Lock()  # None ends the queue: nothing is put after it
        self._thread = threading.Thread(
            target=self._run, args=(load, slots), name="phi2-local-model", daemon=True
        )
        self._thread.start()
        atexit.register(self._at_exit)

    def submit(self, job: Job) -> None:
        """Put a job into the queue; its events are reported on the worker's thread.

        Raises:
            ConfigurationError: The worker is closed.
            ProviderFault: The device has failed.
            Overloaded: The queue is full.
        """
        with self._lock:
            if self._closing.is_set():
                raise self._closed()
            if self._jobs.qsize() >= MAX_WAITING:
                raise Overloaded(
                    f"{MAX_WAITING} requests already wait for this model. Lower the concurrency"
                )
            self._jobs.put(job)

    def call(self, function: Callable[[LocalModel], T]) -> Future[T]:
        """Run a function of the model on the worker's thread, between two steps of the jobs.

        Raises:
            ConfigurationError: The worker is closed.
        """
        future: Future[T] = Future()

        def run() -> None:
            if future.set_running_or_notify_cancel():
                try:
                    if self._closing.is_set():
                        raise self._closed()
                    future.set_result(function(self.model.result()))
                except BaseException as error:
                    future.set_exception(error)

        with self._lock:
            if self._closing.is_set():
                raise self._closed()
            self._jobs.put(run)
        return future

    def close(self) -> None:
        """Fail all running and waiting jobs, and join the thread."""
        with self._lock:
            if not self._closing.is_set():
                self._closing.set()
                self._jobs.put(None)
        atexit.unregister(self._at_exit)
        self._thread.join()

    def _at_exit(self) -> None:
        """Close the worker, because a thread in torch aborts the process at interpreter exit."""
        if self.pid == os.getpid() and self.model.done():
            self.close()

    def _run(self, load: Callable[[], LocalModel], slots: int) -> None:
        from phi2sdk.backends.engine.scheduler import Scheduler

        try:
            model = load()
            scheduler = Scheduler(model, slots)
        except BaseException as error:
            self.model.set_exception(error)
            return
        self.model.set_result(model)
        while not self._closing.is_set():
            while scheduler.free and not (scheduler.busy and self._jobs.empty()):
                job = self._jobs.get()  # waits only if no job is in progress
                if isinstance(job, Job):
                    scheduler.join(job)
                elif job is None:
                    break
                else:
                    job()
            try:
                scheduler.step()
            except Phi2Error as error:
                with self._lock:
                    self._failure = error.message
                    self._closing.set()
        scheduler.fail_all(self._closed())
        while not self._jobs.empty():
            job = self._jobs.get()
            if isinstance(job, Job):
                job.tell(Failed(self._closed()))
            elif job is not None:
                job()

    def _closed(self) -> Phi2Error:
        """Return the reason why nothing runs any more."""
        if self._failure is not None:
            return ProviderFault(
                f"{self._failure}. This process can no longer use the GPU: restart it"
            )
        return ConfigurationError("this backend is closed. Create a new client")
