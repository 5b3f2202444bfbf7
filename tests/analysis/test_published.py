"""The published figures of Phi-2, in the code and in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

from phi2sdk.analysis.published import FIGURES, SUITES, published

PAGE = Path(__file__).parents[2] / "docs" / "evaluate.md"


def rows() -> dict[str, tuple[str, str, str]]:
    """The rows of the table in the documentation: score, shots and task by figure."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index("| figure | score (%) | shots | task |")
    found: dict[str, tuple[str, str, str]] = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return found
        name, *rest = (cell.strip() for cell in line.strip("|").split("|"))
        found[name] = (rest[0], rest[1], rest[2])
    raise AssertionError("the table has no end")


def test_the_documentation_has_every_figure() -> None:
    shown = {
        task: (score, shots)
        for score, shots, tasks in rows().values()
        for task in re.findall(r"`([^`]+)`", tasks)
    }
    expected = {
        task: (
            f"{figure.value * 100:.1f}",
            "not stated" if figure.shots is None else f"{figure.shots}",
        )
        for task, figure in FIGURES.items()
        if task != "gsm8k"
    }
    assert shown == expected


def test_a_variant_of_a_task_has_no_figure() -> None:
    assert published("boolq") is not None
    assert published("boolq_generative") is None


def test_a_figure_without_examples_is_not_comparable() -> None:
    for figure in FIGURES.values():
        assert 0 < figure.value < 1
        assert figure.shots is not None or figure.reason is not None


def test_the_suites_ask_what_the_figures_are_of() -> None:
    asked = dict(SUITES["phi2-published"].tasks)
    on_leaderboard = dict(SUITES["phi2-leaderboard"].tasks)
    for task, figure in FIGURES.items():
        if task in SUITES:
            assert SUITES[task].mean
            assert set(SUITES[task].tasks) <= set(asked.items())
        elif figure.reason is None:
            assert figure.shots in (asked.get(task), on_leaderboard.get(task))
