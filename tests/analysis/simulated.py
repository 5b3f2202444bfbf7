"""Runs whose break-even is known: random answers of known mean length, at a known speed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from phi2sdk.analysis.breakeven import Option, break_even
from phi2sdk.analysis.cost import spend_of
from phi2sdk.completion import Count, Usage
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.pricing import Price, resolve
from phi2sdk.pricing.models import Owned, PerToken
from tests.measure.making import answer

COVERAGE_RUNS = 100
SOURCED = {"source": "simulated", "date": "2026-11-01"}
TOKENIZER = estimating_tokenizer()


@dataclass(frozen=True, slots=True)
class Truth:
    """A server that takes ``first`` seconds and ``per_token`` for each token of an answer.

    Attributes:
        first, per_token: Its speed.
        prompt_tokens: Drawn evenly from this range.
        output_tokens: So are these.
        prompts: How many a run has.
    """

    first: float = 0.1
    per_token: float = 0.02
    prompt_tokens: tuple[int, int] = (100, 400)
    output_tokens: tuple[int, int] = (10, 110)
    prompts: int = 60

    def prices(self) -> tuple[Price, Price]:
        """Return the price of an owned machine, with energy per second, and the price of tokens."""
        machine = {"model": "owned", "usd": 36_525.0, "life_years": 10, "utilisation": 1}
        energy = {"watts": 2000, "pue": 1.5, "usd_per_kwh": 1.0}
        tokens = {"model": "per-token", "input": 2.0, "output": 20.0}
        return resolve({**machine, **energy, **SOURCED}), resolve({**tokens, **SOURCED})

    def break_even(self) -> float:
        """Return the analytic break-even, at which the savings equal the fixed cost per day."""
        machine, tokens = self.prices()
        owned, priced = machine.parts[0], tokens.parts[0]
        assert isinstance(owned, Owned)
        assert isinstance(priced, PerToken)
        read, wrote = sum(self.prompt_tokens) / 2, sum(self.output_tokens) / 2
        seconds = self.first + self.per_token * wrote
        saved = (read * priced.input + wrote * priced.output) / 1e6 - owned.energy(
            owned.watts
        ) * seconds
        return owned.capital_per_second * 86400 / saved

    def records(self, rng: random.Random) -> list[Record]:
        """Return the records of a run with sequential requests."""
        now = 0.0
        made = []
        for number in range(self.prompts):
            read, wrote = rng.randint(*self.prompt_tokens), rng.randint(*self.output_tokens)
            seconds = self.first + self.per_token * wrote
            usage = Usage(Count(read), Count(wrote))
            end = (now + seconds) * 1e3
            made.append(answer(f"p{number}", send_ms=now * 1e3, chunks_ms=(end,), usage=usage))
            now += seconds + 0.001
        return made


def covered(truth: Truth, rng: random.Random) -> bool:
    """Return whether the interval of one run contains the analytic break-even."""
    records = truth.records(rng)
    options = []
    for name, price in zip(("machine", "tokens"), truth.prices(), strict=True):
        spend = spend_of(price, records, lambda _: "", TOKENIZER)
        assert spend is not None
        options.append(Option(name, price, spend))
    found = break_even(*options)
    if found is None or found.volume is None or found.volume.low is None:
        return False
    high = float("inf") if found.volume.high is None else found.volume.high
    return found.volume.low <= truth.break_even() <= high
