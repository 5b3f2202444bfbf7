"""What a metric of single requests is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from phi2sdk.measure.records import Record

__all__ = ["NEVER", "Metric", "answered", "due_an_answer"]

NEVER = float("inf")
"""The value of a request that did not answer: above every limit, last in every ranking."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that each request has, several of, or none.

    Attributes:
        name: As in ``report.json``.
        label: As people write it.
        unit: Of its values.
        definition: What it is, in one sentence.
        formula: In terms of a record's clock readings.
        values: A record's values; :data:`NEVER` for a request that failed to have one.
    """

    name: str
    label: str
    unit: str
    definition: str
    formula: str
    values: Callable[[Record], Iterable[float]]


def answered(record: Record) -> bool:
    """Whether the request has an answer with its clock readings."""
    return record.ok and record.t_send_ns is not None and record.t_last_ns is not None


def due_an_answer(record: Record) -> bool:
    """Whether the request counts although it has none: it failed, and stays in the denominator."""
    return not record.ok
