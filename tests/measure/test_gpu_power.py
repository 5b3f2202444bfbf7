"""Measured watts take the place of stated ones, and only those of the time at work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from phi2sdk.measure.gpu_power import PowerMeter, Sampler, price_of, watts_while_busy
from phi2sdk.pricing import resolve
from phi2sdk.pricing.models import Owned
from tests.measure.making import MS, answer
from tests.report.making import run_of

OWNED = {"model": "owned", "device": "H200", "usd_per_kwh": 0.2}


def health(*watts: tuple[float, float], session: int = 1) -> dict[str, Any]:
    """Readings: milliseconds and watts."""
    lag = {"lag": {}, "cpu_s": 0.0, "wall_s": 1.0, "session": session}
    return {**lag, "watts": [[round(ms * MS), value] for ms, value in watts]}


RECORDS = [
    answer("a", send_ms=100, chunks_ms=(200,)),
    answer("b", send_ms=150, chunks_ms=(300,)),
    answer("c", send_ms=900, chunks_ms=(1000,)),
]


def test_only_readings_while_a_request_was_in_flight_count() -> None:
    readings = health((50, 70), (120, 300), (299, 500), (400, 70), (950, 400), (1001, 70))
    assert watts_while_busy([readings], RECORDS) == 400.0


def test_readings_of_another_session_do_not_count() -> None:
    assert watts_while_busy([health((120, 300), session=2)], RECORDS) is None
    assert watts_while_busy([health()], RECORDS) is None
    assert watts_while_busy([{"session": 1}], RECORDS) is None


@pytest.mark.parametrize(("backend", "watts"), [("local", 400.0), ("openai", 700.0)])
def test_a_price_takes_the_measured_watts_of_a_local_target(backend: str, watts: float) -> None:
    price = resolve(OWNED).model_dump(mode="json")
    run = run_of(RECORDS, prices={"t": price}, health=[health((120, 300), (950, 500))])
    run.info["configuration"]["targets"]["t"]["backend"] = backend
    found = price_of(run, "t", RECORDS)
    assert found is not None
    part = found.parts[0]
    assert isinstance(part, Owned)
    assert part.watts == watts
    assert ("measured" in found.source) == (backend == "local")


def test_a_machine_without_a_gpu_reads_nothing_and_passes_reports_on() -> None:
    seen: list[Mapping[str, Any]] = []
    meter = PowerMeter()
    if meter.open():  # a machine with a GPU: its reading is a power
        watts = meter.read()
        assert watts is not None
        assert 0 < watts < 5000
        meter.close()
        return
    with Sampler(seen.append, 0, meter) as sampler:
        sampler.report({"lag": {}})
    assert seen == [{"lag": {}}]


class TwoReadings(PowerMeter):
    """A device that tells twice."""

    def __init__(self, sampled: list[float]) -> None:
        super().__init__()
        self.left = [100.0, 200.0]
        self.sampled = sampled

    def open(self) -> bool:
        return True

    def read(self) -> float | None:
        if not self.left:
            return None
        self.sampled.append(self.left[0])
        return self.left.pop(0)


def test_readings_go_into_the_health_report() -> None:
    seen: list[Mapping[str, Any]] = []
    sampled: list[float] = []
    with Sampler(seen.append, 0, TwoReadings(sampled)) as sampler:
        pass  # leaving waits for the current reading
    sampler.report({"lag": {}})
    assert [watts for _, watts in seen[0].get("watts", ())] == sampled
    sampler.report({"lag": {}})
    assert "watts" not in seen[1]
