from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.measure import health as validity
from phi2sdk.measure.health import Health, LagHistogram, Monitor

pytestmark = pytest.mark.timed


@given(st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_of_lags_is_right_within_five_percent(lags: list[float], p: float) -> None:
    histogram = LagHistogram()
    for lag in lags:
        histogram.add(lag)
    exact = float(np.quantile(lags, p, method="inverted_cdf"))
    found = histogram.quantile(p)
    assert found is not None
    assert exact * (1 - 1e-9) <= found <= exact * 1.051 + 1e-12


class Clock:
    """Time that passes only while somebody sleeps, and now and then more than was asked for.

    Args:
        late: Seconds by which each sleep in turn comes back late; after the last, none comes back.
    """

    def __init__(self, *late: float) -> None:
        self.now = 0.0
        self.over = asyncio.Event()
        self._late = list(late)

    def perf_counter(self) -> float:
        return self.now

    def process_time(self) -> float:
        return self.now / 2

    async def sleep(self, seconds: float) -> None:
        if not self._late:
            self.over.set()
            await asyncio.Event().wait()
        self.now += max(0.0, seconds) + self._late.pop(0)


async def test_a_delayed_event_loop_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, events = Clock(0.0, 0.001, 0.2, 0.0), list[Mapping[str, Any]]()
    monkeypatch.setattr(validity, "time", clock)
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    async with Monitor(events.append):
        await clock.over.wait()
    health = Health.of(events)
    # Four probes ran; the third was 0.2 s late, and ten were due meanwhile: 0.18 s, 0.16 s, ...
    assert health.lag.count == 4 + 10
    for p, lag in ((1.0, 0.2), (13 / 14, 0.18), (12 / 14, 0.16)):
        found = health.lag.quantile(p)
        assert found is not None
        assert lag * (1 - 1e-9) <= found <= lag * 1.05
    assert health.wall_s == pytest.approx(clock.now)
    assert health.cpu_share == pytest.approx(0.5)


def test_health_of_several_sessions_adds_up() -> None:
    event = {"lag": {"100": 3}, "cpu_s": 1.0, "wall_s": 2.0}
    health = Health.of([event, event])
    assert health.lag.count == 6
    assert health.cpu_share == 0.5
    assert Health.of([]).cpu_share is None
