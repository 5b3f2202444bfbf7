"""Test break-even intervals and the budget against known true values.

    python bench/cost.py [--quick] [--json FILE]

- ``coverage_simulated`` is the share of simulated runs whose 95 % interval contains the analytic
  break-even. The runs have random answers of known mean length at a known speed.
- ``coverage_emulated`` is the same share for requests to an emulator of known speed. It includes
  the time that the connection and this machine add to each request.
- ``spend_over_cap`` is the largest ratio of the provider's metered cost to the cap, over runs with
  concurrent requests, random token counts and faults.

The bounds of the coverage are the one-sided 99 % binomial bounds for a rate of 95 %.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scipy import stats

from bench.common import Report, arguments
from phi2sdk.analysis.breakeven import Option, break_even
from phi2sdk.analysis.cost import spend_of
from phi2sdk.compare import Comparison, Settings
from phi2sdk.config import Target
from phi2sdk.emulator import Emulator, Schedule, ScriptedEngine
from phi2sdk.measure.candidate import Candidate
from phi2sdk.measure.folder import RunFolder
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.measure.workload import Item, Workload
from phi2sdk.secret import Secret
from tests.analysis.simulated import Truth, covered
from tests.metering import one_run, text_of

SLOW = Truth(first=0.2, per_token=0.01, prompts=40)
SIDE_BY_SIDE = 16


def bound(runs: int) -> float:
    """Return the lowest share that is consistent with a rate of 95 %."""
    return float(stats.binom.ppf(0.01, runs, 0.95)) / runs


async def emulated(truth: Truth, seed: int) -> bool | None:
    """Return whether the interval of one emulated run contains the true break-even."""
    rng = random.Random(seed)
    lengths = [rng.randint(*truth.output_tokens) for _ in range(truth.prompts)]
    words = {f"Paragraph {i}.": " a" * n for i, n in enumerate(lengths)}
    reads = [rng.randint(*truth.prompt_tokens) for _ in range(truth.prompts)]
    items = tuple(Item(str(i), f"Paragraph {i}. " + "a " * read) for i, read in enumerate(reads))
    machine, tokens = truth.prices()
    engine = ScriptedEngine(words)
    async with Emulator(engine, providers=["openai"]) as emulator:
        emulator.openai.schedule = Schedule(first=truth.first, per_token=truth.per_token)
        settings = {
            "base_url": f"{emulator.openai.url}/v1",
            "api_key": Secret(emulator.key),
            "model": emulator.openai.engine.model,
        }
        candidate = Candidate.of(Target("one", "openai", settings, machine))
        about = Settings(repetitions=1, warmup=0, max_tokens=200, calibrate=False)
        comparison = Comparison(
            Workload("w", items, "prompt"), [candidate], estimating_tokenizer(), about
        )
        with tempfile.TemporaryDirectory() as folder:
            async with candidate.client:
                await comparison.run(RunFolder(folder))
            records = list(RunFolder(folder).read().recorded.done.values())
    options = []
    for name, price in (("machine", machine), ("tokens", tokens)):
        spend = spend_of(price, records, lambda _: "", estimating_tokenizer())
        assert spend is not None
        options.append(Option(name, price, spend))
    found = break_even(*options)
    if found is None or found.volume is None or found.volume.low is None:
        return None
    # The true value for the tokens that the emulator counts, which include the template around
    # each prompt and the end-of-text token.
    extra_read = sum(r.usage.input.value for r in records if r.usage.input) / len(records)
    drawn = sum(reads) / len(reads)
    low, high = truth.prompt_tokens
    shift = round(extra_read - drawn)
    shifted = Truth(
        truth.first,
        truth.per_token,
        (low + shift, high + shift),
        (truth.output_tokens[0] + 1, truth.output_tokens[1] + 1),
        truth.prompts,
    )
    top = float("inf") if found.volume.high is None else found.volume.high
    return found.volume.low <= shifted.break_even() <= top


async def over_the_wire(runs: int) -> tuple[int, int]:
    """Return the number of intervals that contain the true value, and the number of runs."""
    places = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(seed: int) -> bool | None:
        async with places:
            return await emulated(SLOW, seed)

    found = await asyncio.gather(*(one(seed) for seed in range(runs)))
    return sum(bool(f) for f in found), len(found)


async def worst_spend(runs: int) -> tuple[float, int]:
    """Return the largest ratio of metered cost to cap, and the number of refused calls."""
    shares, turned_away = [], 0
    for provider in ("openai", "hf", "azure", "clarifai"):
        rng = random.Random(f"bench/{provider}")
        async with Emulator(ScriptedEngine(text_of(rng)), providers=[provider]) as emulator:
            for _ in range(runs // 4):
                share, away = await one_run(emulator, provider, rng)
                shares.append(share)
                turned_away += away
    return max(shares), turned_away


def main() -> int:
    """Run the benchmark, and return 0 if every check holds."""
    args = arguments(__doc__)
    report = Report("cost", args, ["numpy", "scipy"])
    runs = 200 if args.quick else 2000
    rng = random.Random(1)
    held = sum(covered(Truth(), rng) for _ in range(runs))
    report.row(what="break-even, simulated", runs=runs, held=held, share=held / runs)
    report.check("coverage_simulated", held / runs, ">=", bound(runs))
    wire = 16 if args.quick else 100
    held, counted = asyncio.run(over_the_wire(wire))
    report.row(what="break-even, emulated", runs=counted, held=held, share=held / counted)
    report.check("coverage_emulated", held / counted, ">=", bound(counted))
    budgets = 200 if args.quick else 2000
    share, away = asyncio.run(worst_spend(budgets))
    report.row(what="budget", runs=budgets, largest_share_of_cap=share, turned_away=away)
    report.check("spend_over_cap", share, "<=", 1.0)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
