"""The definitions of tasks are found without reading all of those of the harness."""

from __future__ import annotations

import logging

import pytest

from phi2sdk.evaluate.index import entries


def test_the_entries_are_those_of_the_whole_index(caplog: pytest.LogCaptureFixture) -> None:
    from lm_eval.tasks import TaskManager  # the test takes seconds, since it reads the whole index

    found = entries(["boolq", "bbh_cot_fewshot", "gsm8k_cot", "hellaswag", "squadv2"])
    assert found is not None
    assert len(found) == 5 + 27
    with caplog.at_level(logging.CRITICAL, logger="lm_eval"):
        whole = TaskManager().task_index
    for name, entry in found.items():
        assert (entry.kind, entry.yaml_path) == (whole[name].kind, whole[name].yaml_path)
        assert entry.cfg == whole[name].cfg


def test_names_that_only_the_whole_index_has_are_left_to_it() -> None:
    assert entries(["no_such_task"]) is None
    assert entries(["ai2_arc"]) is None  # a tag
    assert entries(["boolq", "mmlu"]) is None  # a group whose members are tags
    assert entries([]) == {}
