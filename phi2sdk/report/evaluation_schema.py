"""The models of the report of an evaluation: ``report.json`` of its folder."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from phi2sdk.analysis.evaluation import Verdict
from phi2sdk.measure.evaluations import Method
from phi2sdk.report.schema import Interval, Part, RequirementReport

__all__ = [
    "EvaluatedTarget",
    "EvaluationReport",
    "EvaluationRun",
    "PublishedScore",
    "ScoreComparison",
    "TaskScores",
]

Against = Literal["below", "within", "above"]


class PublishedScore(Part):
    """The published figure of a task, with its source.

    ``name``: what it is a score of; ``metric``: the metric that it is compared with; ``shots``:
    null if the source does not state them. ``against``: the score is below the figure, has it
    within its interval, or is above it; null if the two cannot be compared.
    """

    name: str
    value: float
    metric: str
    shots: int | None = None
    note: str = ""
    source: str
    url: str
    against: Against | None = None


class ScoreComparison(Part):
    """The main metric of a target compared with that of another target, item by item.

    ``difference``: score of this target minus score of the other one, over the ``items`` that both
    answered. ``failed``: items on which one of them failed. ``only_this`` and ``only_other``: items
    that one of them got right; null if items are not just right or wrong. ``p``: adjusted for all
    comparisons of the run (Holm).
    """

    items: int
    failed: int
    difference: Interval
    only_this: int | None
    only_other: int | None
    p: float
    verdict: Verdict
    sentence: str


class TaskScores(Part):
    """The result of one target on one task.

    Every metric of the task is a further field, such as ``accuracy``: its value with its interval,
    which is null for a score that is not the mean of its items. ``metrics`` names them, the main
    metric first; ``rates`` those that are shares between 0 and 1. ``n``: items with a value;
    ``failed``: items without one, by error in ``errors``. ``not_comparable``: why the score cannot
    be compared with the published figure. ``comparisons``: by the name of the other target.
    """

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)
    __pydantic_extra__: dict[str, Interval]

    method: Method
    metrics: tuple[str, ...]
    rates: tuple[str, ...] = ()
    lower_is_better: tuple[str, ...] = ()
    n: int
    failed: int
    errors: dict[str, int] = Field(default_factory=dict)
    shots: int
    calls: int
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    seconds: float
    published: PublishedScore | None = None
    not_comparable: str | None = None
    comparisons: dict[str, ScoreComparison] = Field(default_factory=dict)

    def metric(self, name: str) -> Interval | None:
        """Return the score of a metric; ``None`` if every item failed."""
        return self.__pydantic_extra__.get(name)

    @property
    def main(self) -> Interval | None:
        """The score of the main metric; ``None`` if every item failed."""
        return self.metric(self.metrics[0])


class EvaluatedTarget(Part):
    """A target of an evaluation; ``simulated`` if an emulator on this machine answered."""

    backend: str
    simulated: bool = False


class EvaluationRun(Part):
    """The configuration of an evaluation and its progress.

    ``tasks``: the targets that each task is asked from. ``reference``: the target that the others
    are compared with; a task that it cannot answer has its first target as the reference.
    ``limit``: the largest number of items of a task; null for all. ``complete``: whether every
    task of every target has a result.
    """

    phi2sdk: str
    started: str
    tasks: dict[str, tuple[str, ...]]
    reference: str
    limit: int | None = None
    versions: dict[str, str] = Field(default_factory=dict)
    machine: dict[str, str | int | float | None] = Field(default_factory=dict)
    complete: bool


class EvaluationReport(Part):
    """The whole report of an evaluation; ``evaluations`` has the results by task and target."""

    schema_: Literal["phi2sdk.evaluation/1"] = Field(default="phi2sdk.evaluation/1", alias="schema")
    run: EvaluationRun
    targets: dict[str, EvaluatedTarget]
    evaluations: dict[str, dict[str, TaskScores]]
    requirements: tuple[RequirementReport, ...] = ()

    def to_json(self) -> str:
        """Return the content of ``report.json``."""
        return self.model_dump_json(by_alias=True, indent=2) + "\n"
