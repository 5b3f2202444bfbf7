"""The chosen target, dominated targets, and the assumptions of the decision."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.analysis.breakeven import BreakEven
from phi2sdk.analysis.decision import (
    Choice,
    dominated_by,
    no_decision,
    too_few,
    what_would_change,
    winner,
)
from phi2sdk.analysis.statistics import Estimate


def one(
    name: str,
    cost: float | None = 1.0,
    p95: float | None = 1.0,
    agreement: float | None = 1.0,
    identity: str = "not-tested",
    fails: tuple[str, ...] = (),
    **about: Any,
) -> Choice:
    estimate = None if cost is None else Estimate(cost, cost * 0.9, cost * 1.1)
    return Choice(name, estimate, p95, agreement, identity, fails, **about)


def test_worse_in_everything_is_dominated_and_better_in_one_is_not() -> None:
    good, bad, fast = one("good"), one("bad", 2.0, 2.0, 0.9), one("fast", 2.0, 0.5)
    everyone = [good, bad, fast]
    assert dominated_by(bad, everyone) == ("good", "fast")
    assert dominated_by(fast, everyone) == ()
    assert dominated_by(good, everyone) == ()


def test_a_figure_that_only_one_target_has_dominates_nothing() -> None:
    known, unknown = one("known"), one("unknown", None, 9.0)
    assert dominated_by(unknown, [known]) == ()
    assert dominated_by(one("slow", 1.0, 2.0), [one("unmeasured", 1.0, 1.0, None)]) == ()


def test_two_unknown_costs_are_not_equal_costs() -> None:
    fast, slow = one("fast", None, 1.0), one("slow", None, 2.0)
    assert dominated_by(slow, [fast]) == ()


def test_another_model_dominates_nobody() -> None:
    assert dominated_by(one("slow", 2.0, 2.0), [one("fake", identity="different")]) == ()


def test_equals_do_not_dominate_each_other() -> None:
    assert dominated_by(one("a"), [one("b")]) == ()


def test_a_target_that_never_answers_in_time_is_dominated() -> None:
    assert dominated_by(one("dead", 1.0, math.inf), [one("alive")]) == ("alive",)


def test_the_winner_is_the_cheapest_that_meets_every_requirement() -> None:
    everyone = [
        one("dear", 3.0),
        one("cheap", 1.0, fails=("targets.cheap.latency.e2e.p95 < 1",)),
        one("other_model", 0.5, identity="different"),
        one("unknown", None),
        one("middle", 2.0),
    ]
    chosen = winner(everyone)
    assert chosen is not None
    assert chosen.name == "middle"
    said = what_would_change(chosen, everyone, {}, None)
    assert any("the price of dear" in line and "fell by more than 33.3%." in line for line in said)
    assert any("the unknown cost of unknown were below $2e+03" in line for line in said)
    assert any("cheap is cheaper and does not meet it" in line for line in said)
    assert all(line.startswith(("The decision would change", "The decision may")) for line in said)


def test_equal_costs_are_decided_by_the_p95() -> None:
    chosen = winner([one("slow", 1.0, 2.0), one("fast", 1.0, 1.0)])
    assert chosen is not None
    assert chosen.name == "fast"


def test_there_is_no_winner_where_no_cost_is_known_or_all_fail() -> None:
    assert winner([one("a", None), one("b", None)]) is None
    assert winner([one("a", fails=("x < 1",))]) is None
    assert winner([]) is None


def test_the_volumes_around_the_given_one_are_told() -> None:
    a, b = one("a", 1.0), one("b", 2.0)
    found = BreakEven("b", "a", Estimate(100.0), ((100.0, "a"), (900.0, "b")), 1.0)
    pairs = {frozenset(("a", "b")): found}
    said = what_would_change(a, [a, b], pairs, 500)
    assert said[:2] == [
        "The decision would change below about 100 answers per day: b is cheaper there.",
        "The decision would change above about 900 answers per day: b is cheaper there.",
    ]
    assert what_would_change(a, [a, b], pairs, None)[0] == (
        "The decision would change below about 100 answers per day, if machines are paid for whole "
        "days: b is cheaper there."
    )


def test_of_rivals_with_the_same_volume_the_cheapest_is_named() -> None:
    a, b, c = one("a", 1.0), one("b", 3.0), one("c", 2.0)
    pairs = {
        frozenset(("a", name)): BreakEven(name, "a", Estimate(900.0), ((900.0, name),), 1.0)
        for name in "bc"
    }
    assert what_would_change(a, [a, b, c], pairs, 500)[0] == (
        "The decision would change above about 900 answers per day: c is cheaper there."
    )


def test_of_many_rivals_only_the_nearest_volumes_are_named() -> None:
    a, b, c = one("a", 1.0), one("b", 2.0), one("c", 3.0)
    near = BreakEven("b", "a", Estimate(400.0), ((400.0, "a"), (600.0, "b")), 1.0)
    far = BreakEven("c", "a", Estimate(100.0), ((100.0, "a"), (900.0, "c")), 1.0)
    pairs = {frozenset("ab"): near, frozenset("ac"): far}
    said = [text for text in what_would_change(a, [a, b, c], pairs, 500) if " per day" in text]
    assert said == [
        "The decision would change below about 400 answers per day: b is cheaper there.",
        "The decision would change above about 600 answers per day: b is cheaper there.",
    ]


@pytest.mark.parametrize(
    ("answered", "planned", "prompts", "why"),
    [
        (15, 128, 15, "only 15 of 128 requests were answered"),
        (64, 128, 32, None),
        (4, 4, 2, "only 2 of at least 6 prompts were answered"),
        (6, 6, 6, None),
        (0, 0, 0, "only 0 of at least 6 prompts were answered"),
    ],
)
def test_a_target_with_too_few_answers_cannot_be_chosen(
    answered: int, planned: int, prompts: int, why: str | None
) -> None:
    assert too_few(answered, planned, prompts) == why
    assert (winner([one("a", too_few=why)]) is None) == (why is not None)


def test_an_invalid_run_has_no_winner() -> None:
    assert winner([one("a"), one("b", 2.0)], valid=False) is None


@pytest.mark.parametrize(
    ("candidates", "about", "reason", "remedy"),
    [
        ([one("a")], {"valid": False}, "the run is invalid", "lower the load"),
        ([one("a")], {"valid": False, "answered": False}, "no request was answered", "phi2 doctor"),
        ([one("a", too_few="only 1 of 9")], {}, "too few answers (a: only 1 of 9)", "--resume"),
        ([one("a", None), one("b", None)], {}, "cost of every target", "Add a price"),
        ([one("a", fails=("x < 1",))], {}, "no target meets every requirement", "Relax"),
        (
            [one("a", identity="different")],
            {},
            "no target serves the model",
            "other",
        ),
    ],
)
def test_no_decision_has_a_reason_and_a_next_step(
    candidates: list[Choice], about: dict[str, bool], reason: str, remedy: str
) -> None:
    assert winner(candidates, valid=about.get("valid", True)) is None
    why, step = no_decision(candidates, **about)
    assert reason in why
    assert remedy in step


def test_overlapping_intervals_stale_prices_and_simulation_are_told() -> None:
    a, b = one("a", 1.0, stale=True), one("b", 1.1, simulated=True)
    said = " ".join(what_would_change(a, [a, b], {}, None))
    assert "overlap" in said
    assert "The decision may change with current prices of a: the prices used are older" in said
    assert "The decision may change with measured latencies of b, for which emulators" in said


costs = st.one_of(st.none(), st.floats(0, 10))


@given(st.lists(st.tuples(costs, costs, costs), min_size=1, max_size=8))
def test_the_winner_is_never_dominated_by_an_eligible_target(
    rows: list[tuple[float | None, float | None, float | None]],
) -> None:
    everyone = [one(f"t{i}", *row) for i, row in enumerate(rows)]
    chosen = winner(everyone)
    if chosen is None:
        assert all(candidate.cost is None for candidate in everyone)
        return
    assert chosen.cost is not None
    for name in dominated_by(chosen, everyone):
        other = next(c for c in everyone if c.name == name)
        assert other.cost is not None
        assert other.cost.value == chosen.cost.value  # a tie that the p95 decided


def test_a_large_difference_is_a_percentage_below_100() -> None:
    chosen, rival = one("cheap", 1.0), one("dear", 1374.2)
    said = " ".join(what_would_change(chosen, [chosen, rival], {}, None))
    assert "fell by more than 99.9%." in said
