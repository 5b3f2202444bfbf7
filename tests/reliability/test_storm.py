"""Retries under load: few, spread out, and over soon after the outage."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from scipy import stats

from phi2sdk.emulator import Emulator, Fault, ScriptedEngine
from tests.reliability.matrix import ANSWER, KEY
from tests.reliability.storm import ATTEMPTS, BASE, CALLERS, PAUSE, storm, waves

pytestmark = pytest.mark.timed

SCALE = 0.2
LAG = 1.0
"""Seconds that a busy machine may take to serve 64 calls."""


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(ScriptedEngine(ANSWER), key=KEY, providers=["openai"]).running() as running:
        yield running


async def test_an_outage_brings_no_storm_and_ends_within_one_back_off(emulator: Emulator) -> None:
    random.seed(8)
    seen = await storm(emulator, SCALE)
    assert len(seen.recovered) == CALLERS, "everybody was answered in the end"
    assert seen.requests > 2 * CALLERS, "callers kept asking while it lasted"
    assert seen.calls <= 1.2 * seen.bound
    # A caller is in a back-off of 2 s at most, or in a pause as long, when the outage ends.
    longest = max(BASE * 2 ** (ATTEMPTS - 2), 2 * PAUSE)
    assert seen.recovery <= longest + LAG / SCALE
    during = [t for t in seen.arrivals if t < seen.ended]
    assert busiest_share(during[CALLERS:], bins=20) < 5 / 20, "no synchronised waves"


async def test_callers_that_fail_at_the_same_instant_come_back_spread_out(
    emulator: Emulator,
) -> None:
    random.seed(8)
    base = 0.2
    for number, waits in enumerate(
        await waves(emulator, Fault("status", status=503), base, attempts=3)
    ):
        assert len(waits) == CALLERS
        bound = base * 2**number
        assert stats.kstest(waits, stats.uniform(0, bound).cdf).pvalue > 1e-4
        assert busiest_share(waits, bins=8) < 3 / 8


async def test_a_shared_retry_after_does_not_bring_all_callers_back_at_once(
    emulator: Emulator,
) -> None:
    random.seed(8)
    base, asked = 0.4, 0.1
    fault = Fault("status", status=429, headers={"Retry-After": str(asked)})
    (waits,) = await waves(emulator, fault, base, attempts=2)
    assert min(waits) >= asked, "the provider's wish is kept"
    assert busiest_share(waits, bins=8) < 3 / 8
    assert max(waits) - min(waits) > base / 2


def busiest_share(times: list[float], bins: int) -> float:
    """The share of the fullest of equal bins."""
    assert times
    low, high = min(times), max(times)
    counts = [0] * bins
    for time in times:
        counts[min(bins - 1, int((time - low) / (high - low) * bins))] += 1
    return max(counts) / len(times)
