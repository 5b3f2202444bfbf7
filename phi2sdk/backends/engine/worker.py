"""The one thread that owns the model: requests come through a queue, tokens go back by callback.

Torch is imported on that thread, with the model, so that nobody's event loop waits for it.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import TYPE_CHECKING, Literal

from phi2sdk.backends.engine.step import Step
from phi2sdk.errors import ConfigurationError, OutOfMemory, Phi2Error, ProviderFault
from phi2sdk.sampling import Sampling
from phi2sdk.stops import StopCutter

if TYPE_CHECKING:
    from phi2sdk.backends.engine.model import LocalModel

__all__ = ["Admitted", "Ended", "Failed", "Generated", "Job", "News", "Worker"]


@dataclass(frozen=True, slots=True)
class Admitted:
    """The request's turn has come."""

    t_ns: int


@dataclass(frozen=True, slots=True)
class Generated:
    """One token, at the moment it was known."""

    t_ns: int
    step: Step


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer is complete."""

    t_ns: int
    reason: Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Failed:
    """There will be no more; ``error`` says why."""

    error: Phi2Error


News = Admitted | Generated | Ended | Failed


@dataclass(slots=True)
class Job:
    """One request.

    Attributes:
        prompt: What the model reads, as text.
        sampling: How tokens are chosen.
        stops: Ends the answer at a stop.
        tell: Called on the worker's thread with each piece of news; must not block.
        cancelled: Set it to end the request within a step or two, without further news.
    """

    prompt: str
    sampling: Sampling
    stops: StopCutter
    tell: Callable[[News], None]
    cancelled: threading.Event = field(default_factory=threading.Event)


class Worker:
    """Loads the model, then serves jobs first come, first served.

    Attributes:
        model: The model, once it is loaded; or the error that loading ended in.
        pid: The process whose thread it is.
    """

    def __init__(self, load: Callable[[], LocalModel]) -> None:
        self.pid = os.getpid()
        self.model: Future[LocalModel] = Future()
        self.model.set_running_or_notify_cancel()  # from here on nobody can cancel it
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._lock = threading.Lock()  # nothing comes after the None that ends the queue
        self._thread = threading.Thread(
            target=self._run, args=(load,), name="phi2-local-model", daemon=True
        )
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Queue a job; its news comes from the worker's thread.

        Raises:
            ConfigurationError: The worker is closed.
        """
        with self._lock:
            if self._closing.is_set():
                raise _closed()
            self._jobs.put(job)

    def close(self) -> None:
        """Fail what runs and what waits, and join the thread."""
        with self._lock:
            self._closing.set()
            self._jobs.put(None)
        self._thread.join()

    def _run(self, load: Callable[[], LocalModel]) -> None:
        try:
            model = load()
        except BaseException as error:
            self.model.set_exception(error)
            return
        self.model.set_result(model)
        while (job := self._jobs.get()) is not None:
            self._serve(model, job)

    def _serve(self, model: LocalModel, job: Job) -> None:
        try:
            if self._closing.is_set():
                raise _closed()
            if not job.cancelled.is_set():
                job.tell(Admitted(perf_counter_ns()))
                self._generate(model, job)
        except Phi2Error as error:
            job.tell(Failed(error))
        except MemoryError as error:
            job.tell(Failed(OutOfMemory(f"the machine ran out of memory: {error}")))
        except Exception as error:
            fault = ProviderFault(f"the engine failed: {type(error).__name__}: {error}")
            fault.__cause__ = error
            job.tell(Failed(fault))

    def _generate(self, model: LocalModel, job: Job) -> None:
        for step in model.tokens(job.prompt, job.sampling, cancelled=job.cancelled):
            if job.cancelled.is_set():
                return
            if self._closing.is_set():
                raise _closed()
            t_ns = perf_counter_ns()
            job.tell(Generated(t_ns, step))
            job.stops.feed(step.text)
            if step.special or job.stops.ended:
                job.tell(Ended(t_ns, "stop"))
                return
        if not job.cancelled.is_set():
            job.tell(Ended(perf_counter_ns(), "length"))


def _closed() -> ConfigurationError:
    return ConfigurationError("this backend is closed: build a new one")
