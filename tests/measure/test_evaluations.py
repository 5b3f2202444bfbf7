"""The file with the results of an evaluation."""

from dataclasses import replace
from pathlib import Path

import pytest

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.evaluations import (
    EVALUATIONS,
    ItemResult,
    TaskResult,
    read_evaluations,
    write_evaluations,
)

RESULT = TaskResult(
    task="boolq",
    method="likelihood",
    target="local",
    items=(
        ItemResult("0", {"accuracy": 1.0, "perplexity": 12.5}),
        ItemResult("1", {}, "RateLimited"),
    ),
    metrics=("accuracy", "perplexity"),
    lower_is_better=frozenset({"perplexity"}),
    shots=5,
    calls=3,
    input_tokens=1200,
    output_tokens=None,
    cost_usd=0.012,
    seconds=1.5,
    not_comparable="The published prompt is unknown — see the source.",
    aggregate={"accuracy": 1.0, "perplexity": 12.5},
)


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = (RESULT, replace(RESULT, target="azure", cost_usd=None, not_comparable=None))
    write_evaluations(tmp_path, results)
    assert read_evaluations(tmp_path) == results


def test_a_folder_without_results_has_none(tmp_path: Path) -> None:
    assert read_evaluations(tmp_path) == ()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"items": (ItemResult("0", {}),)}, "neither values nor an error"),
        ({"items": (ItemResult("0", {"f1": 1.0}),)}, "a metric that is not named"),
        ({"items": (ItemResult("0", {"accuracy": 1.0}),) * 2}, "an item occurs twice"),
        ({"metrics": ()}, "its metrics are not named"),
        ({"calls": -1}, "calls"),
        ({"seconds": -0.5}, "seconds"),
        ({"task": "\ud800"}, "half of a surrogate pair"),
    ],
)
def test_a_damaged_line_is_named_with_its_reason(
    tmp_path: Path, changed: dict[str, object], why: str
) -> None:
    write_evaluations(tmp_path, [RESULT, replace(RESULT, target="azure", **changed)])  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=rf"{EVALUATIONS}, line 2 is damaged: .*{why}"):
        read_evaluations(tmp_path)


def test_a_task_of_a_target_occurs_only_once(tmp_path: Path) -> None:
    write_evaluations(tmp_path, [RESULT, RESULT])
    with pytest.raises(ConfigurationError, match="line 2 is damaged: its task and target"):
        read_evaluations(tmp_path)
