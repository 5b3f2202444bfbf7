"""Compare the evaluation of the bundled tasks with lm_eval's own model, in values and in time.

    python bench/evaluate.py [--json FILE] [--quick] [--rounds N]

Both models evaluate the same items of the same tasks of lm_eval on the bundled checkpoint, in
float32 on the CPU: ``hf`` of lm_eval at several batch sizes, of which the fastest counts for each
task, and a local target of this package. The harness calls both in the same way; its own work
(prompts, filters, metrics) is not measured. The models take turns, and the fastest round of each
counts, because other processes only add time. Loading is not measured, and each model first answers
a few items. A last column has the time of the same task in an evaluation with a journal, as
``phi2 evaluate`` runs it.

Log-likelihoods are also compared with those of ``hf`` in float64, which shows the rounding errors
of both models in float32.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import Report, parser, prefer_this_process
from lm_eval.models.huggingface import HFLM

from phi2sdk.config import Target
from phi2sdk.demo import checkpoint_path
from phi2sdk.evaluate import evaluate
from phi2sdk.evaluate.adapter import HarnessModel
from phi2sdk.evaluate.harness import HarnessTask
from phi2sdk.evaluate.tasks import load_tasks
from phi2sdk.measure.evaluations import TaskResult

TASKS = ("demo_yes_no", "demo_multiple_choice", "demo_exact_match", "demo_arithmetic")
BATCH_SIZES = (4, 16, 64)
LOCAL = Target("local", "local", {"model": "demo", "dtype": "float32", "device": "cpu"})
METRICS = {"acc": "accuracy", "acc_norm": "accuracy_normalized", "exact_match": "exact_match"}


@dataclass
class Timed:
    """The seconds of each round of one model on one task, and its last replies.

    The processor seconds are those of all threads.
    """

    seconds: list[float] = field(default_factory=list)
    processor: list[float] = field(default_factory=list)
    replies: list[Any] = field(default_factory=list)

    @property
    def best(self) -> float:
        return min(self.seconds)


def requests_of(task: HarnessTask) -> tuple[str, list[Any]]:
    """Return the name of the method of a model that answers a task, and all requests."""
    found = [one for several in task._instances for one in several]
    return found[0].request_type, found


def timed(model: Any, method: str, requests: Sequence[Any], to: Timed) -> None:
    begun, used = perf_counter(), process_time()
    to.replies = getattr(model, method)(requests, disable_tqdm=True)
    to.seconds.append(perf_counter() - begun)
    to.processor.append(process_time() - used)


def measure(tasks: Sequence[HarnessTask], rounds: int) -> tuple[dict[str, Any], dict[str, Timed]]:
    """Return the times of ``hf`` by task and batch size, and ours by task."""
    hf = HFLM(pretrained=str(checkpoint_path()), dtype="float32", device="cpu", batch_size=1)
    theirs = {task.name: {size: Timed() for size in BATCH_SIZES} for task in tasks}
    own = {task.name: Timed() for task in tasks}
    with HarnessModel(LOCAL) as ours:
        for task in tasks:
            method, requests = requests_of(task)
            for model in (hf, ours):  # warms up threads and caches
                getattr(model, method)(requests[:8], disable_tqdm=True)
            for _ in range(rounds):
                for size in BATCH_SIZES:
                    hf.batch_size_per_gpu = size
                    timed(hf, method, requests, theirs[task.name][size])
                timed(ours, method, requests, own[task.name])
    return theirs, own


def difference(a: Sequence[Any], b: Sequence[Any]) -> tuple[float, int]:
    """Return the largest difference of log-likelihoods, and the number of unequal texts."""
    worst, unequal = 0.0, 0
    for one, other in zip(a, b, strict=True):
        if isinstance(one, str):
            unequal += one != other
        else:
            worst = max(worst, abs(one[0] - other[0]))
            unequal += one[1] != other[1]
    return worst, unequal


def unequal_values(task: HarnessTask, replies: Sequence[Any], result: TaskResult) -> int:
    """Return the number of values of items that differ from those of the harness."""
    at, unequal = iter(replies), 0
    for instances in task._instances:
        for instance in instances:
            instance.resps = [next(at)]
    task.task._instances = [one for several in task._instances for one in several]
    task.task.apply_filters()
    (name,) = {key for one in task.task._instances for key in one.filtered_resps}
    for doc, instances, item in zip(task._docs, task._instances, result.items, strict=True):
        values = task.task.process_results(doc, [one.filtered_resps[name] for one in instances])
        unequal += item.values != {METRICS[metric]: float(v) for metric, v in values.items()}
    return unequal


def session(names: Sequence[str], limit: int | None) -> Mapping[str, TaskResult]:
    with tempfile.TemporaryDirectory() as folder:
        made = asyncio.run(evaluate(LOCAL, names, Path(folder) / "run", limit=limit))
    return {one.task: one for one in made.results}


def exact(tasks: Sequence[HarnessTask]) -> dict[str, list[Any]]:
    """Return the replies of ``hf`` in float64 to the tasks with log-likelihoods."""
    hf = HFLM(pretrained=str(checkpoint_path()), dtype="float64", device="cpu", batch_size=16)
    asked = {task.name: requests_of(task) for task in tasks if task.method == "likelihood"}
    return {
        name: getattr(hf, method)(requests, disable_tqdm=True)
        for name, (method, requests) in asked.items()
    }


def main() -> int:
    options = parser(__doc__)
    options.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    args = options.parse_args()
    limit, rounds = (40, 1) if args.quick else (None, args.rounds)
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    prefer_this_process()
    report = Report("evaluate", args, ["lm_eval", "transformers", "torch", "datasets"])
    tasks = [one for one in load_tasks(TASKS, limit=limit) if isinstance(one, HarnessTask)]
    theirs, own = measure(tasks, rounds)
    double, results = exact(tasks), session(TASKS, limit)
    totals: dict[str, list[float]] = {"hf": [0.0, 0.0], "phi2sdk": [0.0, 0.0]}
    for task in tasks:
        sizes, ours = theirs[task.name], own[task.name]
        best = min(sizes.values(), key=lambda one: one.best)
        for name, one in (("hf", best), ("phi2sdk", ours)):
            totals[name][0] += one.best
            totals[name][1] += min(one.processor)
        report.row(
            task=task.name,
            requests=len(ours.replies),
            **{f"hf, batch {size} (s)": round(one.best, 2) for size, one in sizes.items()},
            **{"phi2sdk (s)": round(ours.best, 2)},
            **{"hf at best / phi2sdk": round(best.best / ours.best, 2)},
            **{"hf at best (processor s)": round(min(best.processor), 2)},
            **{"phi2sdk (processor s)": round(min(ours.processor), 2)},
            **{"phi2 evaluate (s)": round(results[task.name].seconds, 2)},
        )
        worst, unequal = difference(ours.replies, best.replies)
        report.check(f"{task.name}: unequal texts or greedy flags", unequal, "<=", 0)
        values = unequal_values(task, best.replies, results[task.name])
        report.check(f"{task.name}: items with unequal values", values, "<=", 0)
        if task.name in double:
            errors = [difference(one.replies, double[task.name])[0] for one in (ours, best)]
            report.check(f"{task.name}: largest difference from hf in nats", worst, "<=", 1e-4)
            report.check(f"{task.name}: largest error of phi2sdk in nats", errors[0], "<=", 1e-4)
            report.note(
                f"{task.name}: from hf in float64, phi2sdk in float32 differs by at most "
                f"{errors[0]:.2g} nats, and hf in float32 by at most {errors[1]:.2g}."
            )
    (hf, hf_used), (ours_s, ours_used) = totals["hf"], totals["phi2sdk"]
    if not args.quick:
        report.check("seconds of hf at its best / phi2sdk", hf / ours_s, ">=", 2)
        report.check("processor seconds of hf at its best / phi2sdk", hf_used / ours_used, ">=", 2)
    report.note(
        f"All tasks, fastest of {rounds} rounds: hf {hf:.1f} s, phi2sdk {ours_s:.1f} s; processor "
        f"seconds: hf {hf_used:.1f}, phi2sdk {ours_used:.1f}."
    )
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
