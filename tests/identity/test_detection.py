"""The power that a run states for its candidates, against simulated targets."""

from __future__ import annotations

import numpy as np
import pytest

from phi2sdk.identity.call_table import CallTable, Floats
from phi2sdk.identity.detection import detection
from phi2sdk.identity.verdict import run_tests
from tests.identity.simulated import draw, logits, table

TOKENS = 20
PROMPTS = 12
EACH = 4
LEVEL = 0.05
RUNS = 40
NOISE = {"near": 0.04, "middle": 0.18, "far": 0.5}


class World:
    """A reference, and candidates at several distances, who answer the same prompts."""

    def __init__(self, seed: int = 1, prompts: int = PROMPTS) -> None:
        self.rng = np.random.default_rng(seed)
        self.prompts = prompts
        self.reference = logits(prompts, TOKENS, self.rng)
        self.candidates = {
            name: self.reference + self.rng.normal(0, noise, self.reference.shape)
            for name, noise in NOISE.items()
        }

    def calls(self, author: Floats, each: int = EACH) -> CallTable:
        """Answers of an author, ``each`` to every prompt."""
        many = {n: np.tile(x, (each, 1, 1)) for n, x in self.candidates.items()}
        words = draw(np.tile(author, (each, 1, 1)), self.rng)
        found = table(np.tile(self.reference, (each, 1, 1)), words, candidates=many)
        prompt = np.tile(np.arange(self.prompts), each)
        return CallTable(
            prompt, found.tokens, found.entropy, found.logp, found.drift, found.variance,
            found.loglik, found.candidates,
        )  # fmt: skip


@pytest.mark.parametrize(("prompts", "each"), [(12, 4), (24, 1)])
def test_the_stated_power_is_about_the_share_of_targets_that_are_rejected(
    prompts: int, each: int
) -> None:
    world = World(prompts=prompts)
    stated: dict[str, list[float]] = {name: [] for name in NOISE}
    rejected = dict.fromkeys(NOISE, 0)
    for run in range(RUNS):
        control = {"float32": world.calls(world.reference, each=2 * each)}
        found = detection(control, prompts * each, level=LEVEL)
        for name, author in world.candidates.items():
            stated[name].append(found.power[name])
            tests = run_tests(world.calls(author, each), control, permutations=399, seed=run)
            assert tests is not None
            rejected[name] += tests.p <= LEVEL
    for name in NOISE:
        assert rejected[name] / RUNS == pytest.approx(np.mean(stated[name]), abs=0.15), name
    assert np.mean(stated["near"]) < 0.2
    assert 0.2 < np.mean(stated["middle"]) < 0.95
    assert np.mean(stated["far"]) > 0.99


def test_more_calls_and_a_larger_level_mean_more_power() -> None:
    world = World(2)
    control = {"float32": world.calls(world.reference)}
    few, many = (detection(control, calls, level=0.01).power["middle"] for calls in (12, 480))
    strict = detection(control, 480, level=1e-4).power["middle"]
    assert few < many
    assert strict < many


def test_the_score_test_alone_is_less_likely_to_find_a_candidate() -> None:
    world = World(3)
    found = detection({"float32": world.calls(world.reference)}, PROMPTS * EACH, level=0.01)
    assert found.general["middle"] < found.power["middle"]
    assert all(found.general[name] <= found.power[name] for name in found.power)


def test_one_answer_to_each_prompt_gives_no_estimate() -> None:
    world = World(4)
    found = detection({"float32": world.calls(world.reference, each=1)}, 12, level=0.01)
    assert found.power == {}
    assert detection({}, 12, level=0.01).power == {}
    assert detection({"float32": world.calls(world.reference)}, 0, level=0.01).power == {}
