"""A run under a hard cap: never exceeded, stopped cleanly, and resumable."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from phi2sdk.compare import Comparison, Settings, compare
from phi2sdk.config import Target
from phi2sdk.emulator import Emulator, Fault, Schedule, ScriptedEngine
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.candidate import Candidate
from phi2sdk.measure.folder import RunFolder
from phi2sdk.measure.schedule import Load
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.measure.workload import Item, Workload
from phi2sdk.pricing import Price, resolve
from phi2sdk.secret import Secret

SOURCED = {"source": "s", "date": "2026-11-01"}
PRICE = resolve({"model": "per-token", "input": 100, "output": 200, **SOURCED})
PARAGRAPHS = Workload("p.txt", tuple(Item(str(i), f"Paragraph {i} on tides.") for i in range(20)))
QUICK = Settings(repetitions=1, warmup=1, max_tokens=16, timeout=10.0, calibrate=False)


def target(emulator: Emulator, price: Price | None = PRICE) -> Target:
    settings = {
        "base_url": f"{emulator.openai.url}/v1",
        "api_key": Secret(emulator.key),
        "model": emulator.openai.engine.model,
    }
    return Target("metered", "openai", settings, price)


def metered(emulator: Emulator) -> float:
    """US dollars by the provider's own count."""
    meter = emulator.openai.meter
    return (meter.prompt_tokens * 100 + meter.completion_tokens * 200) / 1e6


async def test_a_run_stops_cleanly_at_its_budget_and_resumes_with_a_larger_one(
    tmp_path: Path,
) -> None:
    async with Emulator(ScriptedEngine("one two three"), providers=["openai"]) as emulator:
        on = target(emulator)
        about = {"out": tmp_path / "run", "settings": QUICK}
        report = await compare(PARAGRAPHS, [on], budget_usd=0.08, **about)  # type: ignore[arg-type]
        assert 0 < report.run.recorded < 20
        assert not report.run.complete
        assert report.run.lost == 0  # nothing was broken off
        assert report.failed == 0
        assert metered(emulator) <= 0.08
        report = await compare(PARAGRAPHS, [on], budget_usd=10, resume=True, **about)  # type: ignore[arg-type]
        assert report.run.complete
        asked = [c.body["prompt"] for c in emulator.openai.calls if c.method == "POST"]
        assert len(asked) == 21  # each once, and one warm-up


async def test_what_an_earlier_session_spent_counts(tmp_path: Path) -> None:
    async with Emulator(ScriptedEngine("one two three"), providers=["openai"]) as emulator:
        on = target(emulator)
        about = {"out": tmp_path / "run", "settings": QUICK}
        first = await compare(PARAGRAPHS, [on], budget_usd=0.08, **about)  # type: ignore[arg-type]
        again = await compare(PARAGRAPHS, [on], budget_usd=0.08, resume=True, **about)  # type: ignore[arg-type]
        assert again.run.recorded == first.run.recorded
        assert metered(emulator) <= 0.08


async def test_requests_that_a_killed_run_left_open_count_at_their_worst_case(
    tmp_path: Path,
) -> None:
    async with Emulator(ScriptedEngine("one two three"), providers=["openai"]) as emulator:
        candidate = Candidate.of(target(emulator))
        comparison = Comparison(PARAGRAPHS, [candidate], estimating_tokenizer(), QUICK)
        folder = RunFolder(tmp_path / "run")
        async with candidate.client:
            await comparison.run(folder)
            whole = comparison.budget(100, folder.recorded()).spending.spent
            # As if it had been killed before the last record was written.
            path = tmp_path / "run" / "records.jsonl"
            lines = path.read_bytes().splitlines(keepends=True)
            last = max(i for i, line in enumerate(lines) if b'"event":"done"' in line)
            path.write_bytes(b"".join(lines[:last]))
            recorded = folder.recorded()
            assert sum(recorded.open.values()) == 1
            budget = comparison.budget(100, recorded)
            (key,) = recorded.open
            assert budget.worst(key) == pytest.approx(4 * budget.worst(key, calls=1))
            assert budget.spending.spent > whole


async def test_a_target_without_a_price_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    async with Emulator(ScriptedEngine("one"), providers=["openai"]) as emulator:
        with pytest.raises(ConfigurationError, match="no price is known for metered"):
            await compare(
                PARAGRAPHS,
                [target(emulator, None)],
                out=tmp_path / "run",
                settings=QUICK,
                budget_usd=1.0,
            )
        assert list(emulator.openai.calls) == []
        assert not (tmp_path / "run").exists()


async def test_the_forecast_is_an_upper_bound_of_what_the_run_costs(tmp_path: Path) -> None:
    async with Emulator(ScriptedEngine("one two three"), providers=["openai"]) as emulator:
        candidate = Candidate.of(target(emulator))
        comparison = Comparison(PARAGRAPHS, [candidate], estimating_tokenizer(), QUICK)
        async with candidate.client:
            budget = comparison.budget(100)
            forecast = budget.forecast(comparison.left())
            assert forecast.requests == 21
            await comparison.run(RunFolder(tmp_path / "run"), budget=budget)
        assert metered(emulator) <= budget.spending.spent <= forecast.usd <= forecast.worst


@pytest.mark.parametrize("load", [Load("closed", 8), Load("poisson", rate=2000.0)])
async def test_no_load_spends_more_than_the_cap_at_the_provider(tmp_path: Path, load: Load) -> None:
    """Random lengths, faults and caps, with many requests in flight."""
    rng = random.Random(load.kind)
    settings = Settings(
        load=load, repetitions=1, warmup=0, max_tokens=40, timeout=10.0, calibrate=False
    )
    engine = ScriptedEngine(lambda prompt: "tide " * rng.randint(0, 60))
    spent = []
    for number in range(10):
        async with Emulator(engine, providers=["openai"]) as emulator:
            emulator.openai.schedule = Schedule(first=0.002)
            emulator.openai.faults.push(rng.choice([Fault("cut", after=3), Fault("reset")]))
            candidate = Candidate.of(target(emulator))
            comparison = Comparison(PARAGRAPHS, [candidate], estimating_tokenizer(), settings)
            cap = rng.uniform(0.1, 0.4)
            async with candidate.client:
                budget = comparison.budget(cap)
                await comparison.run(RunFolder(tmp_path / f"run{number}"), budget=budget)
            assert budget.spending.held == 0
            assert metered(emulator) <= budget.spending.spent <= cap
            assert budget.stopped
            spent.append(metered(emulator) / cap)
    assert max(spent) > 0.1  # a request in flight counts at its worst case, of four calls


async def test_a_cancelled_run_leaves_its_open_requests_on_the_account(tmp_path: Path) -> None:
    async with Emulator(ScriptedEngine("one two three"), providers=["openai"]) as emulator:
        emulator.openai.schedule = Schedule(first=30.0)
        candidate = Candidate.of(target(emulator))
        comparison = Comparison(PARAGRAPHS, [candidate], estimating_tokenizer(), QUICK)
        folder = RunFolder(tmp_path / "run")
        async with candidate.client:
            running = asyncio.create_task(comparison.run(folder, budget=comparison.budget(1.0)))
            await asyncio.to_thread(emulator.openai.calls.wait_for, 1)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            budget = comparison.budget(1.0, folder.recorded())
            (key,) = folder.recorded().open
            assert budget.spending.spent == pytest.approx(budget.worst(key))
