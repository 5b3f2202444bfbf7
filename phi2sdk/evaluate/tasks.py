"""Find tasks by name, and load them with their data.

The names are those of the bundled tasks, of the harness (lm_eval), and of groups of both.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from phi2sdk.analysis.published import SUITES
from phi2sdk.errors import ConfigurationError, Phi2Error
from phi2sdk.evaluate import toxigen
from phi2sdk.evaluate.code import in_sandbox
from phi2sdk.evaluate.data import bundled, hub, local_data, with_data
from phi2sdk.evaluate.harness import EvaluationTask, GroupTask, HarnessTask
from phi2sdk.evaluate.index import entries

__all__ = ["BUNDLED", "load_tasks"]

BUNDLED = Path(__file__).parent / "tasks"
"""The folder with the bundled tasks."""
_SEED = 1234
"""The seed of the examples in prompts; that of the harness."""


@dataclass(frozen=True, slots=True)
class _Options:
    data: Path | None
    shots: int | None
    limit: int | None


def load_tasks(
    names: Sequence[str],
    *,
    data: Path | None = None,
    shots: int | None = None,
    limit: int | None = None,
    download: bool = False,
) -> list[EvaluationTask]:
    """Return tasks with their items.

    Args:
        names: Names of tasks and groups.
        data: Folder with local data (see :func:`~phi2sdk.evaluate.data.local_data`).
        shots: Examples in each prompt, instead of those of each task. A task that permits none
            keeps none, as in the harness.
        limit: Largest number of items of each task.
        download: Download data that are not on this machine.

    Raises:
        ConfigurationError: A name is unknown, or the data of a task are missing or wrong.
    """
    if data is not None and not data.is_dir():
        raise ConfigurationError(f"there is no folder {data}. Name the folder with the data")
    options = _Options(data, shots, limit)
    with hub(offline=not download), _quiet(), _seeded():  # datasets sets a level when imported
        manager = _manager([name for name in _members(names) if name != toxigen.NAME])
        found: dict[str, EvaluationTask] = {}
        for name in names:
            if name == toxigen.NAME:
                found[name] = toxigen.load_toxigen(data, limit)
                continue
            expand = _suite if name in SUITES else _expanded
            for task in expand(name, manager, options):
                found.setdefault(task.name, task)
    return list(found.values())


def _manager(names: Sequence[str]) -> Any:
    """Return an index with the bundled tasks and these; the whole one of the harness takes seconds.

    Raises:
        ConfigurationError: A name is unknown.
    """
    from lm_eval.tasks import TaskManager

    own = TaskManager(include_path=str(BUNDLED), include_defaults=False)
    found = entries(name for name in names if name not in own.task_index)
    if found is not None:
        own.task_index.update(found)
        return own
    index = own.task_index
    ours = ", ".join(sorted([*index, *SUITES, toxigen.NAME]))
    for name, entry in _of_the_harness().items():
        index.setdefault(name, entry)
    for name in names:
        if name not in index:
            near = get_close_matches(name, index, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise ConfigurationError(
                f"there is no task {name!r}.{hint} The bundled tasks are {ours}; the others are "
                "those of lm_eval"
            )
    return own


@cache
def _of_the_harness() -> Mapping[str, Any]:
    """Return the tasks of the harness by name. Reading its 14,000 files takes seconds."""
    from lm_eval.tasks import TaskManager

    index: Mapping[str, Any] = TaskManager().task_index
    return index


def _members(names: Sequence[str]) -> list[str]:
    """Return the names with the tasks of each suite in its place."""
    return [
        task
        for name in names
        for task in ([one for one, _ in SUITES[name].tasks] if name in SUITES else [name])
    ]


def _suite(name: str, manager: Any, options: _Options) -> Iterator[EvaluationTask]:
    """Yield the tasks of the publication: one by one, or as one task whose score is their mean."""
    suite = SUITES[name]
    tasks = [
        task
        for member, shots in suite.tasks
        for task in _expanded(
            member, manager, options if options.shots is not None else replace(options, shots=shots)
        )
    ]
    if suite.mean:
        yield GroupTask(name, tasks, weighted=False)
    else:
        yield from tasks


def _expanded(name: str, manager: Any, options: _Options) -> Iterator[EvaluationTask]:
    """Yield the tasks of a name: one, or several for a tag of the harness."""
    from lm_eval.tasks._index import Kind

    entry = manager.task_index[name]
    if entry.kind == Kind.TAG:
        for one in sorted(entry.tags):
            yield from _expanded(one, manager, options)
        return
    for leaf in set(_leaves(name, manager.task_index)):
        _redefine(leaf, manager, options)
    try:
        built = manager.load([name])
        tasks = [_prepared(leaf, task, options) for leaf, task in sorted(built["tasks"].items())]
    except Phi2Error:
        raise
    except Exception as error:  # of any package: the definition of a task is code
        raise ConfigurationError(_why(name, error)) from error
    if entry.kind != Kind.GROUP:
        yield tasks[0]
        return
    metrics = built["groups"][name].aggregate_metric_list or []
    weighted = all(getattr(one, "weight_by_size", True) for one in metrics)
    yield GroupTask(name, tasks, weighted=weighted)


def _leaves(name: str, index: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of the tasks in a group."""
    entry = index.get(name)
    if entry is None:
        return
    members = (entry.cfg or {}).get("task")
    if isinstance(members, str):
        yield name
        return
    for one in [*(members or ()), *sorted(entry.tags if not entry.cfg else ())]:
        inner = one if isinstance(one, str) else one.get("task", one.get("group"))
        if isinstance(inner, str):
            yield from _leaves(inner, index)


