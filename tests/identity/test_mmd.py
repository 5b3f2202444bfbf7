"""The statistic against its definition, its p-value against all labellings there are."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from itertools import combinations, product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from phi2sdk.identity.mmd import mmd_test

Answers = Mapping[str, Sequence[str]]

texts = st.lists(st.text(alphabet="ab\U0001f642\x00 ", max_size=6), min_size=1, max_size=4)
sides = st.dictionaries(st.sampled_from("pqr"), texts, max_size=3)


def by_definition(a: Answers, b: Answers) -> float:
    """Pair by pair, in plain Python."""
    width = max(len(text) for side in (a, b) for answers in side.values() for text in answers)

    def alike(x: str, y: str) -> float:
        padded = zip(x.ljust(width, "\uffff"), y.ljust(width, "\uffff"), strict=True)
        return sum(c == d for c, d in padded) / width

    def within(side: Answers) -> float:
        pairs = [alike(*pair) for answers in side.values() for pair in combinations(answers, 2)]
        return sum(pairs) / len(pairs) if pairs else 0.0

    across = [alike(x, y) for prompt in a for x, y in product(a[prompt], b[prompt])]
    return within(a) - 2 * sum(across) / len(across) + within(b)


def labellings(a: Answers, b: Answers) -> list[tuple[Answers, Answers]]:
    """Every way to share each prompt's answers out between the sides."""
    ways = []
    for prompt in a:
        pooled = [*a[prompt], *b[prompt]]
        chosen = combinations(range(len(pooled)), len(a[prompt]))
        ways.append(
            [
                (
                    prompt,
                    [pooled[i] for i in left],
                    [text for i, text in enumerate(pooled) if i not in left],
                )
                for left in chosen
            ]
        )
    return [
        ({prompt: left for prompt, left, _ in way}, {prompt: right for prompt, _, right in way})
        for way in product(*ways)
    ]


@given(sides, sides)
@settings(max_examples=60)
def test_the_statistic_is_that_of_the_definition(a: Answers, b: Answers) -> None:
    found = mmd_test(a, b, permutations=20)
    a, b = {p: a[p] for p in a if p in b}, {p: b[p] for p in b if p in a}
    assert found.prompts == len(a)
    assert (found.n_a, found.n_b) == (sum(map(len, a.values())), sum(map(len, b.values())))
    assert 1 / 21 <= found.p <= 1
    if any(text for side in (a, b) for answers in side.values() for text in answers):
        assert found.statistic == pytest.approx(by_definition(a, b), abs=1e-12)
    else:
        assert (found.statistic, found.p) == (0, 1)


def test_p_is_the_share_of_labellings_that_are_at_least_as_far_apart() -> None:
    a = {"p": ["aab", "aaa", "aba"], "q": ["cc", "cd"]}
    b = {"p": ["bbb", "abb", "bab"], "q": ["dd", "de", "ee"]}
    every = [by_definition(*way) for way in labellings(a, b)]
    exact = sum(value >= by_definition(a, b) - 1e-12 for value in every) / len(every)
    found = mmd_test(a, b, permutations=20_000)
    assert len(every) == math.comb(6, 3) * math.comb(5, 2)
    assert found.p == pytest.approx(exact, abs=4 * math.sqrt(exact * (1 - exact) / 20_000))


def test_no_level_is_exceeded_when_the_labels_mean_nothing() -> None:
    a, b = {"p": ["ab", "ba"], "q": ["x", "yy"]}, {"p": ["bb", "aa"], "q": ["xy", "y", "x"]}
    p = [mmd_test(*way, permutations=2_000).p for way in labellings(a, b)]
    for level in (0.05, 0.1, 0.25, 0.5):
        assert sum(value <= level for value in p) / len(p) <= level + 0.02


def test_false_alarms_are_as_rare_as_promised_and_a_difference_is_found() -> None:
    rng = random.Random(0)

    def side(letters: str, n: int) -> Answers:
        return {
            str(prompt): ["".join(rng.choices(letters, k=12)) for _ in range(n)]
            for prompt in range(8)
        }

    runs = 400
    alarms = sum(
        mmd_test(side("abcd", 2), side("abcd", 5), permutations=99, seed=run).p <= 0.05
        for run in range(runs)
    )
    assert stats.binomtest(alarms, runs, 0.05).pvalue > 0.01
    assert mmd_test(side("aabcd", 20), side("abcd", 20), permutations=999).p <= 0.001


def test_one_answer_a_prompt_is_enough_against_several() -> None:
    same = {str(i): ["a" * i + "b"] for i in range(10)}
    several = {str(i): ["a" * i + "b", "b" * i + "b"] for i in range(10)}
    other = {str(i): ["c" * i + "d"] for i in range(10)}
    assert mmd_test(same, several, permutations=999).p > 0.05
    assert mmd_test(other, several, permutations=999).p <= 0.001


def test_where_nothing_can_be_permuted_there_is_no_evidence() -> None:
    assert mmd_test({}, {}).p == 1
    assert mmd_test({"p": ["a"]}, {"q": ["b"]}).prompts == 0
    assert mmd_test({"p": ["a"]}, {"p": ["b"]}).p == 1
    assert mmd_test({"p": ["", ""]}, {"p": [""]}).statistic == 0
    assert mmd_test({"p": []}, {"p": ["b"]}).p == 1
    with pytest.raises(ValueError, match="permutation"):
        mmd_test({}, {}, permutations=0)


def test_half_a_surrogate_pair_is_a_character_like_any_other() -> None:
    found = mmd_test({"p": ["\ud83d", "\ud83d"]}, {"p": ["\ude42", "\ude42"]})
    assert found.statistic == 2


def test_the_same_seed_gives_the_same_p() -> None:
    a, b = {"p": ["ab", "cd", "ef"]}, {"p": ["ab", "gh", "ij"]}
    first = mmd_test(a, b, permutations=50, seed=1)
    assert first == mmd_test(a, b, permutations=50, seed=1)
