"""Runs with a duration, and runs with unique prefixes."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from phi2sdk.compare import Settings, compare, report_of
from phi2sdk.demo import checkpoint_path
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import RunFolder, unique_prefix
from phi2sdk.measure.records import Record
from phi2sdk.measure.schedule import Load
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.measure.workload import Item, Workload
from phi2sdk.report.diff import diff_runs
from phi2sdk.report.markdown import markdown
from phi2sdk.testing import Phi2Emulator

PARAGRAPHS = Workload("p.txt", tuple(Item(str(i), f"Paragraph {i} on tides.") for i in range(4)))
SETTINGS = Settings(warmup=1, max_tokens=16, calibrate=False)
LOADS = [Load(), Load("closed", 3), Load("poisson", rate=60.0)]


class Stop:
    """Ends the run at its n-th record, as Ctrl-C does."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.total: int | None = 0
        self.running: asyncio.Task[object] | None = None

    def begin(self, total: int | None, done: int) -> None:
        self.total = total

    def record(self, record: Record) -> None:
        self.left -= 1
        if self.left == 0:
            assert self.running is not None
            self.running.cancel()

    async def stops(self, out: Path, settings: Settings) -> None:
        self.running = asyncio.create_task(
            compare(PARAGRAPHS, ["openai"], out=out, settings=settings, progress=self)
        )
        with pytest.raises(asyncio.CancelledError):
            await self.running


@pytest.mark.parametrize("load", LOADS, ids=lambda load: load.kind)
async def test_a_run_with_a_duration_lasts_that_long_and_can_be_resumed(
    tmp_path: Path, phi2_emulator: Phi2Emulator, load: Load
) -> None:
    phi2_emulator.answers("Tides.")
    settings, out = replace(SETTINGS, load=load, duration=0.4), tmp_path / "run"
    stop = Stop(4)
    await stop.stops(out, settings)
    assert (stop.total is None) == (load.kind != "poisson")
    before = RunFolder(out).read().recorded
    assert not before.over
    report = await compare(PARAGRAPHS, ["openai"], out=out, settings=settings, resume=True)
    recorded = RunFolder(out).read().recorded
    assert report.run.complete
    assert report.run.requests == report.run.recorded == len(recorded.done) - 1
    assert report.run.sessions == 2
    assert "in 0.4 s" in markdown(report)
    if load.kind == "poisson":  # every arrival of that time, and no other
        assert len({key for key in recorded.done if key.arm == "greedy"}) == stop.total - 1  # type: ignore[operator]
    else:
        assert recorded.elapsed >= 0.3
        assert report.run.repetitions > 1
    calls = len(phi2_emulator.openai.calls)
    again = await compare(PARAGRAPHS, ["openai"], out=out, settings=settings, resume=True)
    asked = [c for c in phi2_emulator.openai.calls[calls:] if c.method == "POST"]
    assert asked == []  # its time is over
    assert again.run.recorded == report.run.recorded


async def test_a_run_for_a_time_that_was_cut_short_says_how_far_it_came(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("Tides.")
    await Stop(4).stops(tmp_path / "run", replace(SETTINGS, duration=30.0))
    report = report_of(RunFolder(tmp_path / "run"), estimating_tokenizer())
    assert not report.run.complete
    assert "of 30 s are recorded" in markdown(report)


async def test_no_two_requests_begin_alike_but_targets_are_asked_the_same(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("Tides follow the moon.")
    settings = replace(SETTINGS, unique_prefix=True)
    first = await compare(PARAGRAPHS, ["hf", "openai"], out=tmp_path / "a", settings=settings)
    asked = {name: _prompts(phi2_emulator, name) for name in ("hf", "openai")}
    assert sorted(asked["hf"]) == sorted(asked["openai"])
    assert len({text[:16] for text in asked["hf"]}) == len(asked["hf"]) == 1 + 2 * 4
    agreement = first.pairs["hf:openai"].agreement
    assert agreement is not None
    assert agreement.prompts == 4
    assert all(target.self_agreement is None for target in first.targets.values())
    assert first.run.unique_prefix
    assert "Each repetition had a unique prefix" in markdown(first)
    await compare(PARAGRAPHS, ["hf", "openai"], out=tmp_path / "b", settings=settings)
    later = _prompts(phi2_emulator, "hf")[len(asked["hf"]) :]
    assert not {text[:16] for text in later} & {text[:16] for text in asked["hf"]}
    a, b = (RunFolder(tmp_path / name).read() for name in "ab")
    found = diff_runs(a, b, estimating_tokenizer())
    assert found.targets["hf"].agreement.prompts == 0  # they were asked different things
    assert a.prompts["0"].endswith(a.configuration["prompts"]["0"])


async def test_a_resumed_run_keeps_its_prefixes(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("Tides.")
    settings, out = replace(SETTINGS, unique_prefix=True), tmp_path / "run"
    await Stop(3).stops(out, settings)
    nonce = RunFolder(out).read_info()["nonce"]
    await compare(PARAGRAPHS, ["openai"], out=out, settings=settings, resume=True)
    done = RunFolder(out).read().recorded.done
    begun = {text[:17] for text in _prompts(phi2_emulator, "openai")}
    assert begun == {unique_prefix(nonce, key) for key in done}
    with pytest.raises(ConfigurationError, match="unique_prefix: true -> false"):
        await compare(PARAGRAPHS, ["openai"], out=out, settings=SETTINGS, resume=True)


async def test_the_tokenizer_of_a_run_can_be_given_and_not_be_changed(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("Tides.")
    file, out = checkpoint_path() / "tokenizer.json", tmp_path / "run"
    report = await compare(PARAGRAPHS, ["openai"], out=out, settings=SETTINGS, tokenizer=file)
    assert report.run.tokenizer.startswith("tokenizer.json ")
    assert not report.run.tokenizer_estimated
    other = tmp_path / "tokenizer.json"
    other.write_bytes(file.read_bytes() + b"\n")
    with pytest.raises(ConfigurationError, match="tokenizer: "):
        await compare(
            PARAGRAPHS, ["openai"], out=out, settings=SETTINGS, tokenizer=other, resume=True
        )


@pytest.mark.parametrize("duration", [0.0, -1.0, float("inf"), float("nan")])
def test_a_duration_that_makes_no_sense_is_refused(duration: float) -> None:
    with pytest.raises(ConfigurationError, match="duration"):
        Settings(duration=duration)


def _prompts(emulator: Phi2Emulator, name: str) -> list[str]:
    calls = getattr(emulator, name).calls
    return [call.prompt for call in calls if call.prompt]
