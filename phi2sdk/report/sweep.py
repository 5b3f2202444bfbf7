"""The result of a sweep: one row for each request rate and target, and the highest rate that holds.

A rate holds for a target if the run at that rate is valid and complete, and at least
:data:`ATTAINMENT` of its requests are good: answered within the service level objective (SLO).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Literal

from pydantic import Field

from phi2sdk.report.format import SIMULATED, UNKNOWN, percent
from phi2sdk.report.schema import LatencySummary, Part, Report
from phi2sdk.report.section import Cell, Column, Section, target_column, words

ATTAINMENT = 0.95
"""The share of good requests at which a rate meets the service level objective."""

FEW = 50
"""With fewer requests at a rate, random arrival times differ visibly from that rate."""


class SweepPoint(Part):
    """A target at one request rate; times in seconds, rates in requests per second."""

    target: str
    rate: float
    achieved: float | None
    ttft_p50: float | None
    ttft_p95: float | None
    e2e_p50: float | None
    e2e_p95: float | None
    attainment: float | None
    """The share of requests within the SLO; ``None`` without one."""
    requests: int
    failures: int
    valid: bool
    complete: bool
    simulated: bool
    run: str
    """The folder of the run, relative to that of the sweep."""


class Sweep(Part):
    """All points of a sweep, and the highest rate of each target that meets the SLO."""

    schema_: Literal["phi2sdk.sweep/1"] = Field(default="phi2sdk.sweep/1", alias="schema")
    slo: dict[str, float]
    attainment: float = ATTAINMENT
    points: tuple[SweepPoint, ...]
    highest: dict[str, float | None]
    """By target; ``None`` if the lowest rate does not meet the SLO, or there is no SLO."""


def sweep_of(reports: Mapping[str, Report], slo: Mapping[str, float]) -> Sweep:
    """Return the result of a sweep.

    Args:
        reports: The reports by the folder of their run, in ascending order of the rate.
        slo: Limits in seconds, by metric.
    """
    names = list(dict.fromkeys(name for report in reports.values() for name in report.targets))
    points = [
        _point(name, folder, report)
        for name in names
        for folder, report in reports.items()
        if name in report.targets
    ]
    return Sweep(
        slo=dict(slo),
        points=tuple(points),
        highest={name: _highest([p for p in points if p.target == name]) for name in names},
    )


def _point(name: str, folder: str, report: Report) -> SweepPoint:
    target, run = report.targets[name], report.run
    assert run.rate is not None, "every run of a sweep has a rate"
    seconds, errors = target.throughput.seconds, target.errors
    ttft, e2e = target.latency.ttft, target.latency.e2e
    return SweepPoint(
        target=name,
        rate=run.rate,
        achieved=errors.ok / seconds if seconds else None,
        ttft_p50=_value(ttft, "p50"),
        ttft_p95=_value(ttft, "p95"),
        e2e_p50=_value(e2e, "p50"),
        e2e_p95=_value(e2e, "p95"),
        attainment=None if target.goodput is None else target.goodput.fraction.value,
        requests=errors.attempted,
        failures=errors.attempted - errors.ok,
        valid=report.validity.valid,
        complete=run.complete,
        simulated=target.simulated,
        run=folder,
    )


def _value(found: LatencySummary | None, quantile: str) -> float | None:
    value: float | None = None if found is None else getattr(found, quantile).value
    return value


def _highest(points: Sequence[SweepPoint]) -> float | None:
    """The highest rate up to which every rate meets the SLO."""
    met = takewhile(_meets, sorted(points, key=lambda point: point.rate))
    return max((point.rate for point in met), default=None)


def _meets(point: SweepPoint) -> bool:
    enough = point.attainment is not None and point.attainment >= ATTAINMENT
    return enough and point.valid and point.complete


# ------------------------------------------------------------------------- table

_COLUMNS = (
    target_column(),
    Column("rate, 1/s", "request_rate"),
    Column("achieved, 1/s", "request_rate"),
    Column("TTFT p50, ms", "ttft", "p50"),
    Column("TTFT p95, ms", "ttft", "p95"),
    Column("E2E p50, ms", "e2e", "p50"),
    Column("E2E p95, ms", "e2e", "p95"),
    Column("within SLO, %", "goodput"),
    Column("failures", "failures"),
    Column("valid?", "valid", words=True),
)


def table(sweep: Sweep) -> Section:
    """Return a sweep as a table, with the highest rate of each target under it."""
    return Section(
        "Latency by request rate", _COLUMNS, [_row(p) for p in sweep.points], tuple(_lines(sweep))
    )


def _row(point: SweepPoint) -> tuple[Cell, ...]:
    mark = SIMULATED if point.simulated else ""
    times = (point.ttft_p50, point.ttft_p95, point.e2e_p50, point.e2e_p95)
    share = point.attainment
    return (
        words(point.target),
        _number(point.rate),
        _number(point.achieved),
        *(_number(None if t is None else t * 1e3, mark) for t in times),
        Cell(UNKNOWN if share is None else percent(share).removesuffix("%")),
        Cell(f"{point.failures:,} / {point.requests:,}", sort=float(point.failures)),
        words("no" if not point.valid else "yes" if point.complete else "incomplete"),
    )


def _number(value: float | None, mark: str = "") -> Cell:
    return Cell(UNKNOWN) if value is None else Cell(f"{mark}{value:.3g}", sort=value)


def _lines(sweep: Sweep) -> Iterator[str]:
    if not sweep.slo:
        yield "Add --slo, such as --slo ttft=0.5,e2e=5, to find the highest rate that meets it."
        return
    limits = ", ".join(f"{name} {limit:g} s" for name, limit in sweep.slo.items())
    for name, rate in sweep.highest.items():
        if rate is None:
            yield f"{name} does not meet the SLO ({limits}) at the lowest rate of the sweep."
        else:
            yield (
                f"{name} meets the SLO ({limits}) for at least {sweep.attainment:.0%} of the "
                f"requests up to {rate:g} requests per second."
            )
    if any(point.requests < FEW for point in sweep.points):
        yield (
            f"With fewer than {FEW} requests for each rate the achieved rate is imprecise: add "
            "--duration 60, or more prompts."
        )
    if any(not point.valid for point in sweep.points):
        yield "A rate whose run is not valid does not count."
    if any(point.simulated for point in sweep.points):
        yield f"{SIMULATED} simulated: an emulator on this machine answered."
