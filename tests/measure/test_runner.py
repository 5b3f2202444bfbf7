"""The runner against a real server on loopback."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import accumulate
from pathlib import Path
from time import perf_counter_ns

import pytest

from phi2sdk import prompts
from phi2sdk.analysis.metrics import E2E, TTFT
from phi2sdk.client import AsyncPhi2Client
from phi2sdk.completion import Request
from phi2sdk.config import Target
from phi2sdk.emulator import Emulator, Fault, Schedule, ScriptedEngine
from phi2sdk.emulator.engine import Decoding, Token
from phi2sdk.measure.journal import Journal, read_journal
from phi2sdk.measure.records import Key, Record
from phi2sdk.measure.runner import Runner
from phi2sdk.measure.schedule import Load, plan
from phi2sdk.sampling import Sampling
from phi2sdk.secret import Secret

SCHEDULE = Schedule(first=0.03, per_token=0.005)


class Together(ScriptedEngine):
    """Answers nobody until ``count`` are waiting."""

    def __init__(self, count: int) -> None:
        super().__init__("alpha beta")
        self._barrier = asyncio.Barrier(count)

    async def tokens(self, prompt: str, decoding: Decoding) -> AsyncIterator[Token]:
        await self._barrier.wait()
        async for token in super().tokens(prompt, decoding):
            yield token


class Bench:
    """A server, a client of it, and a journal."""

    def __init__(self, emulator: Emulator, client: AsyncPhi2Client, path: Path) -> None:
        self.emulator = emulator
        self.client = client
        self.path = path
        self.seen: list[Record] = []
        self.third = asyncio.Event()

    def progress(self, record: Record) -> None:
        self.seen.append(record)
        if len(self.seen) == 3:
            self.third.set()

    async def run(
        self, load: Load, asked: list[str], *, timeout: float = 10, max_tokens: int = 64
    ) -> dict[Key, Record]:
        with Journal(self.path) as journal:
            lanes = plan(load, ["openai"], asked, done=journal.recorded.done)
            journal.begin("now")

            def request(key: Key) -> Request:
                sampling = Sampling(max_tokens=max_tokens)
                return Request(prompts.instruct(key.prompt), sampling, timeout=timeout)

            runner = Runner(
                {"openai": self.client}, request, journal, self.progress, perf_counter_ns()
            )
            await runner.run(lanes)
        return read_journal(self.path).done


@asynccontextmanager
async def bench(
    path: Path, *, attempts: int = 4, engine: ScriptedEngine | None = None
) -> AsyncIterator[Bench]:
    engine = engine or ScriptedEngine("alpha beta gamma delta")
    async with Emulator(engine, schedule=SCHEDULE, providers=["openai"]) as emulator:
        target = Target(
            "openai",
            "openai",
            {
                "base_url": f"{emulator.openai.url}/v1",
                "api_key": Secret(emulator.key),
                "model": emulator.openai.engine.model,
            },
            attempts=attempts,
        )
        async with AsyncPhi2Client(target) as client:
            yield Bench(emulator, client, path / "records.jsonl")


async def test_what_is_measured_is_what_the_server_did(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        done = await b.run(Load(), ["one", "two", "three"])
    assert {key.prompt for key in done} == {"one", "two", "three"}
    for record in done.values():
        assert record.text == "alpha beta gamma delta"
        (ttft,), (e2e,) = TTFT.values(record), E2E.values(record)
        # Never before the server's schedule, nor after all was over; in between it is the load
        # of the machine, and no error.
        whole = (record.t_close_ns - record.t_scheduled_ns) / 1e9
        assert 0.03 <= ttft <= whole
        assert 0.03 + 3 * 0.005 <= e2e <= whole
        assert record.usage.output_billed is not None
        assert record.finish_reason == "stop"
    assert b.seen == list(done.values())


async def test_a_closed_load_keeps_its_number_of_requests_in_flight(tmp_path: Path) -> None:
    """The server holds every answer back until it has three requests: no clock has a part."""
    async with bench(tmp_path, engine=Together(3)) as b:
        done = await b.run(Load("closed", 3), [str(i) for i in range(9)], timeout=60)
    assert all(record.ok for record in done.values())
    begun = [(r.t_send_ns or 0, 1) for r in done.values()]
    ended = [(r.t_close_ns, -1) for r in done.values()]
    under_way = list(accumulate(step for _, step in sorted(begun + ended)))
    assert max(under_way) == 3  # and never more


async def test_an_open_load_sends_at_its_times_whatever_has_been_answered(tmp_path: Path) -> None:
    load = Load("poisson", rate=100.0)
    asked = [str(i) for i in range(20)]
    (lane,) = plan(load, ["openai"], asked)
    async with bench(tmp_path) as b:
        done = await b.run(load, asked)
    first = done[lane.dues[0].key].t_scheduled_ns
    for due in lane.dues:
        offset = (done[due.key].t_scheduled_ns - first) / 1e9
        assert offset == pytest.approx((due.at or 0) - (lane.dues[0].at or 0), abs=1e-6)


async def test_failures_are_records_too_with_all_their_attempts(tmp_path: Path) -> None:
    async with bench(tmp_path, attempts=1) as b:
        b.emulator.openai.faults.push(Fault("status", status=500))
        done = await b.run(Load(), ["one", "two"])
    outcomes = sorted(record.outcome for record in done.values())
    assert outcomes == ["error", "ok"]
    failed = next(record for record in done.values() if not record.ok)
    assert (failed.error, failed.status) == ("ProviderFault", 500)
    assert len(failed.attempts) == 1


async def test_a_retry_is_never_hidden(tmp_path: Path) -> None:
    async with bench(tmp_path) as b:
        b.emulator.openai.faults.push(Fault("status", status=503))
        (record,) = (await b.run(Load(), ["one"])).values()
    assert record.ok
    assert [attempt.error for attempt in record.attempts] == ["Overloaded", None]
    assert record.t_send_ns == record.attempts[0].t_send_ns
    (e2e,) = E2E.values(record)
    assert e2e >= record.waited + 0.03


async def test_a_cancelled_run_resumes_where_it_stopped(tmp_path: Path) -> None:
    asked = [str(i) for i in range(8)]
    async with bench(tmp_path) as b:
        running = asyncio.create_task(b.run(Load(), asked))
        await b.third.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        before = read_journal(b.path)
        assert 3 <= len(before.done) < 8
        assert len(before.open) == 1
        after = await b.run(Load(), asked)
    assert {key.prompt for key in after} == set(asked)
    assert len(b.emulator.openai.calls) == 9  # the one that was cancelled, again


async def test_a_request_that_takes_too_long_is_a_timeout(tmp_path: Path) -> None:
    async with bench(tmp_path, attempts=1) as b:
        b.emulator.openai.schedule = Schedule(first=30.0)
        (record,) = (await b.run(Load(), ["one"], timeout=0.05)).values()
    assert record.outcome == "timeout"
