from __future__ import annotations

import torch

from phi2sdk.backends.engine.threads import ThreadPace, Threads


def passes(pace: ThreadPace, count: int, one: float, every: float) -> int:
    """Run passes of given durations on one thread and on all; return how many used all."""
    used = 0
    for _ in range(count):
        which = pace.pick()
        used += which
        pace.took(which, every if which else one)
    return used


def test_where_waiting_for_others_costs_more_nearly_all_passes_use_one_thread() -> None:
    assert passes(ThreadPace(), 2000, one=1.0, every=6.0) <= 10


def test_where_all_threads_are_faster_nearly_all_passes_use_them() -> None:
    assert passes(ThreadPace(), 2000, one=1.0, every=0.6) >= 1990


def test_the_choice_follows_the_machine() -> None:
    pace = ThreadPace()
    passes(pace, 500, one=1.0, every=6.0)
    passes(pace, 600, one=1.0, every=0.6)
    assert passes(pace, 100, one=1.0, every=0.6) >= 98
    passes(pace, 50, one=1.0, every=6.0)
    assert passes(pace, 500, one=1.0, every=6.0) <= 10


def test_one_disturbed_pass_does_not_change_it() -> None:
    pace = ThreadPace()
    passes(pace, 30, one=1.0, every=0.6)
    pace.took(1, 1.8)
    assert pace.pick() == 1


def test_the_process_keeps_its_own_number_of_threads() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        seen = set()
        threads = Threads(always_one=False)
        for _ in range(4):
            with threads.among(16):
                seen.add(torch.get_num_threads())
            assert torch.get_num_threads() == 2
        with Threads(always_one=True).among(16):
            assert torch.get_num_threads() == 1
        for _ in range(4):  # compiled code keeps the number with which it was made
            with Threads(always_one=False).among(16, fixed=True):
                assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == {1, 2}
