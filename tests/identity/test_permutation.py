"""Texts that do not re-tokenise to what was drawn: only the control keeps the tests honest."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from scipy import stats

from phi2sdk.identity import permutation
from phi2sdk.identity.call_table import CallTable, Floats
from phi2sdk.identity.instruments import against_control
from phi2sdk.identity.likelihood_tests import effective_temperature
from phi2sdk.identity.permutation import Family, Labels, family, greatest, residuals
from phi2sdk.identity.verdict import judge, run_tests
from tests.identity.simulated import draw, logits, table

RUNS, ALPHA, PROMPTS = 400, 0.05, 10
MOST = int(stats.binom.ppf(0.99, RUNS, ALPHA))
LEAST = int(stats.binom.ppf(0.01, RUNS, ALPHA))


def pool(temperature: float = 1.0, *, seed: int, calls: int = 3000) -> CallTable:
    """Calls in which some tokens differ from those that were drawn."""
    rng = np.random.default_rng(seed)
    x = logits(calls, 30, rng)
    words = draw(x / temperature, rng)
    spoiled = rng.random(words.shape) < 0.01
    words = np.where(spoiled, rng.integers(0, 40, words.shape), words)
    noise = rng.normal(0, 0.4, x.shape)
    found = table(x, words, candidates={"int4": x + noise})
    return replace(found, prompt=np.arange(calls) % PROMPTS)


OWN, OTHER = pool(seed=1), pool(seed=2)


def some(calls: CallTable, rng: np.random.Generator, size: int = 60) -> CallTable:
    return calls.take(rng.choice(len(calls), size, replace=False))


def test_without_a_control_re_encoded_text_accuses_the_honest() -> None:
    rng = np.random.default_rng(3)
    drawn = [some(OWN, rng) for _ in range(RUNS)]
    z = [one.drift["float32"].sum() / one.variance["float32"].sum() ** 0.5 for one in drawn]
    assert sum(2 * stats.norm.sf(abs(value)) <= ALPHA for value in z) > 2 * MOST


def test_against_a_control_every_test_has_its_size() -> None:
    rng = np.random.default_rng(4)
    rejected = dict.fromkeys(("score", "line-up", "routing", "all"), 0)
    for seed in range(RUNS):
        drawn = some(OWN, rng, 120)
        mine, own = drawn.take(range(60)), drawn.take(range(60, 120))
        found = against_control(mine, own, "float32", permutations=199, seed=seed)
        assert found is not None
        assert found.family.p == min(found.family.adjusted.values())
        for name, p in {**found.family.alone, "all": found.family.p}.items():
            rejected[name] += p <= ALPHA
    for name, count in rejected.items():
        assert LEAST <= count <= MOST, name


def test_against_a_control_a_lower_temperature_is_found_and_its_interval_covers_it() -> None:
    rng = np.random.default_rng(5)
    cold = pool(0.8, seed=6)
    control = some(OTHER, rng, 100)
    found = run_tests(some(cold, rng, 100), {"float32": control})
    honest = run_tests(some(OWN, rng, 100), {"float32": control})
    assert found is not None
    assert found.temperature is not None
    assert judge({"cold": found, "honest": honest})["cold"].name == "different"
    assert judge({"cold": found, "honest": honest})["honest"].name == "consistent"
    assert found.line_up.closest in ("T=0.8", "T=0.9")  # what came back wrong makes it look warmer
    covered = 0
    for _ in range(RUNS):
        t = effective_temperature(some(OWN, rng), some(OTHER, rng))
        assert t is not None
        assert t.low is not None
        assert t.high is not None
        covered += t.low <= 1 <= t.high
    assert covered >= stats.binom.ppf(0.01, RUNS, 0.95)


def test_tests_that_agree_cost_no_level_and_unrelated_ones_cost_what_chance_takes() -> None:
    rng = np.random.default_rng(8)
    target = np.arange(40) < 20
    prompt = np.zeros(40, dtype=np.int64)
    one = rng.normal(size=(40, 1)) + 0.7 * target[:, None]
    values = {"one": one, "same": 3 * one}
    values |= {str(at): rng.normal(size=(40, 1)) for at in range(3)}

    def p(*names: str) -> Family:
        centered = {name: residuals(values[name], np.zeros(40), prompt)[0] for name in names}
        return family({n: greatest(own) for n, own in centered.items()}, target, prompt)

    alone = p("one")
    assert alone.p == alone.alone["one"] == alone.adjusted["one"]
    assert p("one", "same").p == alone.p
    together = p("one", "0", "1", "2")
    assert alone.p < together.p < 4 * alone.p
    assert together.alone["one"] == alone.p
    assert together.adjusted["one"] == together.p
    assert all(together.adjusted[name] >= together.alone[name] for name in together.alone)
    assert max(together.adjusted.values()) <= 1


def test_p_values_are_the_shares_of_all_labelings() -> None:
    rng = np.random.default_rng(10)
    target = np.array([True] * 3 + [False] * 3)
    prompt = np.zeros(6, dtype=np.int64)
    values = {name: rng.normal(size=(6, 2)) for name in "ab"}
    found = family({n: greatest(v) for n, v in values.items()}, target, prompt, permutations=40_000)
    chosen = [list(rows) for rows in combinations(range(6), 3)]
    every = np.array([[v[rows].sum(axis=0).max() for v in values.values()] for rows in chosen])
    shares = (every[None] >= every[:, None]).mean(axis=1)  # [labelings, tests]
    for at, name in enumerate(values):
        assert found.alone[name] == pytest.approx(shares[0, at], abs=0.01)
    smallest = shares.min(axis=1)
    assert found.p == pytest.approx((smallest <= smallest[0]).mean(), abs=0.01)


def test_the_labels_of_a_prompt_stay_with_it_and_blocks_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    target = np.array([True, False, False, True, True, False])
    prompt = np.array([0, 0, 0, 1, 1, 1])
    seen: list[np.ndarray] = []

    def count(labels: Labels) -> Floats:
        seen.append(labels.copy())
        return labels @ np.arange(6.0)

    monkeypatch.setattr(permutation, "BLOCK", 60)
    family({"count": count}, target, prompt, permutations=99)
    assert len(seen) == 10
    labels = np.concatenate(seen)
    assert (labels[0] == target).all()
    assert (labels[:, :3].sum(axis=1) == 1).all()
    assert (labels[:, 3:].sum(axis=1) == 2).all()
    assert len(np.unique(labels, axis=0)) == 9


def test_answers_that_end_early_accuse_no_target() -> None:
    rng = np.random.default_rng(7)
    accused = 0
    for seed in range(100):
        x = logits(120, 30, rng)
        candidates = {"int4": x + rng.normal(0, 0.6, x.shape)}
        words = draw(x, rng)
        whole = table(x, words, candidates=candidates)
        short = table(x[:, :12], words[:, :12], candidates={"int4": candidates["int4"][:, :12]})
        found = against_control(
            short.take(range(60)), whole.take(range(60, 120)), "float32", permutations=199
        )
        assert found is None  # no prompt has both: rows are prompts of their own here
        mine, own = (
            _on_one_prompt(short.take(range(60))),
            _on_one_prompt(whole.take(range(60, 120))),
        )
        found = against_control(mine, own, "float32", permutations=199, seed=seed)
        assert found is not None
        accused += found.family.p <= ALPHA
    assert accused <= stats.binom.ppf(0.99, 100, ALPHA)


def _on_one_prompt(calls: CallTable) -> CallTable:
    return replace(calls, prompt=np.zeros(len(calls), dtype=np.int64))


def test_nothing_to_compare_is_no_test() -> None:
    assert run_tests(OWN.take([0]), {"float32": OTHER.take([1])}) is None
    assert run_tests(OWN.take([]), {"float32": OTHER}) is None
