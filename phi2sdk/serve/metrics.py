"""Metrics of the gateway in the text format of Prometheus, by OpenTelemetry's exporter.

The names are those of the semantic conventions for generative AI; names that the conventions do not
define begin with ``phi2sdk.serve.``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from phi2sdk.completion import Count

if TYPE_CHECKING:
    from opentelemetry.metrics import CallbackOptions, Observation

    from phi2sdk.completion import Completion
    from phi2sdk.serve.models import Model

__all__ = ["Metrics"]

Attributes = dict[str, str]

_SECONDS = [0.01 * 2**n for n in range(14)]
"""Bounds of the conventions: 10 ms to 82 s."""
_TOKENS = [float(4**n) for n in range(14)]


class Metrics:
    """Counts and times the requests of one gateway.

    Args:
        gauges: Name, unit, description and current value of each gauge.
    """

    def __init__(self, gauges: Iterable[tuple[str, str, str, Callable[[], float]]]) -> None:
        from opentelemetry.exporter.prometheus import PrometheusMetricReader
        from opentelemetry.sdk.metrics import MeterProvider
        from prometheus_client import CollectorRegistry

        self._registry = CollectorRegistry()
        self._provider = MeterProvider(
            [
                PrometheusMetricReader(
                    disable_target_info=True, scope_info_enabled=False, registry=self._registry
                )
            ],
            shutdown_on_exit=False,
        )
        meter = self._provider.get_meter("phi2sdk.serve")
        self._duration = meter.create_histogram(
            "gen_ai.server.request.duration",
            "s",
            "Duration of a request, including the time in the queue.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._first = meter.create_histogram(
            "gen_ai.server.time_to_first_token",
            "s",
            "Time to the first text of a stream.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self._cost = meter.create_counter(
            "phi2sdk.serve.cost", "USD", "Cost of the answers with a known price."
        )
        for name, unit, words, value in gauges:
            meter.create_observable_gauge(name, [_observe(value)], unit, words)

    def ended(self, attributes: Attributes, seconds: float) -> None:
        """Record the end of a request; a failed one has the attribute ``error.type``."""
        self._duration.record(seconds, attributes)

    def first_text(self, attributes: Attributes, seconds: float) -> None:
        """Record the first text of a stream."""
        self._first.record(seconds, attributes)

    def answered(self, attributes: Attributes, completion: Completion) -> None:
        """Record tokens and cost of one completion."""
        for kind, count in (
            ("input", completion.usage.input),
            ("output", completion.usage.output_billed),
        ):
            if _exact(count):
                labels = {**attributes, "gen_ai.token.type": kind}
                self._tokens.record(count.value, labels)  # type: ignore[union-attr]
        if completion.cost is not None:
            self._cost.add(completion.cost.usd, attributes)

    def text(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        from prometheus_client import generate_latest

        return generate_latest(self._registry)

    def close(self) -> None:
        """Release the exporter."""
        self._provider.shutdown()


def attributes_of(model: Model, *, chat: bool, target: str | None) -> Attributes:
    """Return the attributes of a request to a model, answered by a target."""
    found = {
        "gen_ai.operation.name": "chat" if chat else "text_completion",
        "gen_ai.request.model": model.name,
    }
    for upstream in model.upstreams:
        if upstream.target.name == target:
            found["gen_ai.provider.name"] = upstream.backend.provider
            found["phi2sdk.target"] = upstream.target.name
    return found


def _observe(
    value: Callable[[], float],
) -> Callable[[CallbackOptions], Iterable[Observation]]:
    from opentelemetry.metrics import Observation

    return lambda options: [Observation(value())]


def _exact(count: Count | None) -> bool:
    """Return whether a count is exact; the conventions do not permit estimates."""
    return count is not None and not count.estimated
