"""The suites of the publication, from local data in the form of the original data sets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from phi2sdk.analysis.published import published
from phi2sdk.evaluate import evaluate
from phi2sdk.evaluate.tasks import load_tasks
from tests.evaluate.conftest import LOCAL

CHOICES = {"text": ["a cloud", "a stone"], "label": ["A", "B"]}
ROWS: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "piqa": [{"goal": "To cool tea", "sol1": "wait", "sol2": "boil it", "label": 0}],
    "winogrande": [
        {"sentence": "The _ is wet.", "option1": "sea", "option2": "sand", "answer": "1"},
        {"sentence": "The _ is dry.", "option1": "sea", "option2": "sand", "answer": "2"},
    ],
    "arc_easy": [{"question": "What rains?", "choices": CHOICES, "answerKey": "A"}],
    "arc_challenge": [{"question": "What sinks?", "choices": CHOICES, "answerKey": "B"}],
    "social_iqa": [
        {
            "context": "Ann helped Bob.",
            "question": "How does Bob feel?",
            "answerA": "glad",
            "answerB": "angry",
            "answerC": "ill",
            "label": "1",
        }
    ],
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder for ``--data`` with a few items of each task."""
    folder = tmp_path / "data"
    folder.mkdir()
    for name, rows in ROWS.items():
        lines = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(lines)
    return folder


async def test_the_score_of_a_suite_is_the_mean_of_its_tasks_beside_the_figure(
    data: Path, tmp_path: Path
) -> None:
    found = await evaluate(LOCAL, "phi2-commonsense", tmp_path / "run", data=data)
    (result,) = found.results
    tasks: dict[str, list[float]] = {name: [] for name in ROWS}
    for item in result.items:
        tasks[item.item.partition("/")[0]].append(item.values["accuracy"])
    assert [len(values) for values in tasks.values()] == [len(rows) for rows in ROWS.values()]
    means = [sum(values) / len(values) for values in tasks.values()]
    scores = found.report.evaluations["phi2-commonsense"]["local"]
    assert scores.main is not None
    assert scores.main.value == pytest.approx(sum(means) / len(means))
    figure = published("phi2-commonsense")
    assert figure is not None
    assert scores.published is not None
    assert (scores.published.value, scores.published.against) == (0.688, None)
    assert scores.not_comparable == figure.reason


def test_a_suite_has_the_items_of_its_tasks_without_examples(data: Path) -> None:
    (task,) = load_tasks(["phi2-commonsense"], data=data)
    assert (task.shots, task.size) == (0, 6)
