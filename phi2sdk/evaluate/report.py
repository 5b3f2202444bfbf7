"""Build the report of an evaluation from its folder alone, and write its files."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.evaluations import EVALUATION, read_evaluations
from phi2sdk.measure.files import ANOTHER_COPY, read_json
from phi2sdk.parsing import first_mistake
from phi2sdk.report.evaluation_files import ShownEvaluation, write_evaluation
from phi2sdk.report.evaluation_schema import EvaluatedTarget, EvaluationReport, EvaluationRun
from phi2sdk.report.evaluations import evaluation_report
from phi2sdk.report.requirements import Requirement

__all__ = ["report_of"]


class _Target(BaseModel):
    backend: str
    simulated: bool


class _Configuration(BaseModel):
    targets: dict[str, _Target] = Field(min_length=1)
    limit: int | None


class _Document(BaseModel):
    """``evaluation.json``: the fields that a report needs."""

    phi2sdk: str
    started: str
    versions: dict[str, str]
    machine: dict[str, str | int | float | None]
    configuration: _Configuration
    plan: dict[str, tuple[str, ...]]


def report_of(folder: Path, requirements: Sequence[Requirement] | None = None) -> ShownEvaluation:
    """Build the report of an evaluation, complete or not, and write its files.

    Args:
        folder: The folder of the evaluation.
        requirements: The rules that must hold; by default those of the report in the folder.

    Raises:
        ConfigurationError: The folder has no evaluation, or a requirement names a value that the
            evaluation does not have.
    """
    results = read_evaluations(folder)
    known = {(one.task, one.target) for one in results}
    document = _document(folder / EVALUATION, known)
    planned = {(task, name) for task, names in document.plan.items() for name in names}
    targets = document.configuration.targets
    report = evaluation_report(
        EvaluationRun(
            phi2sdk=document.phi2sdk,
            started=document.started,
            tasks=document.plan,
            reference=next(iter(targets)),
            limit=document.configuration.limit,
            versions=document.versions,
            machine=document.machine,
            complete=known == planned,
        ),
        {name: EvaluatedTarget(**dict(one)) for name, one in targets.items()},
        results,
        requirements=_written(folder) if requirements is None else requirements,
    )
    write_evaluation(report, folder)
    return ShownEvaluation(**dict(report))


def _document(path: Path, known: Set[tuple[str, str]]) -> _Document:
    """Return ``evaluation.json``, which must have a plan for all known results.

    Raises:
        ConfigurationError: It does not exist, or it is damaged.
    """
    try:
        document = _Document.model_validate(read_json(path))
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path.parent} is not the folder of an evaluation: it has no {path.name}"
        ) from None
    except ValidationError as error:
        why = first_mistake(error)
    else:
        targets = {name for names in document.plan.values() for name in names}
        unknown = targets - document.configuration.targets.keys()
        unplanned = [task for task, name in known if name not in document.plan.get(task, ())]
        if not unknown and not unplanned:
            return document
        why = f"the plan does not fit {', '.join(sorted({*unknown, *unplanned}))}"
    raise ConfigurationError(f"{path} is damaged: {why}. {ANOTHER_COPY}")


def _written(folder: Path) -> list[Requirement]:
    """Return the requirements of the report in the folder; none if there is no readable report."""
    try:
        report = EvaluationReport.model_validate(read_json(folder / "report.json"))
    except (FileNotFoundError, ValueError, ConfigurationError):
        return []
    return [Requirement.parse(one.requirement) for one in report.requirements]