def _redefine(name: str, manager: Any, options: _Options) -> None:
    """Make a task of the index read local data, if there are any, and run programs in the sandbox.

    Raises:
        ConfigurationError: The task cannot do so.
    """
    from lm_eval.tasks._index import Entry, Kind
    from lm_eval.tasks._yaml_loader import load_yaml

    entry = manager.task_index[name]
    if entry.yaml_path is None:
        return
    plain = load_yaml(entry.yaml_path, resolve_func=False)
    config = in_sandbox(name, plain)
    data = None if options.data is None else local_data(options.data, name, plain)
    data = data or bundled(plain, entry.yaml_path.parent)
    if data is not None:
        if entry.kind != Kind.TASK:
            raise ConfigurationError(
                f"the task {name} reads its data with code of its own, so --data cannot replace "
                "them. Leave out the task"
            )
        config = with_data(name, config or load_yaml(entry.yaml_path), data)
    if config is not None:
        manager.task_index[name] = Entry(name, Kind.TASK, None, cfg=config)


def _prepared(name: str, task: Any, options: _Options) -> HarnessTask:
    """Return a task with the number of examples and the seed of the harness.

    Raises:
        ConfigurationError: The task needs images or sound.
    """
    if getattr(task, "MULTIMODAL", False):
        raise ConfigurationError(f"the task {name} needs images or sound. Leave out the task")
    default = task.get_config("num_fewshot")
    if options.shots is not None and default != 0:
        task.set_config(key="num_fewshot", value=options.shots)
    elif default is None:
        task.set_config(key="num_fewshot", value=0)
    task.set_fewshot_seed(seed=_SEED)
    return HarnessTask(name, task, options.limit)


def _why(name: str, error: Exception) -> str:
    """Return why a task could not be loaded, and the next step."""
    what = f"the task {name} could not be loaded ({type(error).__name__}: {error})"
    if isinstance(error, OSError):
        return (
            f"{what}. Its data are not on this machine: download them with phi2 evaluate fetch "
            f"{name}, or name a folder with --data"
        )
    return f"{what}. Check its data"


@contextmanager
def _seeded() -> Iterator[None]:
    """Seed the global generators as the harness does, since tasks may use them, and restore."""
    import numpy as np

    before = random.getstate(), np.random.get_state()
    try:
        random.seed(0)
        np.random.seed(_SEED)
        yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the messages of the harness about its own tasks, and of datasets about its cache."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
