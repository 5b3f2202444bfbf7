"""The share of programs that pass their tests, as the definitions of the tasks compute it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi2sdk.errors import ConfigurationError
from phi2sdk.evaluate import code, sandbox

ABSENT = sandbox.available()
sandboxed = pytest.mark.skipif(ABSENT is not None, reason=f"no sandbox here: {ABSENT}")


@pytest.fixture(scope="module")
def items() -> list[dict[str, Any]]:
    """An item of the bundled task for each function."""
    file = Path(code.__file__).parent / "tasks" / "demo_code.jsonl"
    every = map(json.loads, file.read_text("utf-8").splitlines())
    return list({item["entry_point"]: item for item in every}.values())


@sandboxed
def test_the_solutions_of_the_bundled_task_pass(items: list[dict[str, Any]]) -> None:
    assert len(items) == 12
    answers = [[item["canonical_solution"]] for item in items]
    assert code.humaneval(answers, items) == [[True]] * 12


@sandboxed
def test_bodies_of_other_functions_do_not_pass(items: list[dict[str, Any]]) -> None:
    answers = [["    return None\n", item["canonical_solution"] * 2 + "    )"] for item in items]
    assert code.humaneval(answers, items) == [[False, False]] * 12


@sandboxed
def test_a_program_of_mbpp_may_have_the_name_of_a_function_of_python() -> None:
    item = {
        "code": "def sum(a, b):\r\n  return a + b",
        "test_list": ["assert sum(1, 2) == 3", "assert sum(-1, 1) == 0"],
    }
    answers = [["def sum(a, b):\n    return a + b\n", "def sum(a, b):\n    return 3\n"]]
    assert code.mbpp(answers, [item]) == [[True, False]]


def test_the_metric_is_the_share_of_answers_that_pass() -> None:
    assert code.pass_at_1({}, [[True]]) == {"pass_at_1": 1.0}
    assert code.pass_at_1({}, [[True, False]]) == {"pass_at_1": 0.5}


def test_unsafe_code_holds_for_programs_that_run_at_the_same_time(
    monkeypatch: pytest.MonkeyPatch, items: list[dict[str, Any]]
) -> None:
    monkeypatch.setenv("PATH", "")
    answers = [[f"{item['canonical_solution']}# not in the cache\n"] for item in items[:2]]
    with pytest.raises(ConfigurationError, match="bubblewrap is not installed"):
        code.humaneval(answers, items[:2])
    with sandbox.unsafe_code():
        assert code.humaneval(answers, items[:2]) == [[True], [True]]
