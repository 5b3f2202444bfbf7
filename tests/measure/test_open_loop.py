"""A server with one worker and a stall: what an open loop shows and a closed one hides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter

import pytest
from aiohttp import web

from phi2sdk import prompts
from phi2sdk.analysis.metrics import E2E, RESPONSE, SCHEDULE_LAG
from phi2sdk.analysis.statistics import quantile
from phi2sdk.client import AsyncPhi2Client
from phi2sdk.completion import Request
from phi2sdk.config import Target
from phi2sdk.measure.journal import Journal
from phi2sdk.measure.records import Record
from phi2sdk.measure.runner import Runner
from phi2sdk.measure.schedule import Load, plan
from phi2sdk.sampling import Sampling

pytestmark = pytest.mark.timed

SERVICE, STALL, STALLED, ASKED = 0.004, 1.0, 60, 250
EVENT = b'data: {"choices": [{"text": "x", "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


def departures(arrivals: list[float]) -> list[float]:
    """Return the completion times of requests at one worker, by Lindley's recursion."""
    done: list[float] = []
    for number, arrival in enumerate(arrivals):
        service = SERVICE + (STALL if number == STALLED else 0.0)
        done.append(max(arrival, done[-1] if done else 0.0) + service)
    return done


class Worker:
    """Serves one request at a time; one of them takes a second longer."""

    def __init__(self) -> None:
        self.free = 0.0
        self.count = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        now = perf_counter()
        service = SERVICE + (STALL if self.count == STALLED else 0.0)
        self.count += 1
        self.free = max(now, self.free) + service
        await request.read()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await asyncio.sleep(max(0.0, self.free - perf_counter()))
        await response.write(EVENT)
        return response


@asynccontextmanager
async def one_worker() -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_post("/v1/completions", Worker().serve)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    await runner.cleanup()


async def measured(load: Load, path: Path) -> list[Record]:
    """All records under a load, in the order in which they were due."""
    seen: list[Record] = []
    async with (
        one_worker() as url,
        AsyncPhi2Client(Target("t", "openai", {"base_url": url})) as phi,
    ):
        request = Request(prompts.raw("go"), Sampling(max_tokens=4), timeout=30)
        with Journal(path) as journal:
            epoch_ns = round(perf_counter() * 1e9)
            runner = Runner({"t": phi}, lambda key: request, journal, seen.append, epoch_ns)
            await runner.run(plan(load, ["t"], [str(i) for i in range(ASKED)]))
    return sorted(seen, key=lambda record: record.t_scheduled_ns)


def p99(values: list[float]) -> float:
    found = quantile(values, 0.99).value
    assert found is not None
    return found


async def test_an_open_loop_shows_the_wait_that_a_closed_one_hides(tmp_path: Path) -> None:
    load = Load("poisson", rate=100.0)
    (lane,) = plan(load, ["t"], [str(i) for i in range(ASKED)])
    arrivals = [due.at or 0.0 for due in lane.dues]
    analytic = [d - a for a, d in zip(arrivals, departures(arrivals), strict=True)]
    opened = await measured(load, tmp_path / "open.jsonl")
    response = [value for record in opened for value in RESPONSE.values(record)]
    lag = [value for record in opened for value in SCHEDULE_LAG.values(record)]
    assert p99(response) == pytest.approx(p99(analytic), rel=0.02, abs=2 * p99(lag))
    closed = await measured(Load("closed", 1), tmp_path / "closed.jsonl")
    hidden = p99([value for record in closed for value in E2E.values(record)])
    assert hidden < p99(analytic) / 5  # one request in 250 met the stall, where 40 % waited
    assert sum(value > STALL / 10 for value in analytic) > 0.25 * ASKED
