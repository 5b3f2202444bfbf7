"""Simulate how often intervals cover the true value and verdicts are correct."""

from __future__ import annotations

import argparse
import math

import numpy as np
from scipy import stats

from bench.common import Report
from phi2sdk.analysis.paired import compare_paired, judge_all
from phi2sdk.analysis.statistics import quantile

__all__ = ["simulate"]

RUNS = 500
Draw = np.ndarray


def simulate(args: argparse.Namespace) -> int:
    """Print coverage and false verdicts; return 0 if they are within the binomial bounds."""
    report = Report("measure-simulations", args, ["numpy", "scipy"])
    rng = np.random.default_rng(2026)
    for p, name in ((0.5, "median"), (0.95, "p95")):
        for repetitions in (1, 3):
            rate = _quantile_coverage(rng, p, 100, repetitions)
            _coverage(report, f"{name}, n = 100 x {repetitions}", rate)
    for repetitions in (1, 3):
        rate = _ratio_coverage(rng, 100, repetitions)
        _coverage(report, f"paired ratio, n = 100 x {repetitions}", rate)
    false = _false_faster(rng, 100)
    limit = stats.binom.ppf(0.99, RUNS, 0.05) / RUNS
    report.row(what="false 'faster', 4 equal targets, 6 pairs", runs=RUNS, rate=false)
    report.check("false_faster", false, "<=", float(limit))
    return report.finish()


def _coverage(report: Report, what: str, rate: float) -> None:
    least = stats.binom.ppf(0.01, RUNS, 0.95) / RUNS
    report.row(what=f"coverage: {what}", runs=RUNS, rate=rate)
    report.check(f"coverage {what}", rate, ">=", float(least))


def _sides(rng: np.random.Generator, n: int, repetitions: int, count: int) -> list[Draw]:
    """Return log latencies, of which half of the variance is between prompts and shared."""
    base = math.sqrt(0.5) * rng.standard_normal((n, 1))
    noise = math.sqrt(0.5)
    return [base + noise * rng.standard_normal((n, repetitions)) for _ in range(count)]


def _quantile_coverage(rng: np.random.Generator, p: float, n: int, repetitions: int) -> float:
    truth = float(np.exp(stats.norm.ppf(p)))
    hits = 0
    for _ in range(RUNS):
        (side,) = _sides(rng, n, repetitions, 1)
        found = quantile(np.exp(side).ravel(), p, prompts=n)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= truth <= found.high
    return hits / RUNS


def _ratio_coverage(rng: np.random.Generator, n: int, repetitions: int) -> float:
    hits = 0
    for _ in range(RUNS):
        a, b = _sides(rng, n, repetitions, 2)
        pair = compare_paired(_values(a), _values(b + 0.1))
        assert pair.low is not None
        assert pair.high is not None
        hits += pair.low <= math.exp(0.1) <= pair.high
    return hits / RUNS


def _false_faster(rng: np.random.Generator, n: int) -> float:
    false = 0
    for _ in range(RUNS):
        values = [_values(side) for side in _sides(rng, n, 1, 4)]
        found = {
            f"{i}:{j}": compare_paired(values[i], values[j])
            for i in range(4)
            for j in range(i + 1, 4)
        }
        false += any(p.verdict in ("faster", "slower") for p in judge_all(found, {}).values())
    return false / RUNS


def _values(side: Draw) -> dict[str, list[float]]:
    return {str(i): [float(x) for x in row] for i, row in enumerate(np.exp(side))}
