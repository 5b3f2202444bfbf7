from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from phi2sdk.analysis.statistics import (
    bootstrap_ratio,
    mean_over_prompts,
    quantile,
    smallest_n,
    wilson,
)

values = st.lists(st.floats(0, 1e6), min_size=1, max_size=300)
ps = st.sampled_from([0.5, 0.9, 0.95, 0.99])


@given(values, ps)
def test_the_quantile_is_an_order_statistic_inside_its_interval(
    found: list[float], p: float
) -> None:
    q = quantile(found, p)
    assert q.value in found
    assert sum(v <= q.value for v in found) >= p * len(found) - 1e-9
    if q.low is not None and q.high is not None:
        assert q.low <= q.value <= q.high


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=300), ps)
def test_the_interval_is_that_of_scipy(found: list[float], p: float) -> None:
    theirs = stats.quantile_test(found, p=p).confidence_interval(0.95)
    mine = quantile(found, p)
    for ours, other in ((mine.low, theirs.low), (mine.high, theirs.high)):
        if math.isnan(theirs.low) or math.isnan(theirs.high):
            assert ours is None
        else:
            assert ours == other


def test_the_fewest_values_for_an_interval_are_known() -> None:
    assert (smallest_n(0.5), smallest_n(0.95)) == (6, 72)
    assert quantile(range(71), 0.95).low is None
    assert quantile(range(72), 0.95).low is not None


def test_what_never_came_ranks_last_and_is_said_to_be_above_the_limit() -> None:
    found = [1.0] * 90 + [math.inf] * 10
    assert quantile(found, 0.5, limit=60).value == 1.0
    late = quantile(found, 0.95, limit=60)
    assert (late.value, late.censored_above, late.high) == (None, 60, None)
    edge = quantile(found, 0.9, limit=60)
    assert (edge.value, edge.censored_above, edge.high) == (1.0, None, None)
    assert edge.low == 1.0


@given(st.lists(st.floats(0, 100), min_size=6, max_size=40), st.integers(2, 5))
def test_repeating_every_value_leaves_the_interval_where_it_was(
    found: list[float], times: int
) -> None:
    once = quantile(found, 0.5)
    often = quantile(np.repeat(found, times), 0.5, prompts=len(found))
    assert (often.low, often.high) == (once.low, once.high)


def coverage(draw: str, p: float, n: int, repetitions: int, runs: int = 400) -> float:
    rng = np.random.default_rng(1)
    truth = {"lognormal": stats.lognorm(1.0).ppf(p)}[draw]
    hits = 0
    for _ in range(runs):
        centre = rng.standard_normal(n)
        inner = rng.standard_normal((n, repetitions))
        share = 0.5  # half of the variance lies between prompts
        x = np.exp(math.sqrt(share) * centre[:, None] + math.sqrt(1 - share) * inner)
        q = quantile(x.ravel(), p, prompts=n)
        assert q.low is not None
        assert q.high is not None
        hits += q.low <= truth <= q.high
    return hits / runs


@pytest.mark.parametrize("p", [0.5, 0.95])
@pytest.mark.parametrize("repetitions", [1, 3])
def test_intervals_of_quantiles_cover_as_often_as_they_say(p: float, repetitions: int) -> None:
    rate = coverage("lognormal", p, 100, repetitions)
    assert stats.binomtest(round(rate * 400), 400, 0.95, "less").pvalue > 0.01


@given(st.integers(6, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_scipys(case: tuple[int, int]) -> None:
    successes, n = case
    theirs = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    mine = wilson(successes, n)
    assert mine.low == pytest.approx(theirs.low, abs=1e-9)
    assert mine.high == pytest.approx(theirs.high, abs=1e-9)


def test_no_interval_comes_from_fewer_prompts_than_a_median_needs() -> None:
    few, enough = [0.0, 1.0] * 2 + [1.0], [0.0, 1.0] * 3
    for scores, has_interval in ((few, False), (enough, True)):
        n = len(scores)
        estimates = (
            wilson(round(sum(scores)), n),
            mean_over_prompts(scores),
            mean_over_prompts([1.0] * n),
            bootstrap_ratio(scores, [1.0] * n),
            quantile(scores, 0.5),
        )
        for found in estimates:
            assert found is not None
            assert (found.low is not None and found.high is not None) == has_interval


def test_a_mean_of_equal_scores_has_wilsons_interval_and_not_nan() -> None:
    perfect = mean_over_prompts([1.0] * 24)
    assert perfect.value == 1.0
    assert perfect.low == pytest.approx(wilson(24, 24).low)
    assert perfect.high == 1.0
    assert mean_over_prompts([0.4]).low is None


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=6, max_size=60))
def test_the_interval_of_a_mean_stays_in_its_range(scores: list[float]) -> None:
    found = mean_over_prompts(scores)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.high <= 1


def test_a_ratio_of_sums_is_bootstrapped_over_prompts() -> None:
    found = bootstrap_ratio([2.0] * 50, [1.0] * 50)
    assert found is not None
    assert (found.value, found.low, found.high) == (2.0, 2.0, 2.0)
    assert bootstrap_ratio([1.0], [0.0]) is None
    rare = bootstrap_ratio([1.0] * 6, [1.0, 0, 0, 0, 0, 0])
    assert rare is not None
    assert rare.high is None  # a third of the resamples have no acceptable answer
