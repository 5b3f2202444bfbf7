"""The definitions of tasks are found without reading all of those of the harness."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from phi2sdk.evaluate.index import entries


def test_the_entries_are_those_of_the_harness(caplog: pytest.LogCaptureFixture) -> None:
    import lm_eval.tasks

    found = entries(["boolq", "bbh_cot_fewshot", "gsm8k_cot", "hellaswag", "squadv2"])
    assert found is not None
    assert len(found) == 5 + 27
    folder = Path(lm_eval.tasks.__file__).parent  # its whole index would take seconds
    parts = [str(folder / name) for name in ("super_glue", "bbh", "gsm8k", "hellaswag", "squadv2")]
    with caplog.at_level(logging.CRITICAL, logger="lm_eval"):
        index = lm_eval.tasks.TaskManager(include_path=parts, include_defaults=False).task_index
    for name, entry in found.items():
        assert (entry.kind, entry.yaml_path) == (index[name].kind, index[name].yaml_path)
        assert entry.cfg == index[name].cfg


def test_names_that_only_the_whole_index_has_are_left_to_it() -> None:
    assert entries(["no_such_task"]) is None
    assert entries(["ai2_arc"]) is None  # a tag
    assert entries(["boolq", "mmlu"]) is None  # a group whose members are tags
    assert entries([]) == {}
