"""The chosen target, dominated targets, and the assumptions of the decision."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.analysis.breakeven import BreakEven
from phi2sdk.analysis.decision import Choice, dominated_by, what_would_change, winner
from phi2sdk.analysis.statistics import Estimate


def one(
    name: str,
    cost: float | None = 1.0,
    p95: float | None = 1.0,
    agreement: float | None = 1.0,
    identity: str = "not-tested",
    fails: tuple[str, ...] = (),
    **about: bool,
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
    assert any("dear costs 1.5 times" in line for line in said)
    assert any("unknown: cost unknown; below $2" in line for line in said)
    assert any("cheap is cheaper and fails" in line for line in said)


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
    assert "Below 100 a day b is cheaper." in said
    assert "From 900 a day on b is cheaper." in said
    assert any(
        "From 100 summaries a day on a" in s for s in what_would_change(a, [a, b], pairs, None)
    )


def test_overlapping_intervals_stale_prices_and_simulation_are_told() -> None:
    a, b = one("a", 1.0, stale=True), one("b", 1.1, simulated=True)
    said = " ".join(what_would_change(a, [a, b], {}, None))
    assert "overlap" in said
    assert "A new price for a: the one used is older than 180 days." in said
    assert "Real figures in place of simulated ones: these choose among emulators only." in said


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


def test_a_large_factor_is_written_out() -> None:
    chosen, rival = one("cheap", 1.0), one("dear", 1374.2)
    said = " ".join(what_would_change(chosen, [chosen, rival], {}, None))
    assert "dear costs 1,374 times as much" in said
