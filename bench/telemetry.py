"""Measure the CPU time that OpenTelemetry adds to a request in the client.

    python bench/telemetry.py [--quick] [--json FILE]

The benchmark sends the same request to a backend that answers immediately: without telemetry, with
only the API (the SDK is not configured), and with the SDK, which ends every span and records every
metric, but does not export them. Rounds alternate, and the figures are medians over the rounds.
There is no network; ``bench/client.py`` measures complete requests.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from time import perf_counter_ns, process_time

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

from bench.common import Report, arguments, median
from phi2sdk import AsyncPhi2Client
from phi2sdk.backends.base import Backend, Capabilities
from phi2sdk.client.telemetry import Telemetry
from phi2sdk.completion import Chunk, Count, Done, Event, Opened, Request, Sent, Usage
from phi2sdk.sampling import Dialect, Rule


class AtOnce(Backend):
    """A backend that answers immediately, without a connection."""

    provider = "at_once"
    capabilities = Capabilities()
    dialect = Dialect(
        "at_once", {name: Rule(name) for name in ("max_tokens", "temperature", "stop")}
    )

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        _, receipt = self.prepare(request)
        yield Sent(perf_counter_ns(), receipt, request.stream)
        yield Opened(perf_counter_ns(), "1", "phi-2")
        yield Chunk("Tides.", "Tides.", perf_counter_ns(), tokens=1)
        yield Done(perf_counter_ns(), "stop", Usage(Count(7), Count(1)))


async def measure(rounds: int, requests: int) -> dict[str, float]:
    """Return the CPU microseconds per request in each configuration."""
    sdk = Telemetry(
        tracer_provider=TracerProvider(shutdown_on_exit=False),
        meter_provider=MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False),
    )
    ways = {
        "without": AsyncPhi2Client(AtOnce()),
        "API alone": AsyncPhi2Client(AtOnce(), telemetry=True),
        "SDK": AsyncPhi2Client(AtOnce(), telemetry=sdk),
    }
    taken: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, phi in ways.items():
            begun = process_time()
            for _ in range(requests):
                await phi.generate("Explain tides.")
            taken[way].append((process_time() - begun) / requests * 1e6)
    return {way: median(times) for way, times in taken.items()}


def main() -> int:
    """Run the benchmark, and return 0 if the SDK adds less than half a millisecond per request."""
    args = arguments(__doc__)
    report = Report("telemetry", args, ["phi2sdk", "opentelemetry-sdk"])
    found = asyncio.run(measure(*((9, 300) if args.quick else (25, 1000))))
    for way, microseconds in found.items():
        report.row(telemetry=way, cpu_us=round(microseconds, 1))
    report.check("sdk_adds_us", round(found["SDK"] - found["without"], 1), "<=", 500)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
