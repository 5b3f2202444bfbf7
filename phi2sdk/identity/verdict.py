"""Run all tests on the calls of a target, and turn their p-values into a verdict.

The p-values of a target are combined by Bonferroni, and adjusted by Holm over all targets. The
p-value of each test is already the largest over the honest precisions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from phi2sdk.analysis.paired import holm
from phi2sdk.identity.call_table import CallTable
from phi2sdk.identity.detection import Detection, detection
from phi2sdk.identity.likelihood_tests import (
    LineUp,
    Routing,
    ScoreTest,
    Temperature,
    effective_temperature,
    line_up,
    routing_test,
    score_test,
)
from phi2sdk.identity.mmd import MMDResult
from phi2sdk.identity.permutation import PERMUTATIONS, against_control

__all__ = [
    "ALPHA",
    "POWER",
    "Instrument",
    "MMDTest",
    "Tests",
    "Verdict",
    "VerdictName",
    "bonferroni",
    "judge",
    "run_tests",
]

ALPHA = 0.05
POWER = 0.95
LEAST_CALLS = 5
LEAST_ENTROPY = 10.0
"""Nats in all scored tokens: with less, the tests could not have rejected anything."""
MOST_ROUTED = 0.75
"""A larger share of the calls than this is reported as all calls."""

VerdictName = Literal["reference", "consistent", "different", "undetermined", "not-tested"]


class Instrument(Protocol):
    """One of the tests."""

    @property
    def p_by_precision(self) -> Mapping[str, float]:
        """The p-value of the hypothesis that this honest precision wrote the texts."""
        ...

    @property
    def p(self) -> float:
        """The p-value of the hypothesis that any honest precision wrote the texts."""
        ...

    @property
    def statistic(self) -> float:
        """The statistic of the test; its class defines it."""
        ...


@dataclass(frozen=True, slots=True)
class MMDTest:
    """The comparison of the texts with the reference's own texts, in each honest precision."""

    by_precision: Mapping[str, MMDResult]

    @property
    def p_by_precision(self) -> Mapping[str, float]:
        """The p-value by permutation, by honest precision."""
        return {name: result.p for name, result in self.by_precision.items()}

    @property
    def p(self) -> float:
        """The p-value of the hypothesis that any honest precision wrote the texts."""
        return max(self.p_by_precision.values())

    @property
    def statistic(self) -> float:
        """The squared MMD to the precision with the largest p-value."""
        return min(self.by_precision.values(), key=lambda result: -result.p).statistic


