"""Who is in which slot: jobs join when a slot is free, and leave as soon as they end."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter_ns

import torch

from phi2sdk.backends.engine.job import Admitted, Answer, Ended, Failed, Generated, Job
from phi2sdk.backends.engine.model import LocalModel
from phi2sdk.backends.engine.slots import Row, SlotToken
from phi2sdk.errors import OutOfMemory, Phi2Error, ProviderFault

__all__ = ["Scheduler"]


@dataclass(frozen=True, slots=True)
class _Seat:
    """A job that has a slot."""

    job: Job
    answer: Answer


class Scheduler:
    """Runs jobs in the slots of a model; single-threaded.

    A job that fails takes nobody with it. When a whole step fails, the job that joined last is to
    blame, since the steps before it went well: it fails, and the others go on.

    Args:
        model: The model.
        slots: So many jobs at once, or fewer where memory does not hold them.
    """

    def __init__(self, model: LocalModel, slots: int) -> None:
        self._model = model
        self._slots = model.slots(slots)
        self._slots.warm_up()  # part of loading, not of the first request
        self._seats: dict[Row, _Seat] = {}  # in the order of joining

    @property
    def busy(self) -> bool:
        """Whether a job is in a slot."""
        return bool(self._seats)

    @property
    def free(self) -> int:
        """How many jobs may join."""
        return self._slots.free

    def join(self, job: Job) -> None:
        """Give a job a slot, unless it was cancelled while it waited."""
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
        """One step of all jobs: whoever was cancelled leaves first, whoever ends leaves after."""
        for row, seat in list(self._seats.items()):
            if seat.job.cancelled.is_set():
                self._leave(row)
        if not self._seats:
            return
        try:
            tokens = self._slots.step()
        except Exception as error:
            row = next(reversed(self._seats))
            self._fail(row, _as_phi2_error(error))
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
        job.tell(Generated(t_ns, step))
        job.stops.feed(step.text)
        if answer.ended or job.stops.ended:
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


def _as_phi2_error(error: Exception) -> Phi2Error:
    if isinstance(error, Phi2Error):
        return error
    known: Phi2Error
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        torch.cuda.empty_cache()
        known = OutOfMemory(
            "the device ran out of memory while this request was served; the others go on: use "
            f"fewer slots, a shorter prompt, or dtype float16, int8 or int4 ({error})"
        )
    else:
        known = ProviderFault(f"the engine failed: {type(error).__name__}: {error}")
    known.__cause__ = error
    return known
