"""The loop behind the synchronous client."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest

from phi2sdk.client import Phi2Client
from phi2sdk.client.loop_thread import LoopThread
from phi2sdk.errors import Cancelled, ConfigurationError
from tests.scripted import ScriptedBackend


async def which() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


def test_a_loop_of_uvloop_is_taken_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[asyncio.AbstractEventLoop] = []

    def new_event_loop() -> asyncio.AbstractEventLoop:
        made.append(asyncio.new_event_loop())
        return made[-1]

    monkeypatch.setitem(sys.modules, "uvloop", _module(new_event_loop=new_event_loop))
    thread = LoopThread.acquire()
    try:
        assert thread.run(which()) is made[0]
    finally:
        thread.release()
    assert made[0].is_closed()


def test_it_works_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)  # as if it were not installed
    thread = LoopThread.acquire()
    try:
        assert isinstance(thread.run(which()), asyncio.SelectorEventLoop)
    finally:
        thread.release()


def _module(**names: object) -> ModuleType:
    module = ModuleType("uvloop")
    module.__dict__.update(names)
    return module


def loops_alive() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "phi2sdk"]


def from_threads(count: int, work: Callable[[int], object]) -> list[object]:
    """Return what ``work`` returned or raised in several threads that start together."""
    barrier = threading.Barrier(count)

    def begin(number: int) -> object:
        barrier.wait(10)
        try:
            return work(number)
        except Exception as error:
            return error

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(begin, range(count)))


@pytest.fixture
def eager_switches() -> Iterator[None]:
    """Threads take turns so often that a race shows itself."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("eager_switches")
def test_a_client_first_used_by_eight_threads_at_once_takes_its_thread_along_when_closed() -> None:
    for _ in range(20):
        client = Phi2Client(ScriptedBackend(["yes"]))

        def use(_: int, phi: Phi2Client = client) -> str:
            return phi.generate("Tides?").text

        assert from_threads(8, use) == ["yes"] * 8
        client.close()
        assert loops_alive() == []


@pytest.mark.usefixtures("eager_switches")
def test_a_close_during_the_first_use_leaves_no_thread_and_no_waiting_call() -> None:
    for _ in range(40):
        client = Phi2Client(ScriptedBackend(["yes"]))

        def use(number: int, phi: Phi2Client = client) -> object:
            if number == 0:
                phi.close()
                return None
            if number == 1:
                return [chunk.text for chunk in phi.stream("Tides?")]
            return phi.generate("Tides?").text

        ended = from_threads(8, use)
        assert ended[0] is None
        assert loops_alive() == []
        for one in ended[1:]:  # it was answered, or told that the client is closed
            assert one in ("yes", ["yes"]) or isinstance(one, ConfigurationError | Cancelled), one


@pytest.mark.usefixtures("eager_switches")
def test_two_clients_that_begin_and_end_at_once_share_the_thread_without_losing_it() -> None:
    for _ in range(20):

        def use(_: int) -> str:
            with Phi2Client(ScriptedBackend(["yes"])) as phi:
                return phi.generate("Tides?").text

        assert from_threads(8, use) == ["yes"] * 8
        assert loops_alive() == []


def test_work_for_a_loop_that_has_ended_is_refused_and_leaves_no_coroutine_behind() -> None:
    thread = LoopThread.acquire()
    thread.release()
    with pytest.raises(ConfigurationError, match="closed"):
        thread.run(which())
    with pytest.raises(ConfigurationError, match="closed"):
        thread.submit(which())
