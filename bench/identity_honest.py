"""Simulate honest targets, and count how often the identity tests reject one.

    python bench/identity.py --honest POOLS --runs 1000 --continue honest.jsonl

A cell is a template of the prompts and a way to serve the model: in each precision, and with
the white space at the ends of the answers removed. The seed of a request is ignored in every cell.
Each run draws the calls of a target and of its control from a pool of answers without replacement.
The answers of all precisions have the same random numbers, as in an examination. Given which
answers were drawn, chance alone decides which of them are the target's. The false alarms of
different runs are therefore independent although the runs share a pool.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from bench.common import Report
from bench.identity_frauds import append, read
from bench.identity_pools import MAX_TOKENS, SUBJECTS, load, save
from phi2sdk.identity.call_table import CallTable
from phi2sdk.identity.control_samples import sample_precisions, spread
from phi2sdk.identity.score_answers import scored
from phi2sdk.identity.verdict import run_tests
from phi2sdk.identity.weights import HONEST, PRECISIONS, Loader, Weights
from phi2sdk.measure.sampled import Answers, leading_space
from phi2sdk.prompts import Format, render

LEVEL = 0.05
CALLS = 100
POOL = 1200
"""The answers of a pool: four times those of a run."""
PERMUTATIONS = 999
TEMPLATES: tuple[Format, ...] = ("instruct", "qa", "chat")
SERVED = (*PRECISIONS, "trimmed")

Pools = Mapping[str, Mapping[str, CallTable]]


def make(folder: Path, template: Format, count: int, seed: int) -> None:
    """Write the pools of one template: row i of each has the same random numbers."""
    texts = {s: f"Write a paragraph about {s}." for s in SUBJECTS}
    prompts = {name: render(text, template).text for name, text in texts.items()}
    loader = Loader(Weights(model="demo", honest=PRECISIONS, device="cpu"))
    ids = spread(list(prompts), count)
    drawn = sample_precisions(loader, [prompts[id] for id in ids], max_tokens=MAX_TOKENS, seed=seed)
    leading = leading_space(drawn[HONEST[0]]) or ""
    drawn["trimmed"] = [leading + text.strip() for text in drawn[HONEST[0]]]
    usable = [
        at
        for at in range(count)
        if all(own[at].strip() and "\ufffd" not in own[at] for own in drawn.values())
    ]
    groups = {
        name: Answers.of_texts([ids[at] for at in usable], [own[at] for at in usable])
        for name, own in drawn.items()
    }
    _, tables = scored(loader, prompts, template, groups)
    for name, table in tables.items():
        save(folder / f"{template}-{name}.npz", table)


def pools(folder: Path, count: int) -> Pools:
    """Return the pools by template and way of serving; missing ones are made."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, template in enumerate(TEMPLATES):
        if not all((folder / f"{template}-{name}.npz").exists() for name in SERVED):
            make(folder, template, count, 500 + seed)
    return {t: {name: load(folder / f"{t}-{name}.npz") for name in SERVED} for t in TEMPLATES}


def one_run(found: Pools, calls: int, seed: int) -> dict[str, float]:
    """Return the p-value of a target in each cell, before the correction for several targets."""
    rng = np.random.default_rng(seed)
    p = {}
    for template, tables in found.items():
        prompt = tables[HONEST[0]].prompt
        rows = np.concatenate(
            [
                rng.permutation(np.flatnonzero(prompt == one))[: 2 * (calls // len(SUBJECTS) + 1)]
                for one in np.unique(prompt)
            ]
        ).reshape(-1, 2)
        kept = rng.permutation(len(rows))[:calls]
        own, other = rows[kept, 0], rows[kept, 1]
        control = {name: tables[name].take(other) for name in HONEST}
        for name in SERVED:
            tests = run_tests(tables[name].take(own), control, permutations=PERMUTATIONS, seed=seed)
            assert tests is not None
            p[f"{template}, {name}"] = tests.p
    return p


def honest(args: argparse.Namespace) -> int:
    """Add the missing runs to the file, and print the share of rejected targets by cell."""
    torch.set_num_threads(1)
    report = Report("identity-honest", args, ["torch", "numpy", "scipy"])
    found = pools(args.honest, POOL)
    lines = read(args.file)
    done = {line["run"] for line in lines}
    calls = (args.calls or [CALLS])[0]
    for seed in range(args.runs):
        if seed not in done:
            line = {"run": seed, "p": one_run(found, calls, seed)}
            append(args.file, [line])
            lines.append(line)
            if seed % 50 == 49:
                print(f"{len(lines)} of {args.runs} runs", file=sys.stderr, flush=True)
    cells = list(lines[0]["p"])
    most = float(stats.binom.ppf(1 - 0.01 / len(cells), len(lines), LEVEL)) / len(lines)
    rates = []
    for cell in cells:
        rates.append(float(np.mean([line["p"][cell] <= LEVEL for line in lines])))
        report.row(what=f"rejected: {cell}", calls=calls, runs=len(lines), rate=rates[-1])
        report.check(f"size {cell}", rates[-1], "<=", most)
    report.check("size of all cells together", float(np.mean(rates)), ">=", 0.01)
    return report.finish()
