"""False alarms, power and intervals on answers that the bundled model really sampled.

Small versions of bench/identity_simulations.py, seeded.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from scipy import stats

from phi2sdk.identity.alternatives import parse
from phi2sdk.identity.call_table import CallTable
from phi2sdk.identity.likelihood_tests import effective_temperature
from phi2sdk.identity.pilot import Setting, author_prompts, pilot, score, write
from phi2sdk.identity.power_analysis import calls_needed
from phi2sdk.identity.verdict import run_tests
from phi2sdk.identity.weights import Loader, Weights

PROMPTS = tuple(
    f"Instruct: Write a paragraph about {subject}.\nOutput:"
    for subject in ("tides", "glass", "rivers", "maps", "birds", "salt", "music", "trade")
)
WEIGHTS = Weights(model="demo", honest=("float32",), device="cpu")
CALLS = 32
RUNS = 60


@pytest.fixture(scope="module")
def tables() -> Mapping[str, CallTable]:
    """Scored answers of the reference, and of it at another temperature and template."""
    loader = Loader(WEIGHTS)
    model = loader.load("float32")
    written = {}
    for seed, (name, count) in enumerate({"t=1": 320, "t=0.6": 96, "template=qa": 96}.items()):
        author = parse(name)
        setting = Setting(PROMPTS, "instruct", 12, count, seed)
        seen = author_prompts(author, setting)
        asked = [seen[prompt] for prompt in setting.asked()]
        written[name] = write(model, setting, asked, author.sampling(12), seed)
    return score(loader, "instruct", written)[0]


def _draw(calls: CallTable, rng: np.random.Generator, count: int) -> tuple[CallTable, CallTable]:
    """Two sets of calls without a common one, evenly over the prompts."""
    first, second = [], []
    for prompt in range(len(PROMPTS)):
        rows = rng.permutation(np.flatnonzero(calls.prompt == prompt))
        each = count // len(PROMPTS)
        first += rows[:each].tolist()
        second += rows[each : 2 * each].tolist()
    return calls.take(first), calls.take(second)


def test_honest_answers_are_accused_as_often_as_chance_allows(
    tables: Mapping[str, CallTable],
) -> None:
    rng = np.random.default_rng(1)
    p: dict[str, list[float]] = {}
    for run in range(RUNS):
        target, control = _draw(tables["t=1"], rng, CALLS)
        tests = run_tests(target, {"float32": control}, permutations=199, seed=run)
        assert tests is not None
        for name, one in tests.instruments.items():
            p.setdefault(name, []).append(one.alone["float32"])
        p.setdefault("all", []).append(tests.p)
    most = stats.binom.ppf(0.999, RUNS, 0.05) / RUNS
    for name, values in p.items():
        assert np.mean(np.array(values) <= 0.05) <= most, name
        assert 0.3 < np.mean(values) < 0.7, name


@pytest.mark.parametrize("name", ["t=0.6", "template=qa"])
def test_another_temperature_and_another_template_are_found_and_named(
    tables: Mapping[str, CallTable], name: str
) -> None:
    rng = np.random.default_rng(2)
    found = named = 0
    for run in range(20):
        target, _ = _draw(tables[name], rng, 48)
        _, control = _draw(tables["t=1"], rng, 48)
        tests = run_tests(target, {"float32": control}, permutations=199, seed=run)
        assert tests is not None
        found += tests.p <= 0.05
        named += tests.line_up.closest == {"t=0.6": "T=0.7"}.get(name, name)
    assert found >= 18
    assert named >= 18


def test_the_interval_of_the_temperature_covers_the_truth(
    tables: Mapping[str, CallTable],
) -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(RUNS):
        target, control = _draw(tables["t=1"], rng, CALLS)
        interval = effective_temperature(target, control)
        assert interval is not None
        assert interval.low is not None
        assert interval.high is not None
        hits += interval.low <= 1 <= interval.high
    assert hits / RUNS >= stats.binom.ppf(0.001, RUNS, 0.95) / RUNS


def test_the_plan_of_a_pilot_is_near_what_it_takes(tables: Mapping[str, CallTable]) -> None:
    made = pilot(WEIGHTS, parse("t=0.6"), Setting(PROMPTS, "instruct", 12, 64, 9))
    assert made.kl is not None
    assert 0.02 < made.kl < 0.3
    need = calls_needed(made.parts, made.control, instruments=3)
    assert need.calls is not None
    rng = np.random.default_rng(4)
    calls = len(PROMPTS) * round(need.calls / len(PROMPTS))
    hits = 0
    for run in range(40):
        target, _ = _draw(tables["t=0.6"], rng, calls)
        _, control = _draw(tables["t=1"], rng, calls)
        tests = run_tests(target, {"float32": control}, permutations=199, seed=run)
        assert tests is not None
        hits += tests.p <= 0.05
    assert 0.75 <= hits / 40 <= 1
