from __future__ import annotations

import gc
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.job import Admitted, Ended, Failed, Generated, Job, News
from phi2sdk.backends.engine.scheduler import Scheduler
from phi2sdk.backends.engine.slots import Slots
from phi2sdk.backends.engine.worker import Worker
from phi2sdk.errors import ConfigurationError, OutOfMemory, ProviderFault
from phi2sdk.sampling import Sampling
from phi2sdk.stops import StopCutter


class Asked:
    """A job and the news of it."""

    def __init__(self, prompt: list[int], sampling: Sampling, stops: tuple[str, ...] = ()) -> None:
        self.news: list[News] = []
        self.over = threading.Event()
        self.job = Job(prompt, sampling, StopCutter(stops), self._tell)

    def _tell(self, news: News) -> None:
        self.news.append(news)
        if isinstance(news, Ended | Failed):
            self.over.set()

    @property
    def ids(self) -> list[int]:
        return [news.step.id for news in self.news if isinstance(news, Generated)]

    @property
    def error(self) -> Exception | None:
        last = self.news[-1] if self.news else None
        return last.error if isinstance(last, Failed) else None


def ids_of(model: LocalModel, prompt: list[int], sampling: Sampling) -> list[int]:
    scheduler, asked = Scheduler(model, 1), Asked(prompt, sampling)
    scheduler.join(asked.job)
    while scheduler.busy:
        scheduler.step()
    return asked.ids


@pytest.fixture
def worker(tiny: LocalModel) -> Iterator[Worker]:
    worker = Worker(lambda: tiny, slots=4)
    yield worker
    worker.close()


def test_news_come_in_order_and_end_once(worker: Worker) -> None:
    asked = Asked([1, 2, 3], Sampling(max_tokens=3))
    worker.submit(asked.job)
    assert asked.over.wait(30)
    kinds = [type(news) for news in asked.news]
    assert kinds in (
        [Admitted, Generated, Generated, Generated, Ended],
        [Admitted, Generated, Generated, Ended],
        [Admitted, Generated, Ended],
    )


def test_prompts_are_read_in_larger_pieces_if_nobody_reads_the_tokens(tiny: LocalModel) -> None:
    steps, written = {}, {}
    for streamed in (True, False):
        scheduler = Scheduler(tiny, 2)
        first, second = (Asked([1] * 100, Sampling(max_tokens=n)) for n in (9, 2))
        for asked in (first, second):
            asked.job = replace(asked.job, streamed=streamed)
        scheduler.join(first.job)
        scheduler.step()  # reads the whole first prompt
        scheduler.join(second.job)
        steps[streamed] = 0
        while not any(isinstance(news, Generated) for news in second.news):
            scheduler.step()
            steps[streamed] += 1
        written[streamed] = second.ids
        while scheduler.busy:
            scheduler.step()
    assert steps == {True: 2, False: 1}
    assert written[True] == written[False]


def test_cancelling_frees_the_slot_within_two_steps(tiny: LocalModel) -> None:
    scheduler = Scheduler(tiny, 2)
    long = Asked([1, 2, 3], Sampling(max_tokens=200, repetition_penalty=1.5))
    scheduler.join(long.job)
    scheduler.step()
    long.job.cancelled.set()
    scheduler.step()
    scheduler.step()
    assert scheduler.free == 2
    assert not scheduler.busy
    assert not long.over.is_set()


def test_a_job_cancelled_while_it_waits_never_gets_a_slot(tiny: LocalModel) -> None:
    scheduler = Scheduler(tiny, 1)
    asked = Asked([1], Sampling())
    asked.job.cancelled.set()
    scheduler.join(asked.job)
    assert (scheduler.free, asked.news) == (1, [])


def test_waiting_jobs_are_admitted_first_come_first_served(worker: Worker) -> None:
    admitted: list[int] = []
    everybody = [Asked([1 + i], Sampling(max_tokens=3 + i % 5)) for i in range(30)]
    for index, asked in enumerate(everybody):
        tell = asked.job.tell

        def note(news: News, index: int = index, tell: Any = tell) -> None:
            if isinstance(news, Admitted):
                admitted.append(index)
            tell(news)

        asked.job.tell = note
        worker.submit(asked.job)
    assert all(asked.over.wait(30) for asked in everybody)
    assert admitted == list(range(30))


def test_a_failing_job_does_not_affect_others(tiny: LocalModel) -> None:
    scheduler = Scheduler(tiny, 3)
    sampling = Sampling(max_tokens=10)
    healthy = [Asked([5, 6, 7], sampling), Asked([8] * 30, sampling)]
    for asked in healthy:
        scheduler.join(asked.job)
    scheduler.step()
    sick = Asked([9], sampling)
    scheduler.join(sick.job)
    row = list(scheduler._seats)[-1]
    row.prompt = [10**6]  # no such token: the pass through the model fails
    while scheduler.busy:
        scheduler.step()
    assert isinstance(sick.error, ProviderFault)
    for asked in healthy:
        assert asked.ids == ids_of(tiny, asked.job.prompt, sampling)


