"""Mutation tests: change the code in one place at a time, and check that a test fails.

The mutations invert comparisons, negate conditions, change numbers, and exchange entries of the
tables of statuses in ``transport/failures.py`` (the error class of each failure) and
``client/policies.py`` (retries). Each mutant is made in a copy of the tree, in which the tests run
until one fails.

    python tools/mutants.py [--jobs N] [--only TEXT] [--sample N] [--minutes N] [--markdown FILE]

The order of the mutants is random with a fixed seed, so that those tested within ``--minutes`` are
a random sample. ``--markdown`` writes the result for docs/contributing/mutation-tests.md. The exit
status is 0 if the tests detect at least 90 % of the tested mutants.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import os
import random
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from time import monotonic

import pytest

ROOT = Path(__file__).resolve().parent.parent
TARGETS = {
    "phi2sdk/transport/failures.py": (
        "BY_STATUS",
        "BY_CODE",
        "Failure",
        "error_for",
        "retry_after",
        "_seconds",
    ),
    "phi2sdk/client/policies.py": ("RetryBudget", "Retry", "_within", "_fits"),
}
STAGES = (
    (
        "tests/reliability/test_classify.py",
        "tests/reliability/test_retry_rules.py",
        "tests/transport/test_failures.py",
        "tests/client/test_policies.py",
        "tests/test_errors.py",
    ),
    (
        "tests/reliability/test_matrix.py",
        "tests/reliability/test_cancellation.py",
        "-k",
        "closing or (openai and completions and async)",
    ),
)
LIBRARIES = ("aiohttp", "cryptography.x509", "pydantic", "scipy.stats", "tenacity")
"""Libraries that are imported once for all mutants."""
EQUAL = frozenset({400, 413, 422, 500, 502})
"""Statuses with the same error class as other 4xx or 5xx: changing them has no effect."""
TURNED = {
    ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
SHIFTED = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}


Change = Callable[[ast.AST], None]


@dataclass(frozen=True)
class Mutant:
    """A source file with one change."""

    path: str
    what: str
    source: str


def mutants() -> Iterator[Mutant]:
    """Yield all mutants."""
    for path, names in TARGETS.items():
        tree = ast.parse((ROOT / path).read_text())
        for at, node in enumerate(tree.body):
            if _name(node) in names:
                for what, changed in _changes(node):
                    if _name(node) == "BY_STATUS" and any(f"{n}'" in what for n in EQUAL):
                        continue
                    whole = copy.copy(tree)
                    whole.body = [*tree.body[:at], changed, *tree.body[at + 1 :]]
                    source = ast.unparse(ast.fix_missing_locations(whole))
                    yield Mutant(path, f"{path}:{what}", source)


def _name(node: ast.stmt) -> str:
    if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
        return node.target.id
    return str(getattr(node, "name", ""))


def _changes(node: ast.stmt) -> Iterator[tuple[str, ast.stmt]]:
    """Yield each change of a statement with its description and the changed statement."""
    for index, part in enumerate(ast.walk(node)):
        for what, change in _of(part):
            made = copy.deepcopy(node)
            for number, mine in enumerate(ast.walk(made)):
                if number == index:
                    change(mine)
                    break
            line = getattr(part, "lineno", 0)
            yield f"{line} {what}: {ast.unparse(part)[:60]!r}", made


def _of(part: ast.AST) -> Iterator[tuple[str, Change]]:
    def put(**fields: object) -> Change:
        def change(mine: ast.AST) -> None:
            for name, value in fields.items():
                setattr(mine, name, value)

        return change

    if isinstance(part, ast.Compare) and len(part.ops) == 1:
        kind = type(part.ops[0])
        if kind in TURNED:
            yield "turned", put(ops=[TURNED[kind]()])
        if kind in SHIFTED:
            yield "shifted", put(ops=[SHIFTED[kind]()])
    elif isinstance(part, ast.BoolOp):
        other = ast.Or() if isinstance(part.op, ast.And) else ast.And()
        yield "and/or", put(op=other)
    elif isinstance(part, ast.If | ast.IfExp):
        yield "never", put(test=ast.Constant(False))
        yield "always", put(test=ast.Constant(True))
    elif isinstance(part, ast.BinOp) and isinstance(
        part.op, ast.Add | ast.Sub | ast.Mult | ast.Div
    ):
        swap = {ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult}
        yield "arithmetic", put(op=swap[type(part.op)]())
    elif isinstance(part, ast.AugAssign):
        yield "arithmetic", put(op=ast.Sub() if isinstance(part.op, ast.Add) else ast.Add())
    elif isinstance(part, ast.Constant) and isinstance(part.value, bool):
        yield "boolean", put(value=not part.value)
    elif isinstance(part, ast.Constant) and isinstance(part.value, int | float):
        yield "number", put(value=part.value + 1)
    elif isinstance(part, ast.Return) and part.value is not None:
        if not (isinstance(part.value, ast.Constant) and part.value.value is None):
            yield "returns None", put(value=ast.Constant(None))
    elif isinstance(part, ast.Dict):
        for key in range(len(part.values)):
            if isinstance(part.values[key], ast.Name):
                values = list(part.values)
                wrong = "BadResponse" if values[key].id != "BadResponse" else "Timeout"  # type: ignore[attr-defined]
                values[key] = ast.Name(wrong, ast.Load())
                yield f"entry {ast.unparse(part.keys[key])}", put(values=values)  # type: ignore[arg-type]


def killed(mutant: Mutant, folder: Path) -> str | None:
    """Return the stage whose tests detect the mutant; ``None`` if no test detects it."""
    original = (folder / mutant.path).read_text()
    (folder / mutant.path).write_text(mutant.source)
    try:
        for stage in STAGES:
            if not _passes(stage, folder):
                return stage[0]
    finally:
        (folder / mutant.path).write_text(original)
    return None


def _passes(stage: tuple[str, ...], folder: Path) -> bool:
    """Return whether the tests pass, in a fork that has all libraries imported."""
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(150)
            os.chdir(folder)
            sys.path.insert(0, str(folder))
            silent = os.open(os.devnull, os.O_RDWR)
            for stream in (0, 1, 2):
                os.dup2(silent, stream)
            options = ["-x", "-q", "-p", "no:cacheprovider", "--timeout", "20", *stage]
            os._exit(int(pytest.main(options)))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    return status == 0


def main() -> int:
    """Test all mutants, and print the survivors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument(
        "--only", default="", help="test only mutants whose description contains this text"
    )
    parser.add_argument("--sample", type=int, help="number of mutants, drawn with a fixed seed")
    parser.add_argument("--minutes", type=float, help="time after which no mutant is started")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="file for the result, for the documentation"
    )
    args = parser.parse_args()
    whole = [mutant for mutant in mutants() if args.only in mutant.what]
    chosen = random.Random(8).sample(whole, min(args.sample or len(whole), len(whole)))
    for name in LIBRARIES:
        importlib.import_module(name)
    assert all(_passes(stage, ROOT) for stage in STAGES), "the tests fail without a mutation"
    end = monotonic() + 60 * args.minutes if args.minutes else float("inf")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        jobs = [_job(folder, chosen, number, args.jobs, end) for number in range(args.jobs)]
        for job in jobs:
            os.waitpid(job, 0)
        ended = [line for file in folder.glob("*.txt") for line in file.open()]
    assert ended if args.minutes else len(ended) == len(chosen), "some mutants were not tested"
    survivors = sorted(
        line.removeprefix("SURVIVED").strip() for line in ended if line.startswith("SURVIVED")
    )
    share = 1 - len(survivors) / len(ended)
    killed = f"{len(ended) - len(survivors)} of {len(ended)} mutants killed ({share:.1%})"
    if len(ended) < len(whole):
        killed += f", drawn from {len(whole)}"
    print(f"{killed}; survivors:", *survivors, sep="\n")
    if args.markdown:
        chosen_by = {"only": args.only, "sample": args.sample, "minutes": args.minutes}
        options = "".join(f" --{name} {value}" for name, value in chosen_by.items() if value)
        args.markdown.write_text(_markdown(killed, options, survivors), encoding="utf-8")
    return 0 if share >= 0.9 else 1


def _markdown(killed: str, options: str, survivors: list[str]) -> str:
    """Return the result as a paragraph and a list."""
    head = f"{killed}, by `python tools/mutants.py{options}` on {date.today()}."
    rows = [f"- `{survivor.replace('`', chr(39))}`" for survivor in survivors]
    return "\n".join([head, *(["Survivors:", "", *rows] if rows else [])]) + "\n"


def _job(temporary: Path, chosen: list[Mutant], number: int, jobs: int, end: float) -> int:
    """Fork a process that tests every ``jobs``-th mutant until ``end``; return its id."""
    folder = temporary / str(number)
    ignore = shutil.ignore_patterns(".git", "__pycache__", "training", "site", ".*_cache")
    shutil.copytree(ROOT, folder, ignore=ignore)
    job = os.fork()
    if job:
        return job
    try:
        with (temporary / f"{number}.txt").open("w", buffering=1) as report:
            for mutant in chosen[number::jobs]:
                if monotonic() > end:
                    break
                fate = "SURVIVED" if killed(mutant, folder) is None else "killed  "
                print(f"{fate} {mutant.what}", flush=True)
                report.write(f"{fate} {mutant.what}\n")
    finally:
        os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
