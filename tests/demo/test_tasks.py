"""The items of the bundled evaluation tasks."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from phi2sdk import evaluate
from phi2sdk.backends.engine import LocalModel
from phi2sdk.demo import checkpoint_path
from training import names
from training.tasks import TASKS, draw

FOLDER = Path(evaluate.__file__).parent / "tasks"


def shipped(task: str) -> list[dict[str, Any]]:
    lines = (FOLDER / f"{task}.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.mark.parametrize("task", TASKS)
def test_the_package_has_the_items_that_the_command_draws(task: str) -> None:
    assert shipped(task) == draw(task, seed=0)


@pytest.mark.parametrize("task", TASKS)
def test_no_two_items_are_equal(task: str) -> None:
    items = shipped(task)
    assert len({json.dumps(item) for item in items}) == len(items) == TASKS[task][1]


def test_the_correct_choices_are_spread_over_all_places() -> None:
    places = [item["answer"] for item in shipped("demo_multiple_choice")]
    assert all(50 < places.count(place) < 100 for place in range(4))
    answers = [item["answer"] for item in shipped("demo_yes_no")]
    assert 170 < sum(answers) < 230


def test_a_list_of_names_has_each_answer_after_its_name() -> None:
    for item in shipped("demo_yes_no"):
        assert len(re.findall(r" (?:yes|no)\b", item["passage"])) >= 4
        answer = "yes" if item["answer"] else "no"
        assert re.search(rf"(?:^| ){re.escape(item['question'])} {answer}(?: |$)", item["passage"])


def test_the_summaries_are_about_held_out_subjects() -> None:
    prompts = [item["prompt"] for item in shipped("demo_multiple_choice")]
    subjects = [prompt.partition(" about ")[2].partition(".\n")[0] for prompt in prompts]
    assert all(names.is_held_out(subject) for subject in subjects)


def test_each_arithmetic_solution_computes_its_answer() -> None:
    for item in shipped("demo_arithmetic"):
        steps, _, answer = item["answer"].partition("\n#### ")
        numbers = [int(number) for number in re.findall(r"\d+", item["question"])]
        groups, each, change = numbers
        more = "are born" in item["question"]
        assert int(answer) == groups * each + (change if more else -change) >= 0
        assert steps.endswith(f" = {answer}.")


def test_the_bundled_checkpoint_chooses_above_chance() -> None:
    items = shipped("demo_multiple_choice")[:60]
    model = LocalModel.load(checkpoint_path(), dtype="float32", device="cpu")
    pairs = [(item["prompt"], f" {choice}") for item in items for choice in item["choices"]]
    scores = [sum(score.logprob) for score in model.score_many(pairs)]
    chosen = [
        max(range(4), key=lambda choice, n=n: scores[4 * n + choice])  # type: ignore[misc]
        for n in range(len(items))
    ]
    right = sum(one == item["answer"] for one, item in zip(chosen, items, strict=True))
    assert 30 <= right <= 55  # guessing gives 15 of 60
