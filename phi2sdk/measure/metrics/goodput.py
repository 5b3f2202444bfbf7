"""Goodput: requests that were good enough."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.metrics.base import Metric
from phi2sdk.measure.metrics.e2e import E2E
from phi2sdk.measure.records import Record

__all__ = ["is_good", "parse_slo"]

UNIT = "requests/s"
DEFINITION = (
    "Requests that meet every service level, over the window of the target; the good fraction is "
    "good over attempted, so that a failure is not good. A service level on gaps between chunks "
    "holds where the longest gap meets it."
)
METRICS = ("ttft", "e2e", "response", "tpot", "icl")
_ENTRY = re.compile(r"\s*([a-z0-9]+)\s*=\s*([0-9.eE+-]+)\s*(ms|s)?\s*")


def parse_slo(text: str) -> dict[str, float]:
    """``ttft=0.5,e2e=5`` (seconds; ``500ms`` works too) as limits by metric.

    Raises:
        ConfigurationError: An entry is none, or its metric is unknown.
    """
    limits: dict[str, float] = {}
    for entry in text.split(","):
        match = _ENTRY.fullmatch(entry)
        try:
            name, limit = (match.group(1), float(match.group(2))) if match else ("", 0.0)
        except ValueError:
            name, limit = "", 0.0
        if match is None or name not in METRICS or not 0 < limit < float("inf"):
            raise ConfigurationError(
                f"service level {entry.strip()!r}: write METRIC=SECONDS, with one of "
                f"{', '.join(METRICS)}, as in ttft=0.5,e2e=5"
            )
        limits[name] = limit / 1000 if match.group(3) == "ms" else limit
    return limits


def is_good(record: Record, limits: Mapping[str, float], metrics: Iterable[Metric]) -> bool:
    """Whether an answer came, and within every limit, by the metrics of the limits' names.

    A limit on the first token is not met by a route that does not stream: its first token comes
    with the whole answer, so the whole answer's latency is held against it.
    """
    if not record.ok:
        return False
    for metric in metrics:
        limit = limits.get(metric.name, float("inf"))
        whole = metric.name == "ttft" and not record.streamed
        if any(value > limit for value in (E2E if whole else metric).values(record)):
            return False
    return True
