"""One metric a file, each with its name, unit, definition and formula."""

from phi2sdk.measure.metrics.base import NEVER, Metric
from phi2sdk.measure.metrics.e2e import E2E
from phi2sdk.measure.metrics.icl import ICL
from phi2sdk.measure.metrics.response import RESPONSE
from phi2sdk.measure.metrics.schedule_lag import SCHEDULE_LAG
from phi2sdk.measure.metrics.tpot import tpot
from phi2sdk.measure.metrics.ttft import TTFT
from phi2sdk.measure.tokens import ReferenceTokenizer

__all__ = [
    "E2E",
    "ICL",
    "NEVER",
    "RESPONSE",
    "SCHEDULE_LAG",
    "TTFT",
    "Metric",
    "latencies",
    "tpot",
]


def latencies(tokenizer: ReferenceTokenizer) -> tuple[Metric, ...]:
    """Return what ``report.json`` has under ``latency``, in that order.

    Args:
        tokenizer: Counts the tokens of every target.
    """
    return TTFT, E2E, RESPONSE, tpot(tokenizer), ICL
