"""Simulate false alarms, power and intervals of the identity tests.

    python -m bench.identity_pools POOLS --other CHECKPOINT
    python bench/identity.py --simulate --pools POOLS --json identity-simulations.json

Every run draws its calls, and as many control calls, from pools of really sampled answers of the
bundled model (see identity_pools.py), without replacement and evenly over the prompts. That runs
share a pool does not make their false alarms depend on each other: given which calls were drawn,
chance alone decides in each run which of them are the target's and which are control.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from bench.common import Report
from bench.identity_pools import MAX_TOKENS, PROMPTS, pools
from phi2sdk.analysis.retokenize import as_written
from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.likelihood import divergences
from phi2sdk.identity.alternatives import parse
from phi2sdk.identity.call_table import CallTable, joined
from phi2sdk.identity.likelihood_tests import effective_temperature
from phi2sdk.identity.pilot import Setting, pilot, write
from phi2sdk.identity.power_analysis import calls_needed
from phi2sdk.identity.verdict import Tests, judge, run_tests
from phi2sdk.identity.weights import PRECISIONS, Weights

ALPHA = 0.05
SIZE_RUNS = 1000
LARGE_RUNS = 400
POWER_RUNS = 100
CURVE_RUNS = 100
CURVE = (0.35, 0.5, 0.7, 1.0, 1.4, 2.0)
"""Numbers of calls at which the power is simulated, as shares of the planned one."""
PROVIDERS = {
    "float32": "float32",
    "hosted": "float32",
    "float16": "float16",
    "bfloat16": "bfloat16",
}
WANTED = {
    "t=0.8": "t=0.8",
    "top_p=0.9": "top_p=0.9",
    "int4": "int4",
    "template=qa": "template=qa",
    "route=0.2": "route=0.2:other",
}


class Deck:
    """A pool that gives out each call once in a run."""

    def __init__(self, pool: CallTable, rng: np.random.Generator) -> None:
        self._pool = pool
        self._rows = {
            int(prompt): rng.permutation(np.flatnonzero(pool.prompt == prompt))
            for prompt in np.unique(pool.prompt)
        }
        self._next = dict.fromkeys(self._rows, 0)

    def deal(self, prompts: np.ndarray) -> np.ndarray:
        """The next row for each prompt."""
        rows = []
        for prompt in prompts.tolist():
            rows.append(self._rows[prompt][self._next[prompt]])
            self._next[prompt] += 1
        return np.array(rows, dtype=np.int64)

    def draw(self, prompts: np.ndarray) -> CallTable:
        """A call to each prompt."""
        return self._pool.take(self.deal(prompts))


def _even(calls: int) -> np.ndarray:
    return np.arange(calls) % len(PROMPTS)


def _tests(
    target: CallTable,
    control: Mapping[str, CallTable],
    permutations: int,
    seed: int,
    *,
    mmd: bool = True,
) -> Tests:
    if not mmd:
        target = replace(target, texts=())
        control = {name: replace(own, texts=()) for name, own in control.items()}
    found = run_tests(target, control, permutations=permutations, seed=seed)
    assert found is not None
    return found


# --------------------------------------------------------------------------- false alarms


def sizes(
    report: Report, found: Mapping[str, CallTable], calls: int, runs: int, *, mmd: bool
) -> None:
    """Four honest providers, each against the control of every precision."""
    rng = np.random.default_rng(calls)
    own: dict[str, list[float]] = {}
    composite: dict[str, list[float]] = {}
    accused = 0
    for run in range(runs):
        decks = {name: Deck(found[name], rng) for name in PRECISIONS}
        prompts = _even(calls)
        control = {name: decks[name].draw(prompts) for name in PRECISIONS}
        tests = {
            provider: _tests(
                decks[name].draw(prompts), control, 999 if calls < 500 else 399, run, mmd=mmd
            )
            for provider, name in PROVIDERS.items()
        }
        accused += any(v.name == "different" for v in judge(tests, alpha=ALPHA).values())
        for provider, name in PROVIDERS.items():
            if provider == "hosted":
                continue
            for instrument, one in tests[provider].instruments.items():
                own.setdefault(f"{instrument}, {name}", []).append(one.alone[name])
                composite.setdefault(f"{instrument}, {name}", []).append(max(one.alone.values()))
        _tell(f"{calls} calls: run {run + 1} of {runs}, {accused} accused")
    least, most = _bounds(runs)
    for what, values in own.items():
        rate = float(np.mean(np.array(values) <= ALPHA))
        report.row(what=f"false alarms, {what}", calls=calls, runs=runs, rate=rate,
                   composite=float(np.mean(np.array(composite[what]) <= ALPHA)))  # fmt: skip
        report.check(f"size {what}, {calls} calls", rate, "<=", most)
        report.check(f"size {what}, {calls} calls, not less", rate, ">=", least)
    instruments = 4 if mmd else 3
    report.row(what=f"any of 4 honest accused, Holm, {instruments} instruments", calls=calls,
               runs=runs, rate=accused / runs, composite=None)  # fmt: skip
    report.check(f"accusations of 4 honest, {calls} calls", accused / runs, "<=", most)


def _bounds(runs: int) -> tuple[float, float]:
    """One-sided 99 % bounds of a rate of ALPHA."""
    low, high = stats.binom.ppf((0.01, 0.99), runs, ALPHA)
    return float(low) / runs, float(high) / runs


# --------------------------------------------------------------------------- power


def _target(name: str, calls: int, decks: Mapping[str, Deck], rng: np.random.Generator,
            found: Mapping[str, CallTable]) -> CallTable:  # fmt: skip
    prompts = _even(calls)
    if name != "route=0.2":
        return decks[name].draw(prompts)
    away = rng.random(calls) < 0.2
    here, there = decks["float32"].draw(prompts[~away]), decks["other"].draw(prompts[away])
    return joined([here, there])


def _power(
    name: str, calls: int, found: Mapping[str, CallTable], runs: int, seed: int
) -> tuple[float, float]:
    """The share of runs that are found, and of those the share in which it is named closest."""
    rng = np.random.default_rng(seed)
    hits = named = 0
    for run in range(runs):
        decks = {pool: Deck(found[pool], rng) for pool in found}
        control = {honest: decks[honest].draw(_even(calls)) for honest in PRECISIONS}
        tests = _tests(_target(name, calls, decks, rng, found), control, 499, run)
        if judge({"t": tests}, alpha=ALPHA)["t"].name == "different":
            hits += 1
            named += tests.line_up.closest == {"t=0.8": "T=0.8"}.get(name, name)
    return hits / runs, named / hits if hits else 0.0


def powers(report: Report, found: Mapping[str, CallTable], other: Path | None, quick: bool) -> None:
    """Compare the planned number of calls with the number that is needed."""
    entropy = float(found["float32"].entropy.sum() / found["float32"].tokens.sum())
    runs = 20 if quick else POWER_RUNS
    for number, (name, detect) in enumerate(WANTED.items()):
        if name == "route=0.2" and ("other" not in found or other is None):
            report.check(f"power {name}", None, ">=", 0.9, reason="no second checkpoint was given")
            continue
        if name not in found and name != "route=0.2":
            report.check(f"power {name}", None, ">=", 0.9, reason="its pool was not made")
            continue
        asked = parse(detect.replace(":other", f":{other}"))
        setting = Setting(PROMPTS, "instruct", MAX_TOKENS, 256, 31 + number)
        made = pilot(Weights(model="demo", honest=PRECISIONS, device="cpu"), asked, setting)
        need = calls_needed(made.parts, made.control)
        assert need.calls is not None
        points = {}
        for share in (1.0,) if quick else CURVE:
            calls = max(8, round(need.calls * share))
            points[calls] = _power(name, calls, found, runs, 100 * number + int(share * 10))
            _tell(f"{name}: power {points[calls][0]:.2f} at {calls} calls")
        power, named = points[max(8, need.calls)]
        true = None if quick else _reaches({n: p for n, (p, _) in points.items()}, 0.95)
        report.row(what=f"to find {name}", planned=need.calls, low=need.low, high=need.high,
                   kl_per_token=made.kl, power=power, true=true,
                   planned_to_true=None if true is None else need.calls / true,
                   tokens=need.calls * need.tokens,
                   closest=None if name.startswith("route") else named, runs=runs)  # fmt: skip
        for calls, (share, _) in sorted(points.items()):
            report.row(what="curve", of=name, calls=calls, power=share, runs=runs)
        report.check(f"power {name}", power, ">=", 0.9)
        if true is not None:
            report.check(f"planned to true {name}", need.calls / true, "<=", 1.5)
            report.check(f"true to planned {name}", true / need.calls, "<=", 1.5)
        if name == "t=0.8":
            report.check("tokens for t=0.8", need.calls * need.tokens, "<=", 5000)
            report.check("mean entropy, nats per token", entropy, ">=", 1.0)
        if name == "int4":
            report.check("int4 named closest", named, ">=", 0.8)


def _reaches(points: Mapping[int, float], power: float) -> float:
    """The calls with a power, by a probit regression on the root of the calls."""
    calls = np.array(sorted(points), dtype=float)
    rates = np.array([points[int(n)] for n in calls])

    def loss(theta: np.ndarray) -> float:
        p = np.clip(stats.norm.cdf(theta[0] + theta[1] * np.sqrt(calls)), 1e-6, 1 - 1e-6)
        return float(-(rates * np.log(p) + (1 - rates) * np.log(1 - p)).sum())

    from scipy.optimize import minimize

    start = np.array([-2.0, 4.0 / math.sqrt(float(np.median(calls)))])
    a, b = minimize(loss, start, method="Nelder-Mead", options={"maxiter": 4000}).x
    return float(((stats.norm.ppf(power) - a) / b) ** 2)


# --------------------------------------------------------------------------- temperature


def temperatures(report: Report, found: Mapping[str, CallTable], runs: int) -> None:
    """Measure how often the interval of the effective temperature covers the true one."""
    least = float(stats.binom.ppf(0.01, runs, 0.95)) / runs
    for name, truth in (("float32", 1.0), ("t=0.8", 0.8)):
        if name not in found:
            continue
        rng = np.random.default_rng(5)
        hits, widths = 0, []
        for _ in range(runs):
            deck = Deck(found[name], rng)
            own = deck if name == "float32" else Deck(found["float32"], rng)
            one = effective_temperature(deck.draw(_even(100)), own.draw(_even(100)))
            assert one is not None
            assert one.low is not None
            assert one.high is not None
            hits += one.low <= truth <= one.high
            widths.append(one.high - one.low)
        report.row(what=f"temperature interval, truth {truth}", calls=100, runs=runs,
                   rate=hits / runs, width=float(np.median(widths)))  # fmt: skip
        report.check(f"coverage of T = {truth}", hits / runs, ">=", least)


def divergence(report: Report) -> None:
    """Measure the divergence of other authors in nats per token, exact at every token."""
    setting = Setting(PROMPTS, "instruct", MAX_TOKENS, 256, 77)
    reference = LocalModel.load("demo", dtype="float32", device="cpu")
    for name in ("float16", "bfloat16", "int8", "int4"):
        asked: dict[str, Any] = {"quantize": name} if name.startswith("int") else {"dtype": name}
        author = LocalModel.load("demo", device="cpu", **asked)
        plain = parse("t=1").sampling(MAX_TOKENS)
        written = write(author, setting, setting.asked(), plain, setting.seed)
        spelt = as_written(reference, list(zip(written.sent, written.texts, strict=True)))
        texts = [(author.encode(s), ids) for s, ids in zip(written.sent, spelt, strict=True)]
        found = divergences(author, plain, reference, texts, texts)
        tokens = np.array([len(ids) for _, ids in texts])
        kl = np.array([one.kl for one in found])
        mean = kl.sum() / tokens.sum()
        error = (kl - tokens * mean).std() * math.sqrt(len(kl)) / tokens.sum()
        report.row(what=f"KL of {name}", calls=len(texts), kl_per_token=float(mean),
                   error=float(error))  # fmt: skip


def simulate(args: argparse.Namespace) -> int:
    """Print how often the tests are right; 0 if the bounds allow it."""
    report = Report("identity-simulations", args, ["torch", "numpy", "scipy"])
    found = dict(pools(args.pools)) if args.pools is not None else {}
    wanted = set(args.part or ["divergence", "temperature", "power", "size", "large"])
    needed = PRECISIONS if wanted & {"power", "size", "large"} else ("float32",)
    if wanted != {"divergence"} and not all(name in found for name in needed):
        print("make the pools first: python -m bench.identity_pools POOLS", file=sys.stderr)
        return 2
    for name, pool in found.items():
        report.row(what=f"pool {name}", calls=len(pool), tokens=int(pool.tokens.sum()),
                   entropy=float(pool.entropy.sum() / pool.tokens.sum()))  # fmt: skip
    runs = 40 if args.quick else SIZE_RUNS
    if "divergence" in wanted:
        divergence(report)
    if "temperature" in wanted:
        temperatures(report, found, runs)
    if "size" in wanted:
        sizes(report, found, 100, runs, mmd=True)
    if "power" in wanted:
        powers(report, found, args.other, args.quick)
    if "large" in wanted and not args.quick:
        sizes(report, found, 2000, LARGE_RUNS, mmd=False)
    report.note("every answer was sampled from the bundled model, 24 tokens at most, 16 prompts")
    return report.finish()


def _tell(text: str) -> None:
    print(f"\r{text}   ", end="\n" if not sys.stderr.isatty() else "", file=sys.stderr, flush=True)
