"""How many calls does it take to see a difference?

A pilot of texts by the suspected author is scored as answers are. Runs of N calls are then drawn
from it, with replacement, and put through the instruments as they are combined in a verdict: the
power at N is the share that is found. What a small pilot knows badly is the mean evidence of a
call. So the means are corrected by control variates: sums of which the exact divergence at every
place of the texts tells that their mean is 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import logsumexp, ndtr

from phi2sdk.measure.identity.lineup import likelihoods
from phi2sdk.measure.identity.routing import SHARES
from phi2sdk.measure.identity.table import CallTable, Floats
from phi2sdk.measure.identity.verdict import ALPHA, POWER

__all__ = ["MOST_CALLS", "Need", "Part", "calls_needed", "power_at"]

MOST_CALLS = 10_000_000
"""More calls than anybody would make: where so many do not suffice, none do."""
RUNS = 1000
"""So many runs are drawn for each number of calls."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Scored texts of one author, who answers a share of the calls.

    Attributes:
        calls: Pilot texts, scored under the honest precisions and all candidates.
        share: Of the calls that the author answers.
        controls: ``[n, k]`` columns whose true mean is known to be 0.
    """

    calls: CallTable
    share: float = 1.0
    controls: Floats = field(default_factory=lambda: np.zeros((0, 0)))


@dataclass(frozen=True, slots=True)
class Need:
    """What it takes.

    Attributes:
        calls: The smallest number of calls with the wanted power; ``None``: more than
            :data:`MOST_CALLS`.
        low, high: The calls if the mean evidence of a call is larger or smaller by twice the
            pilot's standard error of it; ``high`` is ``None`` where that leaves no evidence.
        tokens: Output tokens of a call, on average.
        entropy: Nats a token, on average.
        power: By instrument alone, and ``all`` together, at ``calls``.
    """

    calls: int | None
    low: int | None
    high: int | None
    tokens: float
    entropy: float
    power: Mapping[str, float]


def calls_needed(
    parts: Sequence[Part],
    *,
    power: float = POWER,
    alpha: float = ALPHA,
    targets: int = 1,
    instruments: int = 4,
    seed: int = 0,
) -> Need:
    """The smallest number of calls at which an author is found with a probability of ``power``.

    Args:
        parts: Who answers; their shares add up to 1.
        power: Above 0, below 1.
        alpha: The level of the whole run.
        targets: That are tested in the run; Holm's first step counts them all.
        instruments: That Bonferroni counts. MMD, the fourth, is counted and not relied on.
        seed: Of the draws.
    """
    scored = _Scored.of(parts)
    level = alpha / (targets * instruments)
    found, low, high = (_search(scored.moved(by), power, level, seed) for by in (0.0, 2.0, -2.0))
    shown = scored.power(found or MOST_CALLS, level, seed)
    weights = np.concatenate([np.full(len(p.calls), p.share / len(p.calls)) for p in parts])
    tokens = float(weights @ np.concatenate([p.calls.tokens for p in parts]))
    entropy = float(weights @ np.concatenate([p.calls.entropy for p in parts]))
    return Need(found, low, high, tokens, entropy / tokens if tokens else 0.0, shown)


def power_at(
    parts: Sequence[Part],
    calls: int,
    *,
    alpha: float = ALPHA,
    targets: int = 1,
    instruments: int = 4,
    seed: int = 0,
) -> Mapping[str, float]:
    """The power with so many calls, by instrument and of ``all`` together."""
    return _Scored.of(parts).power(calls, alpha / (targets * instruments), seed)


def _search(scored: _Scored, power: float, level: float, seed: int) -> int | None:
    def enough(calls: int) -> bool:
        return scored.power(calls, level, seed)["all"] >= power

    high = 1
    while not enough(high):
        high *= 2
        if high > MOST_CALLS:
            return None
    low = high // 2
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True, slots=True, eq=False)
class _Scored:
    """The evidence of each pilot call, as columns to be summed over the calls of a run.

    Attributes:
        chance: ``[n]`` of each pilot call to be the next.
        honest: The precisions of the null.
        evidence: ``[n, H, C (1 + S)]`` log ratios of the candidates, alone and with each share.
        drift, variance: ``[n, H]`` of the score test.
        errors: ``[H, C (1 + S)]`` and ``[H]`` standard errors of the corrected means.
        candidates: C.
    """

    chance: Floats
    evidence: Floats
    drift: Floats
    variance: Floats
    errors: tuple[Floats, Floats]
    candidates: int

    @classmethod
    def of(cls, parts: Sequence[Part]) -> _Scored:
        columns = [_columns(part.calls) for part in parts]
        chance: list[Floats] = []
        evidence: list[Floats] = []
        drift: list[Floats] = []
        variance: list[Floats] = []
        errors = [np.zeros(columns[0][0].shape[1:]), np.zeros(columns[0][1].shape[1:])]
        for part, (ratios, moved, spread) in zip(parts, columns, strict=True):
            n = len(part.calls)
            chance.append(np.full(n, part.share / n))
            for index, (column, kept) in enumerate(((ratios, evidence), (moved, drift))):
                flat = column.reshape(n, -1)
                mean, error = _mean(flat, part.controls)
                kept.append((flat + (mean - flat.mean(axis=0))).reshape(column.shape))
                squared = (part.share * error.reshape(column.shape[1:])) ** 2
                errors[index] = np.sqrt(errors[index] ** 2 + squared)
            variance.append(spread)
        return cls(
            np.concatenate(chance),
            np.concatenate(evidence),
            np.concatenate(drift),
            np.concatenate(variance),
            (errors[0], errors[1]),
            columns[0][0].shape[2] // (1 + len(SHARES)),
        )

    def moved(self, errors: float) -> _Scored:
        """With so many standard errors more evidence in each call."""
        if not errors:
            return self
        away = np.sign(self.chance @ self.drift)
        return _Scored(
            self.chance,
            self.evidence + errors * self.errors[0],
            self.drift + errors * away * self.errors[1],
            self.variance,
            self.errors,
            self.candidates,
        )

    def power(self, calls: int, level: float, seed: int) -> dict[str, float]:
        """The share of runs of so many calls that are found."""
        rng = np.random.default_rng(seed)
        n, honest = self.drift.shape
        counts = rng.multinomial(calls, self.chance / self.chance.sum(), RUNS).astype(np.float64)
        evidence = (counts @ self.evidence.reshape(n, -1)).reshape(RUNS, honest, -1)
        drift, variance = counts @ self.drift, counts @ self.variance
        z = np.divide(drift, np.sqrt(variance), out=np.zeros_like(drift), where=variance > 0)
        alone = evidence[:, :, : self.candidates]
        shared = evidence[:, :, self.candidates :]
        p = {
            "score": (2 * ndtr(-np.abs(z))).max(axis=1),
            "line-up": _e_to_p(alone).max(axis=1),
            "routing": _e_to_p(shared).max(axis=1),
        }
        found = {name: float((values <= level).mean()) for name, values in p.items()}
        smallest = np.minimum.reduce(list(p.values()))
        return {**found, "all": float((smallest <= level).mean())}


def _columns(calls: CallTable) -> tuple[Floats, Floats, Floats]:
    """``[n, H, C (1 + S)]`` log ratios, ``[n, H]`` drifts, ``[n, H]`` variances."""
    authors = np.stack(list(likelihoods(calls).values()), axis=1)  # [n, C]
    evidence = []
    for name in calls.honest:
        ratios = authors - calls.logp[name][:, None]
        mixed = [np.logaddexp(math.log1p(-s), math.log(s) + ratios) for s in SHARES]
        evidence.append(np.concatenate([ratios, *mixed], axis=1))
    drift, variance = (
        np.stack([by_name[name] for name in calls.honest], axis=1)
        for by_name in (calls.drift, calls.variance)
    )
    return np.stack(evidence, axis=1), drift, variance


def _e_to_p(log_ratios: Floats) -> Floats:
    log_e = logsumexp(log_ratios, axis=2) - math.log(log_ratios.shape[2])
    return np.asarray(np.exp(-np.maximum(0.0, log_e)), dtype=np.float64)


def _mean(columns: Floats, controls: Floats) -> tuple[Floats, Floats]:
    """Means of ``[n, m]`` columns and their standard errors, corrected by control variates.

    The regression on columns of mean 0 has its intercept where the mean would be without noise.
    """
    n = len(columns)
    design = np.ones((n, 1)) if not controls.size else np.column_stack([np.ones(n), controls])
    fitted, *_ = np.linalg.lstsq(design, columns, rcond=1e-8)
    rest = columns - design @ fitted
    free = max(1, n - design.shape[1])
    return fitted[0], np.sqrt((rest**2).sum(axis=0) / free / n)
