"""Measure the accuracy of targets on benchmark tasks, item by item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from phi2sdk.config.target import Target
from phi2sdk.evaluate.plan import Estimate
from phi2sdk.evaluate.run import Evaluation, EvaluationSession, Progress
from phi2sdk.evaluate.tasks import load_tasks

__all__ = ["Estimate", "Evaluation", "EvaluationSession", "evaluate", "fetch"]


async def evaluate(
    target: str | Target | Sequence[str | Target],
    tasks: str | Sequence[str],
    out: str | Path,
    *,
    agree: Callable[[Sequence[Estimate]], None] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Evaluation:
    """Measure the accuracy of targets on tasks, and write the result of each task into a folder.

    ::

        found = await evaluate(["local", "azure"], "demo_yes_no", "run/", budget_usd=2)
        for one in found.results:
            print(one.task, one.target, one.aggregate)

    A process that is killed loses only the requests in flight: repeat the call with
    ``resume=True``.

    Args:
        target: The targets that are compared.
        tasks: Names of tasks and groups of tasks: those of lm_eval, and the bundled ones.
        out: The folder of the run.
        agree: Receives the estimate of each target, and raises an exception to send nothing.
        progress: Receives the counts twice per second.
        options: Other attributes of :class:`EvaluationSession`, such as ``data``, ``limit`` and
            ``budget_usd``.

    Raises:
        ConfigurationError, InvalidRequest: Something must be corrected first.
    """
    session = EvaluationSession(
        targets=[target] if isinstance(target, str | Target) else target,
        tasks=[tasks] if isinstance(tasks, str) else tasks,
        out=Path(out),
        **options,
    )
    async with session:
        forecast = await session.prepare()
        if agree is not None:
            agree(forecast)
        return await session.send(progress)


def fetch(tasks: Sequence[str]) -> dict[str, int]:
    """Download the data of tasks into the cache of the hub, and return the number of their items.

    Evaluations never download, and need only the cache.

    Raises:
        ConfigurationError: A task is unknown, or its data cannot be downloaded.
    """
    return {task.name: task.size for task in load_tasks(tasks, limit=1, download=True)}
