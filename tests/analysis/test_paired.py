from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from phi2sdk.analysis.paired import compare_paired, holm, judge_all, log_ratios

Values = dict[str, list[float]]


def drawn(
    rng: np.random.Generator, n: int, shift: float = 0.0, repetitions: int = 1, noise: float = 0.3
) -> tuple[Values, Values]:
    """Two targets on n prompts; B takes ``exp(shift)`` times as long as A."""
    base = rng.standard_normal(n)
    sides = [base[:, None] + noise * rng.standard_normal((n, repetitions)) for _ in range(2)]
    a = {str(i): [float(x) for x in np.exp(sides[0][i])] for i in range(n)}
    b = {str(i): [float(x) for x in np.exp(sides[1][i] + shift)] for i in range(n)}
    return a, b


def verdict(a: Values, b: Values, error: float | None = None, margin: float = 0.05) -> str:
    found = {"a:b": compare_paired(a, b, margin=margin)}
    return judge_all(found, {"a:b": error})["a:b"].verdict


def test_a_target_that_is_faster_on_every_prompt_is_faster() -> None:
    a = {str(i): [1.0 + i / 100] for i in range(20)}
    b = {str(i): [0.5 + i / 200] for i in range(20)}
    pair = compare_paired(a, b)
    assert pair.ratio == pytest.approx(0.5)
    assert verdict(a, b) == "faster"
    assert verdict(b, a) == "slower"


def test_equal_targets_are_equivalent_where_there_are_enough_prompts() -> None:
    rng = np.random.default_rng(0)
    a, b = drawn(rng, 400, noise=0.05)
    assert verdict(a, b) == "equivalent"


def test_a_few_noisy_prompts_show_nothing_and_say_how_many_would() -> None:
    rng = np.random.default_rng(1)
    a, b = drawn(rng, 12, shift=0.1, noise=0.5)
    found = judge_all({"a:b": compare_paired(a, b)}, {})["a:b"]
    assert found.verdict == "not shown"
    assert found.prompts_needed is not None
    assert found.prompts_needed > 12


def test_a_difference_below_twice_the_measurement_error_is_not_resolvable() -> None:
    a = {str(i): [0.0100] for i in range(30)}
    b = {str(i): [0.0120] for i in range(30)}
    assert verdict(a, b, error=0.0005) == "slower"
    assert verdict(a, b, error=0.0015) == "not resolvable"


def test_one_sided_failures_rank_at_the_end_and_two_sided_ones_are_left_out() -> None:
    a: Values = {"p": [1.0], "q": [math.inf], "r": [math.inf], "s": [1.0]}
    b: Values = {"p": [math.inf], "q": [1.0], "r": [math.inf], "s": [2.0]}
    d, _, left_out = log_ratios(a, b)
    assert sorted(d) == [-math.inf, pytest.approx(math.log(2)), math.inf]
    assert left_out == 1


def test_a_target_that_mostly_fails_is_slower_although_no_ratio_exists() -> None:
    a = {str(i): [1.0] for i in range(20)}
    b = {str(i): [math.inf if i < 15 else 1.0] for i in range(20)}
    pair = compare_paired(a, b)
    assert pair.ratio is None
    assert verdict(a, b) == "slower"
    assert verdict(b, a) == "faster"


def test_nothing_in_common_shows_nothing() -> None:
    assert verdict({"p": [1.0]}, {"q": [1.0]}) == "not shown"
    assert verdict({}, {}) == "not shown"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_never_rejects_more_than_bonferroni_allows_nor_less(p: list[float]) -> None:
    adjusted = holm(p)
    for raw, one in zip(p, adjusted, strict=True):
        assert raw <= one <= 1
        assert one <= min(1.0, raw * len(p)) + 1e-12 or one == max(adjusted)
    order = sorted(range(len(p)), key=lambda i: p[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(st.text(max_size=3), st.floats(0.01, 100), min_size=7, max_size=40))
def test_swapping_two_targets_turns_the_ratio_over(values: dict[str, float]) -> None:
    a = {prompt: [1.0] for prompt in values}
    b = {prompt: [value] for prompt, value in values.items()}
    forth, back = compare_paired(a, b), compare_paired(b, a)
    assert forth.ratio is not None
    assert back.ratio == pytest.approx(1 / forth.ratio)
    assert forth.p == pytest.approx(back.p)
    assert forth.favours_b is None or forth.favours_b != back.favours_b


def test_the_p_value_is_scipys() -> None:
    a, b = drawn(np.random.default_rng(3), 30, shift=0.1)
    d, _, _ = log_ratios(a, b)
    assert compare_paired(a, b).p == pytest.approx(stats.wilcoxon(d).pvalue)


@pytest.mark.parametrize("repetitions", [1, 3])
def test_the_interval_of_a_ratio_covers_as_often_as_it_says(repetitions: int) -> None:
    rng, runs, hits = np.random.default_rng(4), 300, 0
    for _ in range(runs):
        pair = compare_paired(*drawn(rng, 60, shift=0.1, repetitions=repetitions))
        assert pair.low is not None
        assert pair.high is not None
        hits += pair.low <= math.exp(0.1) <= pair.high
    assert stats.binomtest(hits, runs, 0.95, "less").pvalue > 0.01


def test_equal_targets_are_seldom_called_faster() -> None:
    rng, runs, false = np.random.default_rng(5), 100, 0
    for _ in range(runs):
        base = rng.standard_normal(40)
        values = [
            {str(i): [float(np.exp(base[i] + 0.3 * rng.standard_normal()))] for i in range(40)}
            for _ in range(4)
        ]
        found = {
            f"{i}:{j}": compare_paired(values[i], values[j])
            for i in range(4)
            for j in range(i + 1, 4)
        }
        false += any(p.verdict in ("faster", "slower") for p in judge_all(found, {}).values())
    assert stats.binomtest(false, runs, 0.05, "greater").pvalue > 0.01


def test_the_number_of_prompts_that_it_names_does_settle_it() -> None:
    rng = np.random.default_rng(6)
    named = compare_paired(*drawn(rng, 200, shift=0.15, noise=0.3)).prompts_needed
    assert named is not None
    n = round(1.57 * ((1.96 + 0.84) * 0.3 * math.sqrt(2) / 0.15) ** 2)
    assert 0.5 * n < named < 2 * n or named == 201
    shown = sum(verdict(*drawn(rng, n, shift=0.15)) == "slower" for _ in range(60))
    assert shown >= 0.65 * 60  # planned for a power of 0.8


def test_targets_that_fail_on_each_others_prompts_are_not_shown_to_differ() -> None:
    never = math.inf
    a = {f"p{i}": [never if i % 2 else 1.0] for i in range(8)}
    b = {f"p{i}": [1.0 if i % 2 else never] for i in range(8)}
    found = compare_paired(a, b)
    assert (found.pairs, found.ratio, found.favours_b) == (8, 1.0, None)
    assert found.difference == 0
