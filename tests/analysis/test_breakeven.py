"""Break-even volumes against what can be computed by hand, and their intervals against truth."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from phi2sdk.analysis.breakeven import Option, break_even, cost_at, cost_curve
from phi2sdk.analysis.cost import spend_of
from phi2sdk.completion import Count, Usage
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.pricing import resolve
from tests.analysis.simulated import COVERAGE_RUNS, Truth, covered
from tests.measure.making import answer, failure

SOURCED = {"source": "s", "date": "2026-11-01"}
TOKENS = {"model": "per-token", "input": 100, "output": 0, **SOURCED}
HOURLY = {"model": "hourly", "usd": 1.0, **SOURCED}


def option(
    name: str, price: Mapping[str, Any] | Sequence[Mapping[str, Any]], records: list[Record]
) -> Option:
    resolved = resolve(price)
    spend = spend_of(resolved, records, lambda _: "a prompt", estimating_tokenizer())
    assert spend is not None
    return Option(name, resolved, spend)


def answers(seconds: float = 1.0, tokens: int = 100, n: int = 20) -> list[Record]:
    """``n`` prompts, one after the other, all alike."""
    return [
        answer(
            f"p{i}",
            send_ms=i * seconds * 1e3,
            chunks_ms=((i + 1) * seconds * 1e3,),
            usage=Usage(Count(tokens), Count(0)),
        )
        for i in range(n)
    ]


def test_a_machine_beats_tokens_from_its_daily_cost_on() -> None:
    # $24 a day against 100 tokens at $100 per 1M, a cent each: 2,400 a day.
    found = break_even(option("box", HOURLY, answers()), option("cloud", TOKENS, answers()))
    assert found is not None
    assert (found.below, found.above) == ("cloud", "box")
    assert found.volume is not None
    assert found.volume.value == pytest.approx(2400, rel=1e-6)
    assert found.volume.low == pytest.approx(2400, rel=1e-6)
    assert found.volume.high == pytest.approx(2400, rel=1e-6)
    assert found.agreement == 1


def test_failures_are_paid_for_by_both() -> None:
    # Half of the cloud's requests fail after generating: two cents for each that is kept.
    half = answers(n=10) + [
        answer(f"q{i}", text=" ", usage=Usage(Count(100), Count(0))) for i in range(10)
    ]
    cloud = option("cloud", TOKENS, half)
    box = option("box", HOURLY, answers(n=10) + [failure(f"q{i}") for i in range(10)])
    found = break_even(box, cloud)
    assert found is not None
    assert found.volume is not None
    assert found.volume.value == pytest.approx(1200, rel=1e-6)


def test_a_slow_machine_never_beats_tokens_and_says_so() -> None:
    # 1,000 s each: at most 86.4 a day for $24, 28 cents each, whatever the volume.
    found = break_even(option("box", HOURLY, answers(1000)), option("cloud", TOKENS, answers()))
    assert found is not None
    assert (found.below, found.above, found.volume, found.changes) == ("cloud", "cloud", None, ())


def test_one_more_machine_makes_a_step_back() -> None:
    # 30 s each: 2,880 a day for $24. From 2,400 the box is cheaper, above 2,880 two boxes
    # cost $48 against $28.80, until 4,800 a day.
    found = break_even(option("box", HOURLY, answers(30)), option("cloud", TOKENS, answers()))
    assert found is not None
    volumes = [(round(at), name) for at, name in found.changes[:3]]
    assert volumes == [(2400, "box"), (2880, "cloud"), (4800, "box")]


def test_equal_prices_have_no_cheaper_one() -> None:
    found = break_even(option("a", TOKENS, answers()), option("b", TOKENS, answers()))
    assert found is not None
    assert (found.below, found.volume) == (None, None)


def test_targets_without_a_common_prompt_are_not_compared() -> None:
    other = [answer("elsewhere")]
    assert break_even(option("a", TOKENS, answers()), option("b", TOKENS, other)) is None


def test_the_cost_at_a_volume_and_the_curve_agree() -> None:
    box = option("box", HOURLY, answers())
    cost = cost_at(box, 2400)
    assert cost is not None
    assert cost.value == pytest.approx(0.01)
    assert cost_curve(box, [240, 2400]) == pytest.approx([0.1, 0.01])
    assert cost_at(option("none", TOKENS, [answer(text=" ")]), 10) is None


def test_the_interval_of_a_break_even_holds_the_truth() -> None:
    """Known throughput and token counts; 89 of 100 is where 95 % becomes unbelievable."""
    truth = Truth()
    rng = random.Random(7)
    assert sum(covered(truth, rng) for _ in range(COVERAGE_RUNS)) >= 89