def test_out_of_memory_ends_only_the_job_that_caused_it(
    tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = Scheduler(tiny, 2)
    sampling = Sampling(max_tokens=6)
    small, large = Asked([5, 6], sampling), Asked([7] * 50, sampling)
    hidden = tiny.phi.hidden

    def limited(ids: torch.Tensor, *rest: Any) -> torch.Tensor:
        if len(ids) > 20:
            raise torch.OutOfMemoryError("tried to allocate 1 GiB")
        return hidden(ids, *rest)

    monkeypatch.setattr(tiny.phi, "hidden", limited)
    scheduler.join(small.job)
    scheduler.step()
    scheduler.join(large.job)
    while scheduler.busy:
        scheduler.step()
    assert isinstance(large.error, OutOfMemory)
    assert "float16" in str(large.error)
    assert small.error is None
    assert small.ids == ids_of(tiny, [5, 6], sampling)


def test_an_overflow_fails_the_request_and_spares_the_next_one_in_its_slot(
    tiny: LocalModel,
) -> None:
    scheduler = Scheduler(tiny, 1)
    sick = Asked([1, 2], Sampling(max_tokens=9))
    scheduler.join(sick.job)
    scheduler.step()
    values = scheduler._slots.cache.values
    for kept in values:
        kept.fill_(torch.nan)
    scheduler.step()
    assert isinstance(sick.error, ProviderFault)
    assert "float32" in str(sick.error)
    assert all(kept.isfinite().all() for kept in values)


def test_closing_fails_those_that_run_and_those_that_wait(tiny: LocalModel) -> None:
    worker = Worker(lambda: tiny, slots=1)
    sampling = Sampling(max_tokens=200, repetition_penalty=1.5, temperature=2.0, seed=3)
    everybody = [Asked([1, 2], sampling) for _ in range(3)]
    for asked in everybody:
        worker.submit(asked.job)
    worker.close()
    assert all(asked.over.is_set() for asked in everybody)
    assert isinstance(everybody[-1].error, ConfigurationError)
    with pytest.raises(ConfigurationError, match="closed"):
        worker.submit(everybody[0].job)


def test_of_many_short_requests_none_is_lost_and_none_mixed_up(
    worker: Worker, tiny: LocalModel
) -> None:
    """Each has its own seed, so that its answer is its tag."""
    rng = random.Random(0)
    everybody = [
        Asked(
            [rng.randrange(1, 400) for _ in range(1 + i % 11)],
            Sampling(max_tokens=1 + i % 4, temperature=1.0, seed=i),
        )
        for i in range(600)
    ]
    for asked in everybody:
        worker.submit(asked.job)
    assert all(asked.over.wait(60) for asked in everybody)
    assert {type(asked.news[-1]) for asked in everybody} == {Ended}
    for asked in everybody[::40]:
        assert asked.ids == ids_of(tiny, asked.job.prompt, asked.job.sampling)


def test_nothing_is_kept_of_a_request_that_is_over(tiny: LocalModel) -> None:
    scheduler = Scheduler(tiny, 4)

    def serve(count: int) -> None:
        for seed in range(count):
            scheduler.join(Asked([1, 2, 3], Sampling(max_tokens=2, seed=seed)).job)
            while not scheduler.free or scheduler.busy:
                scheduler.step()

    serve(20)
    gc.collect()
    before = len(gc.get_objects())
    serve(60)
    gc.collect()
    assert len(gc.get_objects()) < before + 40


def test_slots_that_do_not_fit_into_memory_are_halved(
    tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    warm_up = Slots.warm_up

    def limited(slots: Slots) -> None:
        if slots.cache.slots > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        warm_up(slots)

    monkeypatch.setattr(Slots, "warm_up", limited)
    with pytest.warns(UserWarning, match="memory suffices for 2 slots") as warned:
        assert Scheduler(tiny, 11).free == 2  # not 11, not 5
    assert len(warned) == 1


def test_a_model_without_memory_for_one_slot_is_refused(
    tiny: LocalModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(slots: Slots) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Slots, "warm_up", never)
    with pytest.raises(OutOfMemory, match="one request"):
        Scheduler(tiny, 2)


def test_a_lost_device_ends_all_jobs_with_the_cause_and_takes_no_more(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(slots: Slots) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    running = [Asked([1 + i], Sampling(max_tokens=100)) for i in range(6)]
    worker.model.result()  # after the slots have run
    monkeypatch.setattr(Slots, "step", lost)
    for asked in running:
        try:
            worker.submit(asked.job)
        except ProviderFault:  # the worker may have failed already
            asked.over.set()
            asked.news.append(Failed(ProviderFault("illegal memory access: restart it")))
    for asked in running:
        assert asked.over.wait(30)
        assert "illegal memory access" in str(asked.error)
        assert "restart it" in str(asked.error)
    with pytest.raises(ProviderFault, match=r"illegal memory access.*restart it"):
        worker.submit(Asked([1], Sampling()).job)
