"""What OpenTelemetry costs a request that asks for it, in CPU of the client.

    python bench/telemetry.py [--quick] [--json FILE]

The same request to a backend that answers at once: without telemetry, with the API alone (nobody
has set up the SDK), and with the SDK, every span ended and every metric recorded, but exported to
nowhere. Rounds alternate; medians over the rounds. No network: the rest of a request is in
``bench/client.py``.
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
    """Answers without asking anybody."""

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
    """CPU microseconds of a request, each way."""
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
    """Run it; 0 if a request with the SDK costs less than half a millisecond more."""
    args = arguments(__doc__)
    report = Report("telemetry", args, ["phi2sdk", "opentelemetry-sdk"])
    found = asyncio.run(measure(*((9, 300) if args.quick else (25, 1000))))
    for way, microseconds in found.items():
        report.row(telemetry=way, cpu_us=round(microseconds, 1))
    report.check("sdk_adds_us", round(found["SDK"] - found["without"], 1), "<=", 500)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
