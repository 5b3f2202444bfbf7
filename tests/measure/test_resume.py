from __future__ import annotations

from tests.measure.kill_and_resume import kill_and_resume


def test_a_run_killed_at_random_instants_repeats_nothing_and_loses_nothing() -> None:
    found = kill_and_resume(kills=6, seed=3)
    assert found.kills == 6
    assert found.kills_inside >= 1
