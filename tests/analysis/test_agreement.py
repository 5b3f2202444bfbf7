from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.analysis.agreement import (
    agreement,
    common_prefix,
    edit_similarity,
    pair_up,
    prefix_fraction,
)
from phi2sdk.measure.tokens import estimating_tokenizer
from tests.measure.making import answer, failure

tokens = st.lists(st.integers(0, 3), max_size=12)
TOKENIZER = estimating_tokenizer()


def compared(a: str, b: str, raw_a: str | None = None, raw_b: str | None = None) -> object:
    return agreement(pair_up([answer(text=a, raw=raw_a)], [answer(text=b, raw=raw_b)]), TOKENIZER)


@given(tokens, tokens)
def test_measures_are_symmetric_and_in_range(a: list[int], b: list[int]) -> None:
    for measure in (prefix_fraction, edit_similarity):
        assert measure(a, b) == measure(b, a)
        assert 0 <= measure(a, b) <= 1
        assert measure(a, a) == 1
    assert common_prefix(a, b) <= min(len(a), len(b))
    assert edit_similarity(a, b) >= prefix_fraction(a, b) - 1e-12


def test_both_empty_agree_and_one_empty_does_not() -> None:
    assert prefix_fraction([], []) == edit_similarity([], []) == 1
    assert prefix_fraction([], [1]) == edit_similarity([], [1]) == 0


def test_answers_that_are_far_too_long_are_still_compared() -> None:
    """A provider may send 10 MB; to align two million tokens would take an hour."""
    long = [n % 7 for n in range(2_000_000)]
    assert edit_similarity(long, long) == 1
    assert edit_similarity(long, [8, *long[1:-1], 8]) == pytest.approx(1 - 2 / 2e6, rel=1e-12)
    assert edit_similarity(long, long[:1000]) == pytest.approx(1000 / 2e6)


@pytest.mark.parametrize(
    ("raw_a", "raw_b", "tiers"),
    [
        ("caf\u00e9", "caf\u00e9", (1, 1, 1)),
        ("caf\u00e9", " cafe\u0301\n", (0, 1, 1)),
        ("caf\u00e9", "caf\u00e9\nInstruct: more", (0, 0, 1)),
        ("caf\u00e9", "tea", (0, 0, 0)),
    ],
)
def test_exactness_has_three_tiers(raw_a: str, raw_b: str, tiers: tuple[int, ...]) -> None:
    cut = raw_b.split("\nInstruct")[0].strip()
    found = agreement(pair_up([answer(text=raw_a)], [answer(text=cut, raw=raw_b)]), TOKENIZER)
    rates = (found.exact_bytes, found.exact_normalized, found.exact_cut)
    assert tuple(rate.value for rate in rates if rate) == tiers


def test_a_prompt_is_exact_only_if_all_its_repetitions_are() -> None:
    a = [answer("p", repetition=r, text="same") for r in (0, 1)]
    b = [answer("p", repetition=0, text="same"), answer("p", repetition=1, text="other")]
    found = agreement(pair_up(a, b), TOKENIZER)
    assert found.prompts == 1
    assert found.exact_cut is not None
    assert found.exact_cut.value == 0


def test_prompts_without_an_answer_from_both_are_counted_and_left_out() -> None:
    found = agreement(pair_up([answer("p"), answer("q")], [answer("p"), failure("q")]), TOKENIZER)
    assert (found.prompts, found.missing) == (1, 1)
    nothing = agreement(pair_up([failure("p")], [answer("p")]), TOKENIZER)
    assert (nothing.prompts, nothing.missing, nothing.edit_similarity) == (0, 1, None)


def test_divergence_is_told_in_tokens_and_only_where_most_diverge() -> None:
    same = [answer(f"s{i}", text="a b c") for i in range(3)]
    other = [answer(f"s{i}", text="a b c") for i in range(3)]
    assert agreement(pair_up(same, other), TOKENIZER).first_divergence is None
    parted = [answer(f"s{i}", text="a b d") for i in range(3)]
    found = agreement(pair_up(same, parted), TOKENIZER).first_divergence
    assert found is not None
    assert found.value == 2


def test_only_greedy_answers_are_compared() -> None:
    a = [answer("p", text="same"), answer("p", text="one way", arm="sampled")]
    b = [answer("p", text="same"), answer("p", text="another", arm="sampled")]
    found = agreement(pair_up(a, b), TOKENIZER)
    assert found.exact_bytes is not None
    assert (found.prompts, found.exact_bytes.value) == (1, 1)
