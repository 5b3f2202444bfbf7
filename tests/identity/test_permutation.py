"""Texts that do not re-tokenise to what was drawn: only the control keeps the tests honest."""

from __future__ import annotations

import numpy as np
from scipy import stats

from phi2sdk.identity.call_table import CallTable
from phi2sdk.identity.likelihood_tests import effective_temperature, score_test
from phi2sdk.identity.permutation import against_control
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
    return CallTable(
        np.arange(calls) % PROMPTS,
        found.tokens,
        found.entropy,
        found.logp,
        found.drift,
        found.variance,
        found.loglik,
        found.candidates,
    )


OWN, OTHER = pool(seed=1), pool(seed=2)


def some(calls: CallTable, rng: np.random.Generator, size: int = 60) -> CallTable:
    return calls.take(rng.choice(len(calls), size, replace=False))


def test_without_a_control_re_encoded_text_accuses_the_honest() -> None:
    rng = np.random.default_rng(3)
    assert sum(score_test(some(OWN, rng)).p <= ALPHA for _ in range(RUNS)) > 2 * MOST


def test_against_a_control_every_test_has_its_size() -> None:
    rng = np.random.default_rng(4)
    rejected = dict.fromkeys(("score", "line_up", "routing"), 0)
    for seed in range(RUNS):
        drawn = some(OWN, rng, 120)
        mine, own = drawn.take(range(60)), drawn.take(range(60, 120))
        found = against_control(mine, own, "float32", permutations=199, seed=seed)
        assert found is not None
        for name in rejected:
            rejected[name] += getattr(found, name) <= ALPHA
    for name, count in rejected.items():
        assert LEAST <= count <= MOST, name


def test_against_a_control_a_lower_temperature_is_found_and_its_interval_covers_it() -> None:
    rng = np.random.default_rng(5)
    cold = pool(0.8, seed=6)
    control = some(OTHER, rng, 100)
    found = run_tests(some(cold, rng, 100), control={"float32": control})
    honest = run_tests(some(OWN, rng, 100), control={"float32": control})
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
        accused += min(found.score, found.line_up, found.routing) <= ALPHA / 3
    assert accused <= stats.binom.ppf(0.99, 100, ALPHA)


def _on_one_prompt(calls: CallTable) -> CallTable:
    return CallTable(
        np.zeros(len(calls), dtype=np.int64),
        calls.tokens,
        calls.entropy,
        calls.logp,
        calls.drift,
        calls.variance,
        calls.loglik,
        calls.candidates,
    )


def test_nothing_to_compare_is_no_test() -> None:
    assert run_tests(OWN.take([0]), control={"float32": OTHER.take([1])}) is None
    assert run_tests(OWN.take([]), control={"float32": OTHER}) is None
