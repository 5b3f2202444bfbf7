"""The metric of tasks whose answers are programs: the share of programs that pass their tests.

The definitions of these tasks name the functions of this module. The programs run in the sandbox.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import lru_cache
from typing import Any

from phi2sdk.evaluate import sandbox

Doc = Mapping[str, Any]


@lru_cache(maxsize=4096)
def _passes(code: str, tests: str, names: tuple[str, ...]) -> bool:
    """Return the verdict about a program, which is the same for every target that writes it."""
    return sandbox.run(code, tests, names=names).passed


def humaneval(answers: Sequence[Sequence[str]], docs: Sequence[Doc]) -> list[list[bool]]:
    """Return which answers pass, for tasks in the form of HumanEval.

    Args:
        answers: The answers to each item: bodies of functions.
        docs: The items, with ``prompt``, ``test`` and ``entry_point``.
    """
    return _verdicts(
        answers,
        [
            (
                doc["prompt"],
                f"{doc['test']}\ncheck({doc['entry_point']})",
                _defined(doc["prompt"] + "    pass\n"),
            )
            for doc in docs
        ],
    )


def mbpp(answers: Sequence[Sequence[str]], docs: Sequence[Doc]) -> list[list[bool]]:
    """Return which answers pass, for tasks in the form of MBPP.

    Args:
        answers: The answers to each item: programs.
        docs: The items, with ``code``, the program of reference, and ``test_list``.
    """
    return _verdicts(
        answers, [("", "\n".join(doc["test_list"]), _defined(doc["code"])) for doc in docs]
    )


def pass_at_1(doc: Doc, results: Sequence[Sequence[bool]]) -> dict[str, float]:
    """Return the metric of one item from what a function above returned."""
    (passed,) = results
    return {"pass_at_1": sum(passed) / len(passed)}


def _verdicts(
    answers: Sequence[Sequence[str]], asked: Sequence[tuple[str, str, tuple[str, ...]]]
) -> list[list[bool]]:
    """Run the programs, as many at a time as there are processors."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = [
            [
                pool.submit(copy_context().run, _passes, prompt + answer, tests, names)
                for answer in several
            ]
            for several, (prompt, tests, names) in zip(answers, asked, strict=True)
        ]
        return [[one.result() for one in several] for several in running]


def _defined(code: str) -> tuple[str, ...]:
    """Return the names of the functions and classes that a program defines."""
    kinds = (ast.FunctionDef, ast.ClassDef)
    return tuple(node.name for node in ast.parse(code).body if isinstance(node, kinds))
