"""Run all tests on the calls of a target, and turn their p-values into a verdict.

All tests of a target permute the same labels, and their smallest p-value is tested by these
permutations (Westfall and Young). The p-value of a target is the largest over the honest
precisions, and the targets are adjusted by Holm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from phi2sdk.analysis.paired import holm
from phi2sdk.identity.call_table import CallTable
from phi2sdk.identity.detection import Detection, detection
from phi2sdk.identity.instruments import AgainstControl, against_control
from phi2sdk.identity.likelihood_tests import (
    LineUp,
    Routing,
    Temperature,
    effective_temperature,
    line_up,
    routing_test,
)
from phi2sdk.identity.logprob_tests import LogprobsTest
from phi2sdk.identity.permutation import PERMUTATIONS

__all__ = [
    "ALPHA",
    "POWER",
    "Instrument",
    "Tests",
    "Verdict",
    "VerdictName",
    "judge",
    "run_tests",
    "target_p",
]

ALPHA = 0.05
POWER = 0.95
LEAST_CALLS = 5
LEAST_ENTROPY = 10.0
"""Nats in all scored tokens: with less, the tests could not have rejected anything."""
MOST_ROUTED = 0.75
"""A larger share of the calls than this is reported as all calls."""

VerdictName = Literal["reference", "consistent", "different", "undetermined", "not-tested"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """The result of one test.

    Attributes:
        alone: Its p-value by honest precision.
        adjusted: The same, adjusted for the other tests.
        statistics: Its statistic by honest precision.
    """

    alone: Mapping[str, float]
    adjusted: Mapping[str, float]
    statistics: Mapping[str, float]

    @property
    def p(self) -> float:
        """The adjusted p-value of the hypothesis that any honest precision wrote the texts."""
        return max(self.adjusted.values())

    @property
    def statistic(self) -> float:
        """The statistic against the precision that explains the texts best."""
        return self.statistics[max(self.alone, key=self.alone.__getitem__)]


@dataclass(frozen=True, slots=True)
class Tests:
    """The results of all tests on one set of calls.

    Attributes:
        against: The p-values against each honest precision's own answers.
        line_up: The likelihoods of the candidates.
        routing: The share of the calls that fits a candidate.
        temperature: The effective temperature, where the texts determine it.
        calls, tokens: The numbers of scored calls and tokens.
        entropy: The entropy of all tokens under the reference, nats.
        control: The control answers by honest precision.
    """

    against: Mapping[str, AgainstControl]
    line_up: LineUp
    routing: Routing
    temperature: Temperature | None
    calls: int
    tokens: int
    entropy: float
    control: Mapping[str, CallTable]

    @property
    def instruments(self) -> dict[str, Instrument]:
        """The result of each test, by name."""
        likely = {"line-up": self.line_up.log_e, "routing": self.routing.log_e}
        first = next(iter(self.against.values()))
        return {
            test: Instrument(
                {name: one.family.alone[test] for name, one in self.against.items()},
                {name: one.family.adjusted[test] for name, one in self.against.items()},
                likely.get(test) or {n: one.statistics[test] for n, one in self.against.items()},
            )
            for test in first.family.alone
        }

    @property
    def p(self) -> float:
        """The p-value of all tests together, that any honest precision wrote the texts."""
        return max(one.family.p for one in self.against.values())

    def routed(self, alpha: float) -> bool:
        """Return whether only a share of the calls is answered by something else.

        Args:
            alpha: The level of all tests together.
        """
        rejects = self.instruments["routing"].p <= alpha
        likelier = self.routing.statistic > self.line_up.statistic + 1
        return rejects and likelier and self.routing.share < MOST_ROUTED

    def named(self, alpha: float) -> str | None:
        """Return the closest candidate; ``None`` unless a test on candidates rejects by itself.

        Args:
            alpha: The level of all tests together.
        """
        if self.routed(alpha):
            return self.routing.candidate
        rejects = min(self.instruments[name].p for name in ("line-up", "routing")) <= alpha
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
    control: Mapping[str, CallTable],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Tests | None:
    """Run all tests on one set of calls; return ``None`` if no prompt has a call and a control.

    Args:
        calls: The scored calls.
        control: The reference's own answers to the same prompts, by honest precision, scored in
            the same way.
        permutations: The number of permutations.
        seed: The seed of the permutations.
    """
    found = {
        name: against_control(calls, own, name, permutations=permutations, seed=seed)
        for name, own in control.items()
    }
    against = {name: one for name, one in found.items() if one is not None}
    if not against:
        return None
    return Tests(
        against=against,
        line_up=line_up(calls),
        routing=routing_test(calls),
        temperature=effective_temperature(calls, control.get(calls.reference)),
        calls=len(calls),
        tokens=int(calls.tokens.sum()),
        entropy=float(calls.entropy.sum()),
        control=control,
    )


def target_p(tests: Tests | None, scored: LogprobsTest | None) -> float | None:
    """Return the p-value of all tests of a target; ``None`` where nothing was tested.

    The tests of sampled answers and of log-probabilities are combined by Bonferroni.
    """
    found = [one.p for one in (tests, scored) if one is not None]
    return min(1.0, len(found) * min(found)) if found else None


def judge(
    found: Mapping[str, Tests | None],
    scored: Mapping[str, LogprobsTest] | None = None,
    *,
    alpha: float = ALPHA,
) -> dict[str, Verdict]:
    """Return the verdicts on several targets; a target without tests is ``undetermined``.

    Log-probabilities can reject a target, but they alone never make it ``consistent``: an endpoint
    may answer with other weights than it scores with.

    Args:
        found: The results of the tests, by target.
        scored: The tests of the log-probabilities that targets return.
        alpha: The probability that any honest target at all is rejected.
    """
    told = scored or {}
    tested = {n: p for n, t in found.items() if (p := target_p(t, told.get(n))) is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    verdicts: dict[str, Verdict] = {}
    known: dict[tuple[int, int, float], Detection] = {}
    for name, tests in found.items():
        one, p = told.get(name), adjusted.get(name)
        rejected = p is not None and p <= alpha
        closest = one.named if rejected and one is not None else None
        if tests is None:
            verdicts[name] = Verdict("different" if rejected else "undetermined", p, closest)
            continue
        passed: VerdictName = "consistent" if tests.enough else "undetermined"
        level = alpha / (len(tested) * (1 if one is None else 2))
        verdicts[name] = Verdict(
            "different" if rejected else passed,
            p,
            closest or (tests.named(alpha) if rejected else None),
            tests.routing.share if rejected and not closest and tests.routed(alpha) else None,
            _detection(tests, level, known),
        )
    return verdicts


def _detection(
    tests: Tests, level: float, known: dict[tuple[int, int, float], Detection]
) -> Detection:
    """The detection of a run, which targets with one control and number of calls share."""
    key = id(tests.control), tests.calls, level
    if key not in known:
        others = len(tests.instruments.keys() - {"score", "line-up", "routing"})
        known[key] = detection(tests.control, tests.calls, level=level, others=others)
    return known[key]
