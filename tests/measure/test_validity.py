from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.measure.validity import Health, LagHistogram, Monitor


@given(st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=200), st.floats(0.01, 1.0))
def test_a_quantile_of_lags_is_right_within_five_percent(lags: list[float], p: float) -> None:
    histogram = LagHistogram()
    for lag in lags:
        histogram.add(lag)
    exact = float(np.quantile(lags, p, method="inverted_cdf"))
    found = histogram.quantile(p)
    assert found is not None
    assert exact * (1 - 1e-9) <= found <= exact * 1.051 + 1e-12


async def test_a_loop_that_is_held_up_is_seen() -> None:
    events: list[Mapping[str, Any]] = []
    async with Monitor(events.append):
        await asyncio.sleep(0.03)
        time.sleep(0.2)  # noqa: ASYNC251 - the very thing that is to be seen
        await asyncio.sleep(0.03)
    health = Health.of(events)
    top = health.lag.quantile(1.0)
    assert top is not None
    assert 0.15 < top < 0.5
    assert health.lag.count >= 10  # the probes that were due meanwhile count as well
    assert health.wall_s == pytest.approx(0.26, abs=0.2)


def test_health_of_several_sessions_adds_up() -> None:
    event = {"lag": {"100": 3}, "cpu_s": 1.0, "wall_s": 2.0}
    health = Health.of([event, event])
    assert health.lag.count == 6
    assert health.cpu_share == 0.5
    assert Health.of([]).cpu_share is None
