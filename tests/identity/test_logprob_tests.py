"""The test of log-probabilities on simulated rounding errors and quantization errors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from phi2sdk.identity.call_table import Floats, Ints
from phi2sdk.identity.logprob_tests import FLOOR, LogprobsTest, logprobs_test
from phi2sdk.identity.verdict import judge, target_p

ANSWERS, TOKENS, RUNS = 16, 40, 60
ROUNDING, INT8, INT4 = 0.015, 0.012, 0.13
"""Root mean squares of the bundled checkpoint's differences from float32, in nats."""


class Texts:
    """Differences of the local weights at the tokens of some texts.

    The tokens differ in how much they react to a change of the weights, as those of a model do.
    """

    def __init__(self, seed: int, answers: int = ANSWERS) -> None:
        self.rng = np.random.default_rng(seed)
        self.answer: Ints = np.repeat(np.arange(answers), TOKENS)
        self.reaction = self.rng.gamma(0.5, 2.0, len(self.answer))
        self.honest = {"float16": self.noise(ROUNDING / 10), "bfloat16": self.noise(ROUNDING)}
        self.candidates = {"int8": self.noise(INT8), "int4": self.noise(INT4)}

    def noise(self, size: float) -> Floats:
        """New differences that are in no other numbers."""
        return self.rng.normal(0, size, len(self.answer)) * self.reaction

    def test(self, differences: Floats, alpha: float = 0.05) -> LogprobsTest:
        found = logprobs_test(
            differences, self.answer, self.honest, self.candidates, alpha=alpha, permutations=499
        )
        assert found is not None
        return found


def endpoint(name: str, texts: Texts) -> Floats:
    """The differences of an endpoint."""
    rounding = texts.noise(ROUNDING)
    made: Mapping[str, Floats] = {
        "the same numbers": np.zeros_like(rounding),
        "bfloat16 as here": texts.honest["bfloat16"],
        "other kernels": rounding,
        "coarser kernels": 1.4 * rounding,
        "2 decimals": np.round(rounding, 2),
        "int8": texts.candidates["int8"] + rounding,
        "int8 of bfloat16 weights": 0.65 * texts.candidates["int8"] + rounding,
        "int4": texts.candidates["int4"] + rounding,
        "another model": texts.noise(1.0),
    }
    return made[name]


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("the same numbers", 0.9),
        ("bfloat16 as here", 0.9),
        ("other kernels", 0.9),
        ("coarser kernels", 0.5),  # near the bound, more are undetermined
        ("2 decimals", 0.9),
    ],
)
def test_an_honest_endpoint_is_consistent_whatever_the_order_of_its_sums(
    name: str, least: float
) -> None:
    texts = [Texts(seed) for seed in range(RUNS)]
    found = Counter(one.test(endpoint(name, one)).verdict for one in texts)
    assert found["different"] <= 0.05 * RUNS
    assert found["consistent"] >= least * RUNS


@pytest.mark.parametrize(
    ("name", "named", "least"),
    [
        ("int8", "int8", 0.95),
        ("int8 of bfloat16 weights", "int8", 0.75),
        ("int4", "int4", 0.95),
        ("another model", None, 0.95),
    ],
)
def test_a_quantizer_inside_or_outside_of_the_band_is_named(
    name: str, named: str | None, least: float
) -> None:
    texts = [Texts(1000 + seed) for seed in range(RUNS)]
    found = [one.test(endpoint(name, one)) for one in texts]
    assert sum(one.verdict == "different" for one in found) >= least * RUNS
    assert sum(one.named == named for one in found) >= least * RUNS
    assert not any(one.verdict == "consistent" for one in found)


def test_differences_at_the_bound_are_rejected_at_the_stated_level() -> None:
    verdicts = Counter(
        one.test(one.noise(2 * ROUNDING)).verdict
        for one in map(Texts, range(2000, 2000 + 4 * RUNS))
    )
    assert 0 < verdicts["different"] <= 0.09 * 4 * RUNS  # 0.05, and three standard errors
    assert verdicts["consistent"] <= 0.09 * 4 * RUNS


def test_too_few_texts_are_undetermined() -> None:
    few = Texts(1, answers=3)
    for name in ("other kernels", "int4"):
        assert few.test(endpoint(name, few)).verdict == "undetermined"
    one = Texts(1, answers=1)
    assert logprobs_test(one.noise(1), one.answer, one.honest, one.candidates, alpha=0.05) is None


def test_a_few_outliers_change_no_verdict() -> None:
    for seed in range(20):
        texts = Texts(seed)
        far = np.where(texts.rng.random(len(texts.answer)) < 0.02, -50.0, 0.0)
        assert texts.test(endpoint("other kernels", texts) + far).verdict != "different"
        assert texts.test(endpoint("int4", texts) + far).verdict == "different"


def test_a_reference_alone_allows_differences_of_printed_digits() -> None:
    texts = Texts(3)
    printed = texts.rng.uniform(-FLOOR / 10, FLOOR / 10, len(texts.answer))
    found = logprobs_test(printed, texts.answer, {}, {}, alpha=0.05)
    assert found is not None
    assert (found.verdict, found.precision) == ("consistent", "reference")


def test_log_probabilities_reject_a_target_and_never_accept_one() -> None:
    texts = Texts(4)
    other, honest = (texts.test(endpoint(name, texts)) for name in ("int4", "other kernels"))
    verdicts = judge({"a": None, "b": None, "c": None}, {"a": other, "b": honest})
    assert [verdicts[n].name for n in "abc"] == ["different", "undetermined", "undetermined"]
    assert verdicts["a"].closest == "int4"
    assert verdicts["a"].p == pytest.approx(2 * other.p)  # Holm over the two tested targets
    assert target_p(None, None) is None
