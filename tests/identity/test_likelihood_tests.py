"""The instruments on calls whose truth is known, by simulation."""

from __future__ import annotations

from dataclasses import replace
from math import log

import numpy as np
import pytest
from scipy import stats
from scipy.special import log_softmax

from phi2sdk.identity import verdict
from phi2sdk.identity.call_table import CallTable
from phi2sdk.identity.likelihood_tests import (
    TEMPERATURES,
    effective_temperature,
    line_up,
    routing_test,
)
from phi2sdk.identity.verdict import judge, run_tests
from tests.identity.simulated import draw, logits, table

RUNS = 400
ALPHA = 0.05
MOST = int(stats.binom.ppf(0.99, RUNS, ALPHA))


def pool(temperature: float = 1.0, seed: int = 0, calls: int = 4000, tokens: int = 30) -> CallTable:
    rng = np.random.default_rng(seed)
    x = logits(calls, tokens, rng)
    noise = rng.normal(0, 0.4, x.shape)
    return table(x, draw(x / temperature, rng), candidates={"int4": x + noise})


HONEST = pool()


def runs(calls: CallTable, size: int) -> list[CallTable]:
    rng = np.random.default_rng(1)
    return [calls.take(rng.choice(len(calls), size, replace=False)) for _ in range(RUNS)]


def on_one_prompt(calls: CallTable) -> CallTable:
    return replace(calls, prompt=np.zeros(len(calls), dtype=np.int64))


def against_one_prompt(calls: CallTable, control: CallTable, **options: int) -> verdict.Tests:
    own = on_one_prompt(control)
    found = run_tests(on_one_prompt(calls), dict.fromkeys(own.honest, own), **options)
    assert found is not None
    return found


def test_the_score_test_sees_another_temperature_and_says_which_way() -> None:
    for temperature, sign in ((0.8, 1), (1.25, -1)):
        found = against_one_prompt(pool(temperature).take(range(100)), HONEST.take(range(100)))
        assert found.instruments["score"].p <= 0.001
        assert found.instruments["score"].statistic * sign > 0


def test_an_honest_precision_that_explains_the_text_is_enough() -> None:
    rng = np.random.default_rng(9)
    x = logits(200, 30, rng)
    other = x + rng.normal(0, 0.8, x.shape)
    scored = {
        author: table(x, draw(own, rng), honest={"bfloat16": other}, candidates={"int4": other})
        for author, own in {"float32": x, "bfloat16": other, "target": other}.items()
    }
    control = {name: on_one_prompt(scored[name]) for name in ("float32", "bfloat16")}
    found = run_tests(on_one_prompt(scored["target"]), control)
    assert found is not None
    assert found.against["float32"].family.p <= 0.001
    assert found.p == found.against["bfloat16"].family.p > 0.05


@pytest.mark.parametrize("truth", [0.7, 1.0, 1.4])
def test_the_interval_of_the_temperature_covers_the_truth(truth: float) -> None:
    covered = 0
    for run in runs(pool(truth), 60):
        found = effective_temperature(run)
        assert found is not None
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= truth <= found.high
    assert covered >= stats.binom.ppf(0.01, RUNS, 0.95)


def test_a_temperature_beyond_the_known_range_has_an_open_interval() -> None:
    found = effective_temperature(pool(0.2).take(range(200)))
    assert found is not None
    assert found.value == pytest.approx(0.4)
    assert found.low is None


def test_the_likelihood_at_a_temperature_is_the_exact_one() -> None:
    rng = np.random.default_rng(2)
    x = logits(50, 30, rng)
    words = draw(x, rng)
    scored = table(x, words)
    for t in (*TEMPERATURES, 0.45, 2.4):
        exact = np.take_along_axis(log_softmax(x / t, -1), words[..., None], -1).sum((1, 2))
        assert scored.at_temperature(t) == pytest.approx(exact, abs=5e-3)
    with pytest.raises(ValueError, match="known at temperatures"):
        scored.at_temperature(3.0)


def test_the_line_up_rarely_accuses_the_honest() -> None:
    assert sum(line_up(run).statistic >= -log(ALPHA) for run in runs(HONEST, 60)) <= MOST


def test_the_line_up_names_the_one_who_wrote_it() -> None:
    rng = np.random.default_rng(3)
    x = logits(200, 30, rng)
    candidates = {"int4": x + rng.normal(0, 0.4, x.shape)}
    quantised = line_up(table(x, draw(candidates["int4"], rng), candidates=candidates))
    assert quantised.closest == "int4"
    assert quantised.statistic > 14
    assert quantised.log_ratio["float32"] == 0
    cold = line_up(table(x, draw(x / 0.8, rng), candidates=candidates))
    assert cold.closest == "T=0.8"
    assert line_up(table(x, draw(x, rng), candidates=candidates)).closest == "float32"


def test_routing_rarely_accuses_the_honest() -> None:
    assert sum(routing_test(run).statistic >= -log(ALPHA) for run in runs(HONEST, 60)) <= MOST


def test_routing_finds_a_fifth_of_the_calls_and_says_how_many() -> None:
    rng = np.random.default_rng(4)
    x = logits(300, 30, rng)
    own = draw(x, rng)
    foreign = draw(logits(300, 30, rng), rng)
    elsewhere = rng.random(300) < 0.2
    found = routing_test(table(x, np.where(elsewhere[:, None], foreign, own)))
    assert found.statistic > 20
    assert found.share == pytest.approx(elsewhere.mean(), abs=0.05)
    assert found.candidate == "T=1.5"
    honest = routing_test(table(x, own))
    assert honest.statistic <= 0
    assert honest.share < 0.1


def test_holm_over_targets_keeps_its_promise_and_finds_the_dishonest() -> None:
    cold = pool(0.7, seed=7)
    accused = found = 0
    rng = np.random.default_rng(6)
    for seed in range(100):
        own, *honest = (HONEST.take(rng.choice(len(HONEST), 40)) for _ in range(4))
        taken = dict(zip("abc", honest, strict=True))
        taken["cold"] = cold.take(rng.choice(len(cold), 40))
        targets = {
            name: against_one_prompt(calls, own, permutations=199, seed=seed)
            for name, calls in taken.items()
        }
        verdicts = judge(targets)
        accused += any(verdicts[name].name == "different" for name in "abc")
        found += verdicts["cold"].name == "different"
        assert all(v.p is not None and 0 <= v.p <= 1 for v in verdicts.values())
    assert accused <= stats.binom.ppf(0.99, 100, ALPHA)
    assert found == 100


def test_too_little_text_is_undetermined_and_none_at_all_too() -> None:
    few = against_one_prompt(HONEST.take(range(2)), HONEST.take(range(2, 4)))
    assert judge({"few": few})["few"].name == "undetermined"
    assert run_tests(HONEST.take([]), {"float32": HONEST}) is None
    assert judge({"none": None})["none"].p is None


def test_calls_without_entropy_accuse_no_target() -> None:
    rng = np.random.default_rng(8)
    x = np.zeros((40, 10, 40))
    x[..., 0] = 200.0
    calls = table(x, draw(x, rng))
    found = against_one_prompt(calls.take(range(20)), calls.take(range(20, 40)))
    assert found.p == 1
    assert found.temperature is None
    assert judge({"certain": found})["certain"].name == "undetermined"
