"""Tests without a list of candidates: word pairs, and tokens against their expectation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from scipy.special import softmax

from phi2sdk.identity import omnibus
from phi2sdk.identity.call_table import CallTable, Floats, Ints
from phi2sdk.identity.instruments import against_control
from phi2sdk.identity.omnibus import squared_length, word_pairs
from phi2sdk.identity.permutation import centered, family
from phi2sdk.identity.verdict import run_tests
from tests.identity.simulated import WORDS, draw, logits, table

PROMPTS, TOKENS = 6, 20
RUNS, ALPHA = 100, 0.05
SEED = 3
REFERENCE = logits(PROMPTS, TOKENS, np.random.default_rng(SEED))
GREEN = np.random.default_rng(4).random(WORDS) < 0.5


def calls(rng: np.random.Generator, each: int, favor: float = 0.0) -> CallTable:
    """Calls whose author adds a constant to the logits of half of the words, as a watermark."""
    x = np.tile(REFERENCE, (each, 1, 1))
    words = draw(x + favor * GREEN, rng)
    found = table(x, words, candidates={"int4": x + rng.normal(0, 0.3, x.shape)})
    return replace(
        found,
        prompt=np.tile(np.arange(PROMPTS), each),
        texts=tuple(" ".join(f"w{word}" for word in row) for row in words.tolist()),
        residuals=counts(words) - softmax(x, -1).sum(1),
    )


def counts(words: Ints) -> Floats:
    return np.asarray((words[..., None] == np.arange(WORDS)).sum(1), dtype=np.float64)


def test_word_pairs_are_weighted_by_how_few_texts_have_them() -> None:
    found = word_pairs(["The sea is deep.", "the sea, the sea", "rain"])
    assert found.shape == (3, 1)  # every other pair is in one text only
    assert found[:, 0] == pytest.approx([np.log(3 / 2), np.log(3 / 2), 0])
    assert word_pairs([]).size == word_pairs(["rain", "sea"]).size == 0


def test_many_word_pairs_keep_their_inner_products_on_average(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = calls(np.random.default_rng(1), 20).texts
    exact = word_pairs(texts)
    monkeypatch.setattr(omnibus, "COLUMNS", 64)
    folded = word_pairs(texts)
    assert folded.shape == (len(texts), 64)
    assert exact.shape[1] > 64
    products, others = exact @ exact.T, folded @ folded.T
    assert np.trace(others) == pytest.approx(np.trace(products), rel=0.1)
    assert others.mean() == pytest.approx(products.mean(), rel=0.25)


@pytest.mark.parametrize("k", [3, 30])
def test_the_squared_length_is_that_of_the_targets_sum_for_few_and_for_many_features(
    k: int,
) -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(12, k))
    labels = rng.integers(0, 2, (7, 12)).astype(np.float32)
    expected = ((labels @ values) ** 2).sum(axis=1)
    assert squared_length(values)(labels) == pytest.approx(expected, rel=1e-4)


def test_each_test_and_all_together_have_their_size() -> None:
    rng = np.random.default_rng(6)
    p: dict[str, list[float]] = {}
    for seed in range(RUNS):
        found = against_control(
            calls(rng, 4), calls(rng, 8), "float32", permutations=199, seed=seed
        )
        assert found is not None
        for name, value in {**found.family.alone, "all": found.family.p}.items():
            p.setdefault(name, []).append(value)
    assert set(p) == {"score", "line-up", "routing", "mmd", "bigrams", "tokens", "all"}
    for name, values in p.items():
        rejected = int((np.array(values) <= ALPHA).sum())
        assert stats.binomtest(rejected, RUNS, ALPHA).pvalue > 0.001, name
        assert stats.kstest(values, "uniform").pvalue > 0.001, name


def test_a_watermark_is_found_by_the_frequencies_of_tokens_and_no_candidate_is_named() -> None:
    rng = np.random.default_rng(7)
    control = {"float32": calls(rng, 20)}
    honest, marked = calls(rng, 10), calls(rng, 10, favor=0.8)
    fair, found = (run_tests(one, control, permutations=1999) for one in (honest, marked))
    assert fair is not None
    assert found is not None
    assert fair.p > ALPHA
    assert found.p <= 0.01
    assert found.instruments["tokens"].p == found.p
    assert found.instruments["tokens"].statistic > 3
    assert found.named(ALPHA) is None


def test_answers_that_end_earlier_are_no_evidence() -> None:
    rng = np.random.default_rng(8)
    rejected = 0
    for seed in range(60):
        both = calls(rng, 12)
        shorter = np.arange(len(both)) % 3 == 0
        tokens = np.where(shorter, 16, TOKENS)
        texts = [
            " ".join(text.split()[:end])
            for text, end in zip(both.texts, tokens.tolist(), strict=True)
        ]
        values = centered(word_pairs(texts), tokens, both.prompt)
        statistics = {"bigrams": squared_length(values)}
        p = family(statistics, shorter, both.prompt, permutations=99, seed=seed).p
        rejected += p <= ALPHA
    assert rejected <= stats.binom.ppf(0.99, 60, ALPHA)


def test_tables_without_texts_and_residuals_have_no_such_test() -> None:
    rng = np.random.default_rng(9)
    plain = replace(calls(rng, 4), texts=(), residuals=None)
    found = against_control(plain, plain, "float32", permutations=99)
    assert found is not None
    assert set(found.family.alone) == {"score", "line-up", "routing"}
    mixed = against_control(plain, calls(rng, 4), "float32", permutations=99)
    assert mixed is not None
    assert "tokens" not in mixed.family.alone
