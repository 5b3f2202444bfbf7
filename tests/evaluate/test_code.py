"""The share of programs that pass their tests, as the definitions of the tasks compute it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from phi2sdk.errors import ConfigurationError
from phi2sdk.evaluate import code, evaluate, sandbox
from phi2sdk.evaluate.harness import HarnessTask
from phi2sdk.evaluate.questions import Generation
from phi2sdk.evaluate.tasks import load_tasks
from tests.commands import phi2
from tests.evaluate.conftest import LOCAL

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


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> dict[str, HarnessTask]:
    """HumanEval and MBPP of the harness, with an item each; the harness reads all its tasks."""
    data = tmp_path_factory.mktemp("data")
    rows = {
        "humaneval": {
            "task_id": "HumanEval/0",
            "prompt": 'def add(a, b):\n    """Return the sum."""\n',
            "test": "METADATA = {}\n\n\ndef check(candidate):\n    assert candidate(2, 3) == 5\n",
            "entry_point": "add",
            "canonical_solution": "    return a + b\n",
        },
        "mbpp": {
            "task_id": 11,
            "text": "Write a function to add two numbers.",
            "code": "def add(a, b):\r\n  return a + b",
            "test_list": [f"assert add({n}, 2) == {n + 2}" for n in range(3)],
        },
    }
    for name, row in rows.items():
        (data / f"{name}.jsonl").write_text(json.dumps(row))
    found = {}
    for task in load_tasks(list(rows), data=data):
        assert isinstance(task, HarnessTask)
        found[task.name] = task
    return found


def asked(task: HarnessTask) -> Generation:
    (question,) = task.items[0].questions
    assert isinstance(question, Generation)
    return question


def test_prompts_and_stops_are_those_of_the_harness(published: dict[str, HarnessTask]) -> None:
    question = asked(published["humaneval"])
    assert question.context.startswith("def add(a, b):\n")
    assert question.sampling.stop == ("\nclass", "\ndef", "\n#", "\nif", "\nprint")
    question = asked(published["mbpp"])
    assert published["mbpp"].shots == 3
    assert question.context.count("[BEGIN]\n") == 4
    assert question.context.count("[DONE]") == 3
    assert "similar elements" in question.context
    assert question.context.endswith("assert add(2, 2) == 4\n[BEGIN]\n")


@sandboxed
def test_the_programs_of_the_harness_run_in_the_sandbox(published: dict[str, HarnessTask]) -> None:
    for name, right in (("humaneval", "    return a + b"), ("mbpp", "add = lambda a, b: a + b")):
        task = published[name]
        assert task.executes
        assert task.metrics == ("pass_at_1",)
        assert task.score([[right]]).aggregate == {"pass_at_1": 1.0}
        assert task.score([[right + " + 1"]]).items[0].values == {"pass_at_1": 0.0}


def test_tasks_that_execute_programs_in_another_form_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="Choose humaneval, mbpp or demo_code"):
        code.in_sandbox("humaneval_plus", {"task": "humaneval_plus", "unsafe_code": True})
    assert code.in_sandbox("boolq", {"task": "boolq"}) is None


async def test_without_a_sandbox_nothing_is_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match="bubblewrap is not installed"):
        await evaluate(LOCAL, "demo_code", tmp_path / "run", limit=6)
    assert not (tmp_path / "run" / "journal.jsonl").exists()
    found = await evaluate(LOCAL, "demo_code", tmp_path / "run", limit=6, unsafe_code=True)
    assert len(found.results[0].items) == 6


@sandboxed
async def test_the_bundled_model_writes_some_correct_programs(tmp_path: Path) -> None:
    (result,) = (await evaluate(LOCAL, "demo_code", tmp_path / "run", limit=20)).results
    assert result.metrics == ("pass_at_1",)
    assert 0.1 < result.aggregate["pass_at_1"] < 0.9
    assert all(one.error is None for one in result.items)


def test_the_option_states_what_it_permits(tmp_path: Path) -> None:
    (tmp_path / "phi2.toml").write_text(
        '[targets.local]\nbackend = "local"\nmodel = "demo"\ndevice = "cpu"\n'
    )
    command = ("evaluate", "--tasks", "demo_code", "--limit", "2", "--output", "run", "--yes")
    status, shown, said = phi2(*command, "--unsafe-code", cwd=tmp_path, PATH="")
    assert status == 0
    assert "they can read, change and delete your files" in said
    assert "demo_code" in shown
