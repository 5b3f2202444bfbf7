"""Test whether an endpoint's log-probabilities are those of the reference weights.

The endpoint and the local weights score the same texts, so their differences have no sampling
noise. An honest endpoint has differences too: its precision and the order of its sums round other
numbers. Two questions are asked of the differences.

1. *Size.* Are they larger than :data:`BAND` times those of the local weights in the honest
   precision that differs most?
2. *Pattern.* A quantizer moves each token's log-probability by an amount that the local weights can
   compute. Is more than :data:`PRESENT` of that pattern in the differences? A small quantization
   error, as of int8, is inside the band, but its pattern is not in the differences of honest
   weights, whose rounding errors are other numbers.

Each question compares a mean over answers with a bound. The test changes the signs of whole answers
at random, which is exact if the deviation of an answer is as likely positive as negative. The
questions use the same signs, so that their p-values are adjusted for each other (Westfall and
Young). The verdict is ``different`` if the mean of a question is significantly *above* its bound,
``consistent`` if all means are significantly *below* their bounds, and ``undetermined`` otherwise.
Too few tokens therefore never give ``consistent``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from phi2sdk.identity.call_table import Floats, Ints
from phi2sdk.identity.permutation import PERMUTATIONS, family_of

__all__ = ["SIZE", "LogprobsTest", "logprobs_test"]

SIZE = "size"
"""The name of the first question; the others have the names of the candidates."""
BAND = 2.0
"""Honest endpoints with other kernels differ by up to 1.5 times the differences measured here."""
PRESENT = 1 / 3
"""Int8 of bfloat16 weights contains 0.6 to 0.7 of the pattern of int8 of float16 weights, and
honest endpoints contain -0.15 to 0.1 of it."""
SHARE = 0.9
"""The size of an answer's differences is this quantile, which a few outliers do not change."""
FLOOR = 5e-4
"""Nats: smaller differences arise from float32 sums in another order and from printed digits."""
OUTLIER = 4.0
"""A difference counts as at most this multiple of the differences to expect at its token."""
LEAST_ANSWERS = 2

LogprobsVerdict = Literal["consistent", "different", "undetermined"]


@dataclass(frozen=True, slots=True)
class LogprobsTest:
    """The result of the test of an endpoint's log-probabilities.

    Attributes:
        verdict: The verdict at the level of this target alone.
        p: The smallest p-value against the honest precisions, adjusted for the questions.
        named: The candidate whose pattern explains the differences; ``None`` without one.
        precision: The honest precision with the largest differences.
        size: The size of the differences divided by that of ``precision``.
        shares: The share of each candidate's pattern that the differences contain.
        p_by_question: The adjusted p-value that the size, or this share, is below its bound.
        p_consistent: The p-value that any of them is above its bound.
    """

    verdict: LogprobsVerdict
    p: float
    named: str | None
    precision: str
    size: float
    shares: Mapping[str, float]
    p_by_question: Mapping[str, float]
    p_consistent: float


def logprobs_test(
    differences: Floats,
    answer: Ints,
    honest: Mapping[str, Floats],
    candidates: Mapping[str, Floats],
    *,
    alpha: float,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> LogprobsTest | None:
    """Test the differences of an endpoint; return ``None`` with fewer than two answers.

    Args:
        differences: ``[n]``, ``log p - log p_ref`` of the endpoint at each token, in nats.
        answer: ``[n]``, the index of each token's answer.
        honest: The same differences of the local weights, by honest precision beside the reference.
        candidates: The same, by candidate. Their own rounding errors must be small in comparison.
        alpha: The level of the verdict.
        permutations: The number of random signs of all answers.
        seed: The seed of the signs.
    """
    _, answer = np.unique(answer, return_inverse=True)
    count = int(answer.max(initial=-1)) + 1
    if count < LEAST_ANSWERS:
        return None
    precision = max(
        honest, key=lambda name: float(np.abs(honest[name]).mean()), default="reference"
    )
    band = honest.get(precision, np.zeros_like(differences))
    ratio = np.log(_sizes(differences, answer) / _sizes(band, answer))
    deviations = {SIZE: ratio - np.log(BAND)}
    shares = {}
    for name, pattern in candidates.items():
        others = [one for n, one in (*honest.items(), *candidates.items()) if n != name]
        shares[name], deviations[name] = _pattern(differences, pattern, others, band, answer)
    rows = np.stack(list(deviations.values()), axis=1)  # [answers, questions]
    rows /= np.maximum(np.sqrt((rows**2).sum(axis=0)), 1e-300)
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(1 + permutations, count))
    signs[0] = 1.0
    sums = signs @ rows
    above = family_of(list(deviations), sums)
    below = max(family_of(list(deviations), -sums).alone.values())
    verdict: LogprobsVerdict = "consistent" if below <= alpha else "undetermined"
    return LogprobsTest(
        verdict="different" if above.p <= alpha else verdict,
        p=above.p,
        named=_named(differences, answer, candidates, band, above.adjusted, alpha),
        precision=precision,
        size=float(np.exp(ratio.mean())),
        shares=shares,
        p_by_question=above.adjusted,
        p_consistent=below,
    )


def _sizes(differences: Floats, answer: Ints) -> Floats:
    """Return the size of the differences of each answer, ``[answers]``."""
    ends = np.flatnonzero(np.diff(answer)) + 1
    parts = np.split(np.abs(differences), ends)
    return np.array([max(float(np.quantile(part, SHARE)), FLOOR) for part in parts])


def _pattern(
    differences: Floats, pattern: Floats, others: list[Floats], band: Floats, answer: Ints
) -> tuple[float, Floats]:
    """Return the share of a pattern in the differences, and each answer's deviation from the bound.

    The share is the coefficient of the pattern in a regression on all patterns. Tokens with large
    values have small weights, so that no few of them decide.
    """
    noise = float(np.mean(band**2)) + FLOOR**2
    weight = 1 / np.sqrt(noise + band**2 + pattern**2)
    columns = np.stack([pattern, *others], axis=1) * weight[:, None]
    wanted = np.clip(differences * weight, -OUTLIER, OUTLIER)
    fitted = np.linalg.lstsq(columns, wanted, rcond=None)[0]
    beside = columns[:, 1:] @ np.linalg.lstsq(columns[:, 1:], columns[:, 0], rcond=None)[0]
    own = columns[:, 0] - beside
    rest = wanted - columns @ fitted
    share = float(fitted[0])
    deviation = own * (rest + (share - PRESENT) * own)
    return share, np.bincount(answer, deviation).astype(np.float64)


def _named(
    differences: Floats,
    answer: Ints,
    candidates: Mapping[str, Floats],
    band: Floats,
    p: Mapping[str, float],
    alpha: float,
) -> str | None:
    """Return the candidate whose pattern leaves the smallest rest, if that is inside the band."""
    most = BAND * _sizes(band, answer).mean()
    rests = {
        name: float(_sizes(differences - pattern, answer).mean())
        for name, pattern in candidates.items()
        if p[name] <= alpha
    }
    inside = {name: rest for name, rest in rests.items() if rest <= most}
    return min(inside, key=inside.__getitem__, default=None)
