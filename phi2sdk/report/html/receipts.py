"""The requests to each target: the route, the model and how they ended."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from phi2sdk.measure.records import Record
from phi2sdk.report.schema import Report

__all__ = ["TargetReceipt", "receipts"]


@dataclass(frozen=True, slots=True)
class TargetReceipt:
    """The requests to one target, and how they ended."""

    name: str
    backend: str
    route: str | None
    model: str | None
    streams: bool
    wrapped: bool
    finish: Mapping[str, int]
    outcomes: Mapping[str, int]
    retries: int
    waited: float
    kinds: Mapping[str, int]
    examples: Mapping[str, str]


def receipts(report: Report, by_target: Mapping[str, Sequence[Record]]) -> list[TargetReceipt]:
    """Return the receipt of each target.

    Args:
        report: The report.
        by_target: The records of the measured requests of each target.
    """
    found = []
    for name, target in report.targets.items():
        reasons: dict[str, int] = {}
        for record in by_target.get(name, ()):
            if record.ok:
                reason = record.finish_reason or "not reported"
                reasons[reason] = reasons.get(reason, 0) + 1
        errors = target.errors
        found.append(
            TargetReceipt(
                name=name,
                backend=target.backend,
                route=target.route,
                model=target.model,
                streams=target.streams,
                wrapped=target.wrapped,
                finish=dict(sorted(reasons.items(), key=lambda item: -item[1])),
                outcomes={
                    outcome: n
                    for outcome in ("ok", "empty", "filtered", "timeout", "error")
                    if (n := getattr(errors, outcome))
                },
                retries=errors.retries,
                waited=errors.waited,
                kinds=errors.kinds,
                examples=errors.examples,
            )
        )
    return found
