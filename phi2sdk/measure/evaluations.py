"""The results of an evaluation: one entry for each task and target, with the values of each item.

The folder of an evaluation holds them in ``evaluations.jsonl``, one line for each entry. Scores,
intervals and comparisons are computed from this file alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.events import Natural, Seconds, Word
from phi2sdk.measure.files import ANOTHER_COPY, read_bytes, write_file
from phi2sdk.parsing import first_mistake, parse_json

EVALUATION, EVALUATIONS = "evaluation.json", "evaluations.jsonl"
"""The document about the run in the folder of an evaluation, and its results."""

Method = Literal["likelihood", "generative", "generation"]
"""How answers are chosen. ``likelihood``: the choice with the largest log-likelihood, or a function
of log-likelihoods. ``generation``: the task asks every target to write its answer. ``generative``:
the target writes its answer, although the task is defined by log-likelihoods; such a task has
another name, with the suffix ``_generative``."""

_Value = Annotated[float, Field(ge=-1e300, le=1e300, allow_inf_nan=False)]
_Usd = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class ItemResult:
    """The result of one target on one item of a task.

    Attributes:
        item: Id of the item, equal for all targets.
        values: Value of each metric, such as ``{"accuracy": 1.0}``; empty if the item failed.
        error: Type of the error; ``None`` if the item has values.
    """

    item: Word
    values: Mapping[Word, _Value]
    error: Word | None = None


@dataclass(frozen=True, slots=True)
class TaskResult:
    """The result of one target on one task.

    Attributes:
        task: Name of the task, as on the command line; ``_generative`` is appended for that method.
        method: How answers are chosen.
        target: Name of the target.
        items: The items, in the order of the task.
        metrics: Names of the metrics; the first is the main metric.
        lower_is_better: The metrics of which lower values are better.
        shots: Examples in each prompt.
        calls: Calls to the target, retries included.
        input_tokens, output_tokens: Tokens of all calls; ``None`` if unknown.
        cost_usd: Cost of all calls in US dollars; ``None`` if no price is known.
        seconds: Time with a call of this task in flight.
        not_comparable: Why the score cannot be compared with the published one; ``None`` if it can.
        aggregate: Score of each metric as the harness computes it. Not every score is a mean.
    """

    task: Word
    method: Method
    target: Word
    items: tuple[ItemResult, ...]
    metrics: tuple[Word, ...]
    lower_is_better: frozenset[Word]
    shots: Natural
    calls: Natural
    input_tokens: Natural | None
    output_tokens: Natural | None
    cost_usd: _Usd | None
    seconds: Seconds
    not_comparable: Word | None
    aggregate: Mapping[Word, _Value]


def _consistent(result: TaskResult) -> TaskResult:
    names = set(result.metrics)
    if not result.metrics or not result.lower_is_better <= names:
        raise ValueError("its metrics are not named")
    if len({one.item for one in result.items}) != len(result.items):
        raise ValueError("an item occurs twice")
    if any((one.error is None) != bool(one.values) for one in result.items):
        raise ValueError("an item has neither values nor an error, or both")
    if not all(one.values.keys() <= names for one in result.items):
        raise ValueError("an item has a metric that is not named")
    return result


_RESULT = TypeAdapter(Annotated[TaskResult, AfterValidator(_consistent)])


def write_evaluations(folder: Path, results: Iterable[TaskResult]) -> None:
    """Write the results into the folder of an evaluation, completely or not at all.

    Raises:
        ConfigurationError: The disk is full, or the folder cannot be written.
    """
    lines = []
    for one in results:
        plain = asdict(one) | {"lower_is_better": sorted(one.lower_is_better)}
        lines.append(json.dumps(plain, ensure_ascii=False, allow_nan=False) + "\n")
    write_file(folder / EVALUATIONS, "".join(lines))


def read_evaluations(folder: Path) -> tuple[TaskResult, ...]:
    """Return the results in the folder of an evaluation, in their order; empty without the file.

    Raises:
        ConfigurationError: The file is damaged, or it cannot be read.
    """
    path = folder / EVALUATIONS
    try:
        lines = read_bytes(path).splitlines()
    except FileNotFoundError:
        return ()
    found: dict[tuple[str, str], TaskResult] = {}
    for number, line in enumerate(lines, start=1):
        try:
            result = _RESULT.validate_python(parse_json(line))
            if (result.task, result.target) in found:
                raise ValueError("its task and target occur twice")
            found[result.task, result.target] = result
        except ValidationError as error:
            why = first_mistake(error)
        except ValueError as error:
            why = str(error)
        else:
            continue
        raise ConfigurationError(f"{path}, line {number} is damaged: {why}. {ANOTHER_COPY}")
    return tuple(found.values())