@dataclass(frozen=True, slots=True)
class Tests:
    """The results of all tests on one set of calls.

    Attributes:
        score, line_up, routing, mmd: The tests; ``mmd`` where texts could be compared.
        temperature: The effective temperature, where the texts determine it.
        calls, tokens: The numbers of scored calls and tokens.
        entropy: The entropy of all tokens under the reference, nats.
        control: The control answers by honest precision; empty where there were none.
    """

    score: ScoreTest
    line_up: LineUp
    routing: Routing
    mmd: MMDTest | None
    temperature: Temperature | None
    calls: int
    tokens: int
    entropy: float
    control: Mapping[str, CallTable] = field(default_factory=dict)

    @property
    def instruments(self) -> dict[str, Instrument]:
        """The tests that were used, by name."""
        found: dict[str, Instrument] = {
            "score": self.score,
            "line-up": self.line_up,
            "routing": self.routing,
        }
        if self.mmd is not None:
            found["mmd"] = self.mmd
        return found

    @property
    def p(self) -> float:
        """The p-value of all tests together."""
        return bonferroni(one.p for one in self.instruments.values())

    def routed(self, alpha: float) -> bool:
        """Return whether only a share of the calls is answered by something else.

        Args:
            alpha: The level of all tests together.
        """
        rejects = self.routing.p * len(self.instruments) <= alpha
        likelier = self.routing.statistic > self.line_up.statistic + 1
        return rejects and likelier and self.routing.share < MOST_ROUTED

    def named(self, alpha: float) -> str | None:
        """Return the closest candidate; ``None`` unless a test on candidates rejects by itself.

        Args:
            alpha: The level of all tests together.
        """
        if self.routed(alpha):
            return self.routing.candidate
        rejects = min(self.line_up.p, self.routing.p) * len(self.instruments) <= alpha
        closest = self.line_up.closest
        return closest if rejects and closest not in self.line_up.log_e else None

    @property
    def enough(self) -> bool:
        """Return whether there is enough text to detect another model at all."""
        return self.calls >= LEAST_CALLS and self.entropy >= LEAST_ENTROPY


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on a target.

    Attributes:
        name: The verdict.
        p: The p-value adjusted for tests and targets; ``None`` where nothing was tested.
        closest: The candidate that explains the answers best, where a test on candidates rejects.
        share: The share of the calls that it answers, where that is not all of them.
        detection: What the tests would have detected with this number of calls.
    """

    name: VerdictName
    p: float | None = None
    closest: str | None = None
    share: float | None = None
    detection: Detection = field(default_factory=lambda: Detection({}, {}))


def run_tests(
    calls: CallTable,
    mmd: Mapping[str, MMDResult] | None = None,
    control: Mapping[str, CallTable] | None = None,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Tests | None:
    """Run all tests on one set of calls; return ``None`` without any call.

    Args:
        calls: The scored calls.
        mmd: The comparison of their texts with the reference's, by honest precision.
        control: The reference's own answers to the same prompts, by honest precision, scored in
            the same way. The p-values are then computed by permutation. This is necessary where
            the tokens were obtained by encoding a text and not by sampling.
        permutations: The number of permutations.
        seed: The seed of the permutations.
    """
    if not len(calls):
        return None
    score, lined, routed = score_test(calls), line_up(calls), routing_test(calls)
    if control is not None:
        found = {
            name: against_control(calls, own, name, permutations=permutations, seed=seed)
            for name, own in control.items()
        }
        known = {name: one for name, one in found.items() if one is not None}
        if not known:
            return None
        score = replace(
            score,
            z={name: one.z for name, one in known.items()},
            p_by_precision={name: one.score for name, one in known.items()},
        )
        lined = replace(lined, p_by_precision={n: one.line_up for n, one in known.items()})
        routed = replace(routed, p_by_precision={n: one.routing for n, one in known.items()})
    first = None if control is None else control.get(calls.reference)
    return Tests(
        score=score,
        line_up=lined,
        routing=routed,
        mmd=MMDTest(mmd) if mmd else None,
        temperature=effective_temperature(calls, first),
        calls=len(calls),
        tokens=int(calls.tokens.sum()),
        entropy=float(calls.entropy.sum()),
        control=control or {},
    )


def judge(found: Mapping[str, Tests | None], *, alpha: float = ALPHA) -> dict[str, Verdict]:
    """Return the verdicts on several targets; a target without tests is ``undetermined``.

    Args:
        found: The results of the tests, by target.
        alpha: The probability that any honest target at all is rejected.
    """
    tested = {name: tests for name, tests in found.items() if tests is not None}
    adjusted = dict(zip(tested, holm([t.p for t in tested.values()]), strict=True))
    verdicts = {}
    for name in found:
        tests = tested.get(name)
        if tests is None:
            verdicts[name] = Verdict("undetermined")
            continue
        level = alpha / (len(tests.instruments) * len(tested))
        p = adjusted[name]
        rejected = p <= alpha
        if rejected:
            verdict: VerdictName = "different"
        else:
            verdict = "consistent" if tests.enough else "undetermined"
        verdicts[name] = Verdict(
            verdict,
            p,
            tests.named(alpha) if rejected else None,
            tests.routing.share if rejected and tests.routed(alpha) else None,
            detection(tests.control, tests.calls, level=level),
        )
    return verdicts


def bonferroni(p_values: Iterable[float]) -> float:
    """Return the p-value of several tests together, by Bonferroni.

    >>> bonferroni([0.01, 0.4])
    0.02
    """
    found = list(p_values)
    return min(1.0, len(found) * min(found))
