"""Simulate how often the comparison of an evaluation is right: size, power, and coverage.

    python bench/evaluate_simulations.py [--quick] [--json FILE]

A run has the five bundled tasks with their numbers of items, and three targets: the reference, an
honest one, and one that is 10 points worse on one task. An honest target answers a share of the
items otherwise than the reference (``churn``), as often better as worse; so does the planted one,
besides the items that it gets wrong.

- ``false`` is the share of runs in which any of the honest comparisons shows a difference. The
  p-values are adjusted for all ten comparisons of a run, so it is at most 5%.
- ``detected`` is the share of runs in which the planted target is called worse on its task.
- ``covered`` is the share of runs whose 95% interval contains the true difference or score.
- ``gained`` is the share of runs in which a target that fails on half of the items that it would
  get wrong is called better.

The bounds are one-sided 99% binomial bounds.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from scipy import stats

from bench.common import Report, arguments
from phi2sdk.analysis.evaluation import (
    PairedScores,
    Values,
    compare_scores,
    judge_scores,
    score,
)
from phi2sdk.analysis.statistics import Estimate

TASKS = {
    "demo_multiple_choice": 300,
    "demo_yes_no": 400,
    "demo_exact_match": 250,
    "demo_arithmetic": 200,
    "demo_code": 200,
}
"""The bundled tasks with their numbers of items."""
ACCURACIES = (0.5, 0.7, 0.9)
CHURN = (0.0, 0.02, 0.1, 0.18)
LOSS = 0.1
RUNS = 1000

Draws = np.ndarray
Pairs = dict[tuple[str, str], PairedScores]


def simulate(args: argparse.Namespace) -> int:
    """Print size, power and coverage; return 0 if they are within their bounds."""
    report = Report("evaluate-simulations", args, ["numpy", "scipy"])
    runs = RUNS // 5 if args.quick else RUNS
    rng = np.random.default_rng(2026)
    for accuracy in ACCURACIES:
        for churn in CHURN:
            _compared(report, rng, accuracy, churn, runs)
    _scores(report, rng, runs)
    _groups(report, rng, runs)
    _continuous(report, rng, max(100, runs // 5))
    _failing(report, rng, runs)
    return report.finish()


def most(runs: int, rate: float = 0.05) -> float:
    """Return the largest share that is consistent with a rate."""
    return float(stats.binom.ppf(0.99, runs, rate)) / runs


def least(runs: int, rate: float = 0.95) -> float:
    """Return the smallest share that is consistent with a rate."""
    return float(stats.binom.ppf(0.01, runs, rate)) / runs


def _answers(rng: np.random.Generator, n: int, accuracy: float) -> Draws:
    return rng.random(n) < accuracy


def _other(
    rng: np.random.Generator, base: Draws, accuracy: float, churn: float, loss: float = 0.0
) -> Draws:
    """Return the answers of another target, of which on average ``loss`` fewer are right."""
    draws = rng.random(len(base))
    falls = draws < (churn / 2 + loss) / accuracy
    rises = draws < churn / 2 / (1 - accuracy)
    return np.where(base, ~falls, rises)


def _pair(a: Draws, b: Draws) -> PairedScores:
    found = compare_scores([list(map(float, a))], [list(map(float, b))])
    assert found is not None
    return found


def _compared(
    report: Report, rng: np.random.Generator, accuracy: float, churn: float, runs: int
) -> None:
    false, covered = 0, 0
    detected = dict.fromkeys(TASKS, 0)
    for run in range(runs):
        worse = list(TASKS)[run % len(TASKS)]
        pairs: Pairs = {}
        for task, n in TASKS.items():
            base = _answers(rng, n, accuracy)
            loss = LOSS if task == worse else 0.0
            pairs[task, "honest"] = _pair(base, _other(rng, base, accuracy, churn))
            pairs[task, "planted"] = _pair(base, _other(rng, base, accuracy, churn, loss))
        judged = judge_scores(pairs, lower_is_better=dict.fromkeys(pairs, False))
        detected[worse] += judged[worse, "planted"].verdict == "worse"
        honest = [one for key, one in judged.items() if key != (worse, "planted")]
        false += any(one.verdict != "not shown" for one in honest)
        covered += _within(judged[worse, "planted"].difference, -LOSS)
    power = {
        n: sum(detected[task] for task in TASKS if TASKS[task] == n)
        / (runs / len(TASKS) * sum(size == n for size in TASKS.values()))
        for n in sorted(set(TASKS.values()))
    }
    report.row(
        accuracy=accuracy,
        churn=churn,
        runs=runs,
        false=false / runs,
        covered=covered / runs,
        **{f"detected, {n} items": found for n, found in power.items()},
    )
    name = f"accuracy {accuracy:g}, churn {churn:g}"
    report.check(f"false, {name}", false / runs, "<=", most(runs))
    report.check(f"covered, {name}", covered / runs, ">=", least(runs) - 0.01)
    if churn <= 0.1:
        n = min(power) if churn <= 0.02 else max(power)
        report.check(f"detected with {n} items, {name}", power[n], ">=", 0.8)


def _within(found: Estimate, truth: float) -> bool:
    if found.low is None or found.high is None:
        return False
    return found.low <= truth <= found.high


def _scores(report: Report, rng: np.random.Generator, runs: int) -> None:
    for n, rate in ((200, 0.5), (200, 0.9), (1000, 0.7)):
        held = 0
        for _ in range(runs):
            found = score([list(map(float, _answers(rng, n, rate)))])
            held += found is not None and _within(found, rate)
        _coverage(report, f"score, {n} items, rate {rate:g}", held, runs)


def _groups(report: Report, rng: np.random.Generator, runs: int) -> None:
    """A group whose score is the mean of three tasks; the two targets are equal."""
    sizes, rates = (100, 250, 60), (0.4, 0.7, 0.85)
    held = false = equal = 0
    for _ in range(runs):
        bases = [_answers(rng, n, rate) for n, rate in zip(sizes, rates, strict=True)]
        a = [list(map(float, base)) for base in bases]
        b = [
            list(map(float, _other(rng, base, rate, 0.1)))
            for base, rate in zip(bases, rates, strict=True)
        ]
        found, pair = score(a), compare_scores(a, b)
        assert found is not None
        assert pair is not None
        held += _within(found, sum(rates) / 3)
        equal += _within(pair.difference, 0.0)
        false += pair.p <= 0.05
    _coverage(report, "score of a group of 3 tasks", held, runs)
    _coverage(report, "difference of a group of 3 tasks", equal, runs)
    report.check("false, group of 3 tasks", false / runs, "<=", most(runs))


def _continuous(report: Report, rng: np.random.Generator, runs: int) -> None:
    """Items with values between 0 and 1, such as F1; the two targets are equal."""
    held = false = 0
    for _ in range(runs):
        a = rng.beta(0.5, 0.5, 200)
        b = np.where(rng.random(200) < 0.3, rng.beta(0.5, 0.5, 200), a)
        a = np.where(rng.random(200) < 0.3, rng.beta(0.5, 0.5, 200), a)
        pair = compare_scores([list(a)], [list(b)])
        assert pair is not None
        held += _within(pair.difference, 0.0)
        false += pair.p <= 0.05
    _coverage(report, "difference of means, 200 items", held, runs)
    report.check("false, means", false / runs, "<=", most(runs))


def _failing(report: Report, rng: np.random.Generator, runs: int) -> None:
    gained = 0
    for _ in range(runs):
        base = _answers(rng, 300, 0.6)
        other = _other(rng, base, 0.6, 0.1)
        hidden: Values = [
            None if not right and rng.random() < 0.5 else float(right) for right in other
        ]
        pair = compare_scores([list(map(float, base))], [hidden])
        assert pair is not None
        gained += pair.p <= 0.05 and pair.difference.value > 0
    report.check("gained by failing", gained / runs, "<=", most(runs, 0.025))


def _coverage(report: Report, what: str, held: int, runs: int) -> None:
    report.row(what=what, runs=runs, covered=held / runs)
    report.check(f"covered, {what}", held / runs, ">=", least(runs) - 0.01)


if __name__ == "__main__":
    sys.exit(simulate(arguments(__doc__)))
