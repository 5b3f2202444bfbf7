"""The validity of a run, which the first line of every report states."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phi2sdk.analysis.metrics import E2E, SCHEDULE_LAG
from phi2sdk.measure.folder import Run
from phi2sdk.measure.health import Health
from phi2sdk.measure.records import Record
from phi2sdk.report.measured import Measured
from phi2sdk.report.schema import CalibrationReport, HarnessError, LagReport, ValidityReport

SCHEDULE_FLOOR = 0.010
LOOP_FLOOR = 0.020
LAG_SHARE = 0.01
"""A lag makes a run invalid if it is above 10 ms (event loop: 20 ms, the period of its probe) and
above 1% of the median end-to-end latency."""


def judge(measured: Measured) -> ValidityReport:
    """Return whether the measured requests of a run are valid; the warm-up does not count."""
    run = measured.run
    records = [record for records in measured.greedy.values() for record in records]
    health = Health.of(run.recorded.health)
    loop = LagReport(
        p50=health.lag.quantile(0.5), p99=health.lag.quantile(0.99), max=health.lag.quantile(1.0)
    )
    schedule = _schedule_lag(records)
    answered = [value for r in records for value in E2E.values(r) if value != float("inf")]
    median = float(np.median(answered)) if answered else 0.0
    reasons = []
    if not answered:
        reasons.append("no request was answered")
    for lag, floor, what in (
        (schedule, SCHEDULE_FLOOR, "requests were sent late"),
        (loop, LOOP_FLOOR, "the event loop was delayed"),
    ):
        allowed = max(floor, LAG_SHARE * median)
        if lag.p99 is not None and lag.p99 > allowed:
            found, limit = _told_apart(lag.p99 * 1e3, allowed * 1e3)
            reasons.append(f"{what} by {found} ms (p99), and at most {limit} ms is allowed")
    return ValidityReport(
        valid=not reasons,
        sentence=_sentence(run, reasons, schedule),
        reasons=tuple(reasons),
        schedule_lag=schedule,
        loop_lag=loop,
        cpu_share=health.cpu_share,
        calibration=_calibration(run),
    )


def _told_apart(a: float, b: float) -> tuple[str, str]:
    """Return two different numbers with enough decimals for their texts to differ."""
    for decimals in range(1, 9):
        texts = f"{a:.{decimals}f}", f"{b:.{decimals}f}"
        if texts[0] != texts[1]:
            return texts
    return repr(a), repr(b)


def _sentence(run: Run, reasons: Sequence[str], schedule: LagReport) -> str:
    if reasons:
        return f"INVALID: {'; '.join(reasons)}."
    said = []
    if schedule.p99 is not None:
        said.append(f"requests were sent within {schedule.p99 * 1e3:.1f} ms of schedule")
    if found := _calibration(run):
        worst = max(max(wire.ttft.p99, wire.e2e.p99) for wire in found.values())
        said.append(f"measurement error is at most {worst * 1e3:.1f} ms")
    return f"Valid: {'; '.join(said)} (p99)." if said else "Valid."


def _calibration(run: Run) -> dict[str, CalibrationReport]:
    """Return the calibration by wire, the one with the largest error of all sessions."""
    worst: dict[str, CalibrationReport] = {}
    for event in run.recorded.calibrations:
        found = CalibrationReport(
            streams=event["streams"],
            n=event["n"],
            ttft=HarnessError(**event["ttft"]),
            e2e=HarnessError(**event["e2e"]),
        )
        before = worst.get(event["wire"])
        if before is None or found.e2e.p99 > before.e2e.p99:
            worst[event["wire"]] = found
    return worst


def _schedule_lag(records: Sequence[Record]) -> LagReport:
    lags = np.asarray([value for record in records for value in SCHEDULE_LAG.values(record)])
    if not len(lags):
        return LagReport(p50=None, p99=None, max=None)
    p50, p99, top = np.quantile(lags, [0.5, 0.99, 1.0], method="inverted_cdf")
    return LagReport(p50=float(p50), p99=float(p99), max=float(top))
