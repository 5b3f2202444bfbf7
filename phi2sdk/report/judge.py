"""Can this run be believed? The verdict that stands in the first line of every report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from phi2sdk.measure.folder import Run
from phi2sdk.measure.metrics import E2E, SCHEDULE_LAG
from phi2sdk.measure.records import Record
from phi2sdk.measure.validity import Health
from phi2sdk.report.schema import LagReport, ValidityReport

__all__ = ["LAG_FLOOR", "LAG_SHARE", "judge"]

LAG_FLOOR = 0.010
LAG_SHARE = 0.01
"""A lag is too long above 10 ms and above 1 % of the median end-to-end latency."""


def judge(run: Run, records: Sequence[Record]) -> ValidityReport:
    """The verdict on the records of a run (without those of the warm-up)."""
    health = Health.of(run.recorded.health)
    loop = LagReport(
        p50=health.lag.quantile(0.5), p99=health.lag.quantile(0.99), max=health.lag.quantile(1.0)
    )
    schedule = _schedule_lag(records)
    answered = [value for r in records for value in E2E.values(r) if value != float("inf")]
    median = float(np.median(answered)) if answered else 0.0
    allowed = max(LAG_FLOOR, LAG_SHARE * median)
    reasons = []
    if not answered:
        reasons.append("no request was answered")
    for lag, what in ((schedule, "requests left late"), (loop, "the event loop came late")):
        if lag.p99 is not None and lag.p99 > allowed:
            reasons.append(
                f"{what}: lag p99 {lag.p99 * 1e3:.1f} ms, where {allowed * 1e3:.1f} ms is allowed; "
                "this machine was too busy for this load"
            )
    return ValidityReport(
        valid=not reasons,
        sentence=_sentence(run, reasons, schedule),
        reasons=tuple(reasons),
        schedule_lag=schedule,
        loop_lag=loop,
        cpu_share=health.cpu_share,
    )


def _sentence(run: Run, reasons: Sequence[str], schedule: LagReport) -> str:
    if reasons:
        return f"INVALID: {'; '.join(reasons)}."
    kept = "" if schedule.p99 is None else f": requests left within {schedule.p99 * 1e3:.1f} ms"
    return f"Valid{kept} of their time (p99)." if kept else "Valid."


def _schedule_lag(records: Sequence[Record]) -> LagReport:
    lags = np.asarray([value for record in records for value in SCHEDULE_LAG.values(record)])
    if not len(lags):
        return LagReport(p50=None, p99=None, max=None)
    p50, p99, top = np.quantile(lags, [0.5, 0.99, 1.0], method="inverted_cdf")
    return LagReport(p50=float(p50), p99=float(p99), max=float(top))
