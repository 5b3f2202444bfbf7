"""One metric a file, each with its name, unit, definition and formula."""

from phi2sdk.measure.metrics.base import NEVER, Metric
from phi2sdk.measure.metrics.e2e import E2E
from phi2sdk.measure.metrics.icl import ICL
from phi2sdk.measure.metrics.response import RESPONSE
from phi2sdk.measure.metrics.schedule_lag import SCHEDULE_LAG
from phi2sdk.measure.metrics.tpot import TPOT
from phi2sdk.measure.metrics.ttft import TTFT

__all__ = ["E2E", "ICL", "LATENCIES", "NEVER", "RESPONSE", "SCHEDULE_LAG", "TPOT", "TTFT", "Metric"]

LATENCIES: tuple[Metric, ...] = (TTFT, E2E, RESPONSE, TPOT, ICL)
"""What ``report.json`` has under ``latency``, in that order."""
