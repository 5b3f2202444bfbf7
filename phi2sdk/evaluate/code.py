"""The metric of tasks whose answers are programs: the share of programs that pass their tests.

The programs run in the sandbox. The definition of the bundled task names the functions of this
module, and HumanEval and MBPP of the harness are redefined, with the same prompts and stops.
"""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import lru_cache
from pathlib import Path
from typing import Any

from phi2sdk.errors import ConfigurationError
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


def in_sandbox(name: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the definition of a task of the harness with the metric of this module.

    Args:
        name: Name of the task.
        config: Its definition, in which functions are still names.

    Returns:
        The changed definition; ``None`` if the task executes no programs.

    Raises:
        ConfigurationError: The task executes programs in another form.
    """
    if not config.get("unsafe_code"):
        return None
    check = {"humaneval": humaneval, "mbpp": mbpp}.get(name)
    if check is None:
        raise ConfigurationError(
            f"the task {name} executes programs of the model without a sandbox. Choose humaneval, "
            "mbpp or demo_code, whose programs run in the sandbox"
        )
    changed = {
        **config,
        "unsafe_code": False,
        "filter_list": [
            {"name": "sandbox", "filter": [{"function": "custom", "filter_fn": check}]}
        ],
        "process_results": pass_at_1,
        "metric_list": [{"metric": "pass_at_1", "aggregation": "mean", "higher_is_better": True}],
    }
    examples = config.get("fewshot_config")
    if examples:
        changed["fewshot_config"] = {**examples, "samples": _examples(examples["samples"])}
    return changed


def _examples(function: str) -> list[dict[str, Any]]:
    """Return the examples of a task, which a function in a file of the harness returns.

    The file is read and not imported, because it loads a package that executes programs.

    Args:
        function: Path of the file without its suffix, a period, and the name of the function.
    """
    path, _, name = function.rpartition(".")
    for node in ast.parse(Path(f"{path}.py").read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            (last,) = (one for one in node.body if isinstance(one, ast.Return) and one.value)
            assert last.value is not None
            return list(ast.literal_eval(last.value))
    raise ConfigurationError(f"{path}.py has no function {name}. Install lm_eval 0.4.13")


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
