"""First divergence of answers: equal answers are censored, targets are compared by rank."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from phi2sdk.analysis.agreement import Divergence, common_prefix, part_differently

counts = st.lists(st.integers(0, 40), max_size=30).map(tuple)


def test_a_prompt_counts_once_and_parts_where_its_first_repetition_does() -> None:
    found = Divergence.of(
        [
            [([1, 2, 3], [1, 2, 4]), ([1, 2, 3], [1, 9, 9])],
            [([1, 2], [1, 2]), ([1, 2, 3], [1, 2, 3])],
            [([], [])],
            [([1], [])],
        ]
    )
    assert found == Divergence(parted=(1, 0), equal=(3, 0))


def test_equal_answers_are_censored_so_short_ones_do_not_pass_for_long_ones() -> None:
    # Of ten answers five part at 4, and five are equal but end at 2: nothing is known about 4.
    short = Divergence((4,) * 5, (2,) * 5).median()
    long = Divergence((4,) * 5, (40,) * 6).median()
    assert short is not None
    assert short.value == 4
    assert long is None


def test_without_censoring_it_is_the_lower_median() -> None:
    found = Divergence((1, 3, 5, 7, 9, 11, 13), ()).median()
    assert found is not None
    assert found.value == 7
    assert found.low is not None
    assert found.high is not None
    assert found.low < 7 < found.high


def test_few_prompts_have_a_median_but_no_interval() -> None:
    found = Divergence((3, 3, 3), ()).median()
    assert found is not None
    assert (found.value, found.low, found.high) == (3, None, None)


@given(counts, counts)
def test_the_interval_holds_the_median_and_nothing_is_undefined(
    parted: tuple[int, ...], equal: tuple[int, ...]
) -> None:
    found = Divergence(parted, equal).median()
    if found is None:
        return
    ends = (found.low, found.high)
    assert all(end is None or np.isfinite(end) for end in ends)
    assert (found.low is None) or found.low <= found.value
    assert (found.high is None) or found.value <= found.high


def test_the_interval_covers_the_median_that_is_true() -> None:
    rng = np.random.default_rng(0)
    truth, held = int(10 * np.log(2)), 0
    runs = 400
    for _ in range(runs):
        part = rng.exponential(10, 100).astype(int)
        length = rng.integers(5, 60, 100)
        seen = part < length
        found = Divergence(tuple(part[seen]), tuple(length[~seen])).median()
        assert found is not None
        low = -1.0 if found.low is None else found.low
        held += low <= truth <= (np.inf if found.high is None else found.high)
    assert stats.binomtest(held, runs, 0.95, alternative="less").pvalue > 0.01


def test_targets_that_part_at_different_places_are_told_apart() -> None:
    early, late = Divergence((1,) * 30, (50,) * 5), Divergence((20,) * 30, (50,) * 5)
    never = Divergence((), (50,) * 35)
    found = part_differently({"early": early, "same": early, "late": late, "never": never})
    assert found["early", "same"] == 1
    assert found["early", "late"] < 0.001
    assert found["late", "never"] < 0.001
    assert part_differently({"a": never, "b": never}) == {("a", "b"): 1}
    assert part_differently({"a": Divergence((), ()), "b": early}) == {("a", "b"): 1}


@given(counts, counts, counts, counts)
def test_p_is_always_a_probability(
    a: tuple[int, ...], b: tuple[int, ...], c: tuple[int, ...], d: tuple[int, ...]
) -> None:
    (p,) = part_differently({"x": Divergence(a, b), "y": Divergence(c, d)}).values()
    assert 0 <= p <= 1


@pytest.mark.parametrize(
    ("a", "b", "shared"), [([], [1], 0), ([1, 2], [1, 2, 3], 2), ([1], [2], 0)]
)
def test_the_common_prefix_ends_with_the_shorter(a: list[int], b: list[int], shared: int) -> None:
    assert common_prefix(a, b) == shared
