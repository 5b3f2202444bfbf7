"""Scores and paired comparisons, against published figures, scipy, and simulation."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from phi2sdk.analysis.evaluation import (
    PairedScores,
    Values,
    compare_scores,
    judge_scores,
    paired_difference,
    score,
)
from phi2sdk.analysis.statistics import Estimate, wilson

Counts = tuple[int, int, int]


def compared(a: Values, b: Values, *, bounded: bool = True) -> PairedScores:
    found = compare_scores([a], [b], bounded=bounded)
    assert found is not None
    return found


def ends(found: Estimate | None) -> tuple[float, float]:
    assert found is not None
    assert found.low is not None
    assert found.high is not None
    return found.low, found.high


# Complete response (Cavo et al. 2012) and airway hyper-responsiveness (Bentur et al. 2009), with
# the results of Fagerland, Lydersen and Laake, Statistical Analysis of Contingency Tables (2017).
@pytest.mark.parametrize(
    ("only_a", "only_b", "n", "low", "high"),
    [(16, 6, 161, -0.1240, -0.0054), (7, 1, 21, -0.5172, -0.0260)],
)
def test_the_interval_of_a_paired_difference_is_the_published_one(
    only_a: int, only_b: int, n: int, low: float, high: float
) -> None:
    found = paired_difference(only_a, only_b, n)
    assert found.value == (only_b - only_a) / n
    assert ends(found) == pytest.approx((low, high), abs=5e-5)


@st.composite
def counts(draw: st.DrawFn) -> Counts:
    n = draw(st.integers(6, 3000))
    only_a = draw(st.integers(0, n))
    return only_a, draw(st.integers(0, n - only_a)), n


@given(counts())
def test_an_interval_contains_the_difference_and_is_mirrored_with_the_targets(
    found: Counts,
) -> None:
    only_a, only_b, n = found
    low, high = ends(paired_difference(only_a, only_b, n))
    assert -1 <= low <= (only_b - only_a) / n <= high <= 1
    assert low < high
    mirrored = ends(paired_difference(only_b, only_a, n))
    assert mirrored == pytest.approx((-high, -low), abs=1e-9)


@pytest.mark.parametrize(
    ("n", "only_a", "only_b"),
    [(50, 0.3, 0.1), (100, 0.1, 0.1), (300, 0.01, 0.01), (300, 0.02, 0.0), (1000, 0.002, 0.001)],
)
def test_intervals_contain_the_true_difference_in_95_percent_of_runs(
    n: int, only_a: float, only_b: float
) -> None:
    """Exactly: the probabilities of all tables in which the interval contains the difference."""
    covered = 0.0
    least = int(stats.binom.ppf(1e-5, n, only_a)), int(stats.binom.ppf(1e-5, n, only_b))
    most = int(stats.binom.isf(1e-5, n, only_a)), int(stats.binom.isf(1e-5, n, only_b))
    for x in range(least[0], most[0] + 1):
        for y in range(least[1], min(most[1], n - x) + 1):
            low, high = ends(paired_difference(x, y, n))
            if low <= only_b - only_a <= high:
                rest = 1 - only_a - only_b
                covered += float(
                    stats.multinomial.pmf([x, y, n - x - y], n, [only_a, only_b, rest])
                )
    assert covered > 0.94


def test_items_that_are_right_or_wrong_are_compared_by_the_exact_test_of_mcnemar() -> None:
    a = [1.0] * 59 + [1.0] * 16 + [0.0] * 6 + [0.0] * 80
    b = [1.0] * 59 + [0.0] * 16 + [1.0] * 6 + [0.0] * 80
    found = compared(a, b)
    assert (found.only_a, found.only_b, found.items, found.failed) == (16, 6, 161, 0)
    assert found.p == pytest.approx(2 * sum(comb(22, k) for k in range(7)) / 2**22)
    assert found.difference == paired_difference(16, 6, 161)


@pytest.mark.parametrize("differ", [1, 5, 20, 60])
def test_two_equal_targets_differ_significantly_in_at_most_5_percent_of_runs(differ: int) -> None:
    """Exactly: given the items on which they differ, each target is right on half of them."""
    size = 0.0
    for only_b in range(differ + 1):
        a = [1.0] * (differ - only_b) + [0.0] * only_b + [1.0] * 40
        b = [0.0] * (differ - only_b) + [1.0] * only_b + [1.0] * 40
        if compared(a, b).p <= 0.05:
            size += comb(differ, only_b) / 2**differ
    assert size <= 0.05


def test_fewer_than_six_items_have_no_interval() -> None:
    assert paired_difference(0, 5, 5) == Estimate(1.0)


@pytest.mark.parametrize(
    "differences", [[0.1, 0.2, 0.3, 0.4, -0.1], [0.5, 0.25, -0.125, 1.0], [0.25] * 8, [0.0, 0.0]]
)
@pytest.mark.parametrize("equal", [0, 100])
def test_other_items_are_compared_with_all_signs_of_few_differences(
    differences: Sequence[float], equal: int
) -> None:
    found = compared([0.0] * (len(differences) + equal), [*differences, *[0.0] * equal])
    assert (found.only_a, found.only_b) == (None, None) or not any(differences)
    assert found.p == pytest.approx(_permutation(differences))


def test_many_differences_are_compared_with_random_signs() -> None:
    differences = np.random.default_rng(4).normal(0.02, 0.1, 80)
    found = compared([0.0] * 80, list(differences), bounded=False)
    assert found.p == pytest.approx(_permutation(differences), abs=0.02)
    assert 0.01 < found.p < 0.5
    # The observed signs count as one of the 10,000 patterns, so no p-value is 0.
    assert compared([0.0] * 40, [0.5] * 20 + [0.25] * 20).p == 1 / 10_000


def _permutation(differences: Sequence[float] | np.ndarray) -> float:
    return float(
        stats.permutation_test(
            (differences,),
            lambda sample, axis: np.mean(sample, axis=axis),
            permutation_type="samples",
            vectorized=True,
            rng=np.random.default_rng(1),
        ).pvalue
    )


def test_a_score_of_right_and_wrong_items_has_the_interval_of_wilson() -> None:
    assert score([[1.0] * 70 + [0.0] * 30]) == wilson(70, 100)
    assert score([[None, None]]) is None


def test_failed_items_count_as_wrong_below_and_as_right_above() -> None:
    found = score([[1.0] * 70 + [0.0] * 20 + [None] * 10])
    assert found is not None
    assert found.value == 70 / 90
    assert ends(found) == (wilson(70, 100).low, wilson(80, 100).high)


def test_a_target_gains_nothing_by_failing_on_the_items_that_it_gets_wrong() -> None:
    a = [1.0] * 50 + [0.0] * 50
    wrong: Values = [1.0] * 80 + [0.0] * 20
    failing: Values = [1.0] * 80 + [None] * 20
    assert compared(a, failing).p == compared(a, wrong).p < 1e-6
    hidden = compared(a, [1.0] * 45 + [None] * 55)
    assert (hidden.failed, hidden.p) == (55, 1.0)
    assert ends(hidden.difference)[0] < 0 < ends(hidden.difference)[1]


def test_a_failure_counts_alike_whichever_target_fails() -> None:
    a: Values = [1.0] * 60 + [0.0] * 30 + [None] * 10
    b = [1.0] * 40 + [0.0] * 60
    one, other = compared(a, b), compared(b, a)
    assert one.p == other.p
    low, high = ends(one.difference)
    assert ends(other.difference) == pytest.approx((-high, -low))
    assert low < ends(compared(a[:90], b[:90]).difference)[0]


def test_without_bounds_failed_items_are_left_out() -> None:
    found = score([[2.0, 3.0, None]], bounded=False)
    assert found == Estimate(2.5)
    a = [2.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0]
    b = [2.5, 3.7, 5.5, 7.1, 9.5, 11.9, 13.5]
    paired = compared([*a, None, 9.0], [*b, 4.0, None], bounded=False)
    assert (paired.items, paired.failed) == (7, 2)
    assert (paired.difference, paired.p) == (
        compared(a, b, bounded=False).difference,
        compared(a, b, bounded=False).p,
    )


def test_targets_without_a_common_item_are_not_compared() -> None:
    assert compare_scores([[1.0, None]], [[None, 0.0]]) is None
    assert compare_scores([[1.0, 1.0], [1.0, None]], [[1.0, 0.0], [None, 0.0]]) is None


def test_the_score_of_a_group_is_the_mean_of_its_parts_and_its_interval_holds() -> None:
    chance = np.random.default_rng(7)
    rates, sizes = (0.3, 0.6, 0.95), (40, 200, 90)
    held, found = 0, None
    for _ in range(400):
        parts = [
            [float(x) for x in chance.random(n) < p] for p, n in zip(rates, sizes, strict=True)
        ]
        found = score(parts)
        assert found is not None
        low, high = ends(found)
        held += low <= sum(rates) / 3 <= high
    assert found is not None
    assert found.value == pytest.approx(np.mean([np.mean(part) for part in parts]))
    assert 0.92 <= held / 400 <= 0.99


def test_the_interval_of_a_group_combines_those_of_its_parts() -> None:
    parts = [[1.0] * 30 + [0.0] * 10, [1.0] * 50 + [0.0] * 150]
    found = score(parts)
    assert found is not None
    assert found.value == 0.5
    (low, high), (less, more) = ends(wilson(30, 40)), ends(wilson(50, 200))
    assert ends(found) == pytest.approx(
        (
            0.5 - ((0.75 - low) ** 2 + (0.25 - less) ** 2) ** 0.5 / 2,
            0.5 + ((high - 0.75) ** 2 + (more - 0.25) ** 2) ** 0.5 / 2,
        )
    )
    assert score([*parts, [None] * 9]) == Estimate(0.5)


def test_groups_are_compared_by_the_means_of_their_parts() -> None:
    # B is better on 10 of 20 items of the first part, and worse on 20 of 400 of the second.
    a = [[0.0] * 20, [1.0] * 400]
    b = [[1.0] * 10 + [0.0] * 10, [0.0] * 20 + [1.0] * 380]
    found = compare_scores(a, b)
    assert found is not None
    assert found.difference.value == pytest.approx((0.5 - 0.05) / 2)
    assert (found.only_a, found.only_b) == (20, 10)
    assert ends(found.difference)[0] > 0
    assert found.p < 0.01


def test_verdicts_follow_the_adjusted_p_and_the_direction_of_the_metric() -> None:
    def pair(only_a: int, only_b: int) -> PairedScores:
        values = [1.0] * only_a + [0.0] * only_b + [1.0] * 60
        return compared(values, [0.0] * only_a + [1.0] * only_b + [1.0] * 60)

    pairs = {"worse": pair(12, 0), "small": pair(7, 0), "same": pair(3, 3), "lower": pair(14, 0)}
    assert pairs["small"].p < 0.05
    judged = judge_scores(pairs, lower_is_better={name: name == "lower" for name in pairs})
    assert {name: one.verdict for name, one in judged.items()} == {
        "worse": "worse",
        "small": "worse",
        "same": "not shown",
        "lower": "better",
    }
    # With ten more comparisons, seven items are no longer significant.
    more = pairs | {f"same {number}": pair(3, 3) for number in range(10)}
    again = judge_scores(more, lower_is_better=dict.fromkeys(more, False))
    assert again["small"].verdict == "not shown"
    assert again["small"].p_adjusted == pytest.approx(12 * pairs["small"].p)
