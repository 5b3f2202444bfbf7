"""Build the report of an evaluation from its folder alone, and write its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.evaluations import EVALUATION, read_evaluations
from phi2sdk.measure.files import ANOTHER_COPY, read_json
from phi2sdk.report.evaluation_files import ShownEvaluation, write_evaluation
from phi2sdk.report.evaluation_schema import EvaluatedTarget, EvaluationReport, EvaluationRun
from phi2sdk.report.evaluations import evaluation_report
from phi2sdk.report.requirements import Requirement

__all__ = ["report_of"]


def report_of(folder: Path, requirements: Sequence[Requirement] | None = None) -> ShownEvaluation:
    """Build the report of an evaluation, complete or not, and write its files.

    Args:
        folder: The folder of the evaluation.
        requirements: The rules that must hold; by default those of the report in the folder.

    Raises:
        ConfigurationError: The folder has no evaluation, or a requirement names a value that the
            evaluation does not have.
    """
    document = _document(folder / EVALUATION)
    results = read_evaluations(folder)
    configuration = document["configuration"]
    planned: Mapping[str, Sequence[str]] = document["plan"]
    known = {(one.task, one.target) for one in results}
    targets: Mapping[str, Mapping[str, Any]] = configuration["targets"]
    report = evaluation_report(
        EvaluationRun(
            phi2sdk=document["phi2sdk"],
            started=document["started"],
            tasks={task: tuple(names) for task, names in planned.items()},
            reference=next(iter(targets)),
            limit=configuration["limit"],
            versions=document["versions"],
            machine=document["machine"],
            complete=all((task, name) in known for task in planned for name in planned[task]),
        ),
        {
            name: EvaluatedTarget(backend=one["backend"], simulated=one["simulated"])
            for name, one in targets.items()
        },
        results,
        requirements=_written(folder) if requirements is None else requirements,
    )
    write_evaluation(report, folder)
    return ShownEvaluation(**dict(report))


def _document(path: Path) -> dict[str, Any]:
    """Return ``evaluation.json``.

    Raises:
        ConfigurationError: It does not exist, or it is damaged.
    """
    try:
        document = read_json(path)
    except FileNotFoundError:
        raise ConfigurationError(
            f"{path.parent} is not the folder of an evaluation: it has no {path.name}"
        ) from None
    kinds = {
        "phi2sdk": str,
        "started": str,
        "configuration": dict,
        "plan": dict,
        "versions": dict,
        "machine": dict,
    }
    if not isinstance(document, dict) or not all(
        isinstance(document.get(name), kind) for name, kind in kinds.items()
    ):
        raise ConfigurationError(f"{path} is damaged: a field is missing. {ANOTHER_COPY}")
    return document


def _written(folder: Path) -> list[Requirement]:
    """Return the requirements of the report in the folder; none if there is no readable report."""
    try:
        report = EvaluationReport.model_validate(read_json(folder / "report.json"))
    except (FileNotFoundError, ValueError, ConfigurationError):
        return []
    return [Requirement.parse(one.requirement) for one in report.requirements]
