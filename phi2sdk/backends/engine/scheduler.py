"""Assign jobs to slots: a job gets a slot when one is free, and frees it when it ends."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from time import perf_counter_ns

import torch

from phi2sdk.backends.engine.job import Admitted, Answer, Ended, Failed, Generated, Job
from phi2sdk.backends.engine.memory import PREFILL_TOKENS
from phi2sdk.backends.engine.model import LocalModel
from phi2sdk.backends.engine.slots import Row, Slots, SlotToken
from phi2sdk.errors import OutOfMemory, Phi2Error, ProviderFault

__all__ = ["Scheduler"]


@dataclass(frozen=True, slots=True)
class _Seat:
    """A job that has a slot, and its answer so far."""

    job: Job
    answer: Answer


class Scheduler:
    """Run jobs in the slots of a model; single-threaded.

    A job that fails does not affect other jobs. If a whole step fails, the scheduler fails the job
    that joined last, because the steps before it succeeded, and continues the others. After an
    error of CUDA other than exhausted memory, the process cannot use the GPU, and
    :meth:`step` raises it.

    Args:
        model: The model.
        slots: Maximum number of jobs in progress; fewer if memory is insufficient.
    """

    def __init__(self, model: LocalModel, slots: int) -> None:
        self._model = model
        self._slots = _warm_slots(model, slots)  # part of loading, not of the first request
        self._prefill_among = self._slots.prefill_among
        self._seats: dict[Row, _Seat] = {}  # in the order of joining

    @property
    def busy(self) -> bool:
        """Return whether any job has a slot."""
        return bool(self._seats)

    @property
    def free(self) -> int:
        """Return the number of free slots."""
        return self._slots.free

    def join(self, job: Job) -> None:
        """Assign a slot to a job, unless the job was canceled while it waited."""
        if job.cancelled.is_set():
            return
        try:
            row = self._slots.join(job.prompt, job.sampling)
        except Exception as error:
            job.tell(Failed(_as_phi2_error(error)))
            return
        self._seats[row] = _Seat(job, self._model.answer(job.sampling.max_tokens))
        job.tell(Admitted(perf_counter_ns()))

    def step(self) -> None:
        """Run one step of all jobs. Canceled jobs leave before it, and completed jobs after it."""
        for row, seat in list(self._seats.items()):
            if seat.job.cancelled.is_set():
                self._leave(row)
        if not self._seats:
            return
        streamed = any(seat.job.streamed for seat in self._seats.values())
        self._slots.prefill_among = self._prefill_among if streamed else PREFILL_TOKENS
        try:
            tokens = self._slots.step()
        except Exception as error:
            known = _as_phi2_error(error)
            if _device_is_lost(error):
                raise known from error
            self._fail(next(reversed(self._seats)), known)
            return
        t_ns = perf_counter_ns()
        for token in tokens:
            self._take(token, t_ns)

    def fail_all(self, error: Phi2Error) -> None:
        """End every job with an error."""
        for row in list(self._seats):
            self._fail(row, error)

    def _take(self, token: SlotToken, t_ns: int) -> None:
        seat = self._seats[token.row]
        job, answer = seat.job, seat.answer
        try:
            step = answer.take(token)
        except Phi2Error as error:
            self._fail(token.row, error)
            return
        job.stops.feed(step.text)
        ended = answer.ended or job.stops.ended
        job.tell(Generated(t_ns, step, ended))
        if ended:
            self._leave(token.row)
            stopped = step.special or job.stops.ended
            job.tell(Ended(t_ns, "stop" if stopped else "length"))

    def _fail(self, row: Row, error: Phi2Error) -> None:
        seat = self._leave(row)
        seat.job.tell(Failed(error))

    def _leave(self, row: Row) -> _Seat:
        seat = self._seats.pop(row)
        self._slots.leave(row, scrub=seat.answer.overflowed)
        return seat


def _device_is_lost(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and "CUDA error" in str(error)


def _warm_slots(model: LocalModel, count: int) -> Slots:
    """Return slots that have run: half as many, or a quarter, if memory does not suffice.

    Raises:
        OutOfMemory: It does not suffice for one.
    """
    halved = False
    while count:
        slots = model.slots(count)
        count = slots.cache.slots
        try:
            slots.warm_up()
        except torch.OutOfMemoryError:
            del slots
            torch.cuda.empty_cache()
            halved, count = True, count // 2
            continue
        if halved:
            warnings.warn(f"memory suffices for {count} slots", stacklevel=2)
        return slots
    raise OutOfMemory(
        "the model is loaded, but the rest of the memory does not suffice for one request. Use a "
        "smaller dtype, or end other programs that use the device"
    )


def _as_phi2_error(error: Exception) -> Phi2Error:
    if isinstance(error, Phi2Error):
        return error
    known: Phi2Error
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        torch.cuda.empty_cache()
        known = OutOfMemory(
            f"the device ran out of memory during this request ({error}); other requests continue. "
            "Use fewer slots, a shorter prompt, or dtype float16, int8 or int4"
        )
    else:
        known = ProviderFault(f"the engine failed: {type(error).__name__}: {error}")
    known.__cause__ = error
    return known
