"""From the instruments to a verdict on each target.

A target's instruments are combined by Bonferroni, its p is then adjusted by Holm over all targets.
Each instrument's p is already the largest over the honest precisions.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Literal, Protocol

from phi2sdk.analysis.paired import holm
from phi2sdk.identity.call_table import CallTable
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
    "smallest_detectable_kl",
]

ALPHA = 0.05
POWER = 0.95
LEAST_CALLS = 5
LEAST_ENTROPY = 10.0
"""Nats in all scored tokens: with less, no text could have been accused."""

VerdictName = Literal["reference", "consistent", "different", "undetermined", "not-tested"]


class Instrument(Protocol):
    """What every test has."""

    @property
    def p_by_precision(self) -> Mapping[str, float]:
        """Against the null that this honest precision wrote the texts."""
        ...

    @property
    def p(self) -> float:
        """Against the null that any of them did."""
        ...

    @property
    def statistic(self) -> float:
        """The test's own number: see its class."""
        ...


@dataclass(frozen=True, slots=True)
class MMDTest:
    """Texts against the reference's own texts, in each honest precision."""

    by_precision: Mapping[str, MMDResult]

    @property
    def p_by_precision(self) -> Mapping[str, float]:
        """By permutation."""
        return {name: result.p for name, result in self.by_precision.items()}

    @property
    def p(self) -> float:
        """Against the null that any of them wrote it."""
        return max(self.p_by_precision.values())

    @property
    def statistic(self) -> float:
        """The squared MMD to the precision that explains the texts best."""
        return min(self.by_precision.values(), key=lambda result: -result.p).statistic


@dataclass(frozen=True, slots=True)
class Tests:
    """What the instruments found about one set of calls.

    Attributes:
        score, line_up, routing, mmd: The instruments; ``mmd`` where texts could be compared.
        temperature: The effective temperature, where the texts say something about it.
        calls, tokens: That were scored.
        control_tokens: Of the control in the reference precision; ``None``: there was none.
        entropy: Summed, nats.
    """

    score: ScoreTest
    line_up: LineUp
    routing: Routing
    mmd: MMDTest | None
    temperature: Temperature | None
    calls: int
    tokens: int
    control_tokens: int | None
    entropy: float

    @property
    def instruments(self) -> dict[str, Instrument]:
        """By name, those that were used."""
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
        """Of all instruments together."""
        return bonferroni(one.p for one in self.instruments.values())

    @property
    def strongest(self) -> str:
        """The instrument with the smallest p."""
        found = self.instruments
        return min(found, key=lambda name: found[name].p)

    @property
    def enough(self) -> bool:
        """Whether there is enough text that another author could have been seen."""
        return self.calls >= LEAST_CALLS and self.entropy >= LEAST_ENTROPY


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of a target.

    Attributes:
        name: The verdict.
        p: Adjusted for instruments and targets; ``None`` where nothing was tested.
        smallest_detectable_kl: Nats a token: a candidate this far from the reference would have
            been found with 95 % probability; ``None`` where nothing was tested.
    """

    name: VerdictName
    p: float | None = None
    smallest_detectable_kl: float | None = None


def run_tests(
    calls: CallTable,
    mmd: Mapping[str, MMDResult] | None = None,
    control: Mapping[str, CallTable] | None = None,
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Tests | None:
    """All instruments on one set of calls; ``None`` without any call.

    Args:
        calls: Scored.
        mmd: Their texts against the reference's, by honest precision, where that was done.
        control: The reference's own answers to the same prompts, by honest precision, scored in
            the same way. Needed where the tokens are not those that were drawn but a text
            re-encoded: p-values then are by permutation.
        permutations: How many.
        seed: Of the permutations.
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
        control_tokens=None if first is None else int(first.tokens.sum()),
        entropy=float(calls.entropy.sum()),
    )


def judge(found: Mapping[str, Tests | None], *, alpha: float = ALPHA) -> dict[str, Verdict]:
    """The verdicts on several targets; one without tests is ``undetermined``, and no target more.

    Args:
        found: What the instruments found, by target.
        alpha: The probability that any honest target at all is accused.
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
        kl = smallest_detectable_kl(
            tests.tokens,
            level=level,
            candidates=len(tests.line_up.log_ratio),
            control=tests.control_tokens,
        )
        p = adjusted[name]
        said: VerdictName = "consistent" if tests.enough else "undetermined"
        verdicts[name] = Verdict("different" if p <= alpha else said, p, kl)
    return verdicts


def bonferroni(p_values: Iterable[float]) -> float:
    """The p-value of several tests together: any of them rejects.

    >>> bonferroni([0.01, 0.4])
    0.02
    """
    found = list(p_values)
    return min(1.0, len(found) * min(found))


def smallest_detectable_kl(
    tokens: int,
    *,
    level: float,
    candidates: int = 1,
    control: int | None = None,
    power: float = POWER,
) -> float:
    """The divergence per token that the line-up finds in so many tokens, nats.

    The log-likelihood ratio of n tokens of a close candidate is taken as normal with variance
    ``2 n KL``. Alone, its mean is ``n KL`` and it must exceed ``log(candidates/level)``. Against m
    tokens of control it is ``2 KL`` a token larger than the control's, and the difference must
    exceed the normal quantile of ``level/candidates``.

    >>> round(10000 * smallest_detectable_kl(10000, level=0.05), 1)
    10.6
    >>> round(10000 * smallest_detectable_kl(10000, level=0.05, control=10000), 1)
    10.8
    """
    normal = NormalDist()
    z = normal.inv_cdf(power)
    if control is not None:
        needed = normal.inv_cdf(1 - level / candidates) + z
        return needed**2 * (1 / max(1, tokens) + 1 / max(1, control)) / 2
    log_odds = math.log(candidates / level)
    root = (z * math.sqrt(2) + math.sqrt(2 * z * z + 4 * log_odds)) / 2
    return root**2 / max(1, tokens)
