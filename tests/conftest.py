"""Nothing is left running when the tests are over."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell may run pytest in the background, where started commands would ignore Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Both are set in a process of pytest-xdist, and COLUMNS would limit the width of output in a pipe.
for name in ("COLUMNS", "LINES"):
    os.environ.pop(name, None)

settings.register_profile("usual", deadline=None)  # a busy machine is no fault of the code
settings.load_profile("usual")
settings.register_profile(
    "long",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "10000")),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)

OF_LIBRARIES = (
    "asyncio_",
    "grpc",
    "ThreadPoolExecutor",
    "_poll_wrapper",
    "pydevd",
    "tqdm",
    "Thread-",
)
"""Threads that libraries keep for the whole process; ours have names of our own."""


@pytest.fixture(scope="session", autouse=True)
def _no_thread_of_ours_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [
        thread.name
        for thread in threading.enumerate()
        if thread not in before and not thread.name.startswith(OF_LIBRARIES)
    ]
    assert left == []
