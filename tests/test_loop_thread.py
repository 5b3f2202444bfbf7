"""The loop behind the synchronous client."""

from __future__ import annotations

import asyncio
import sys
from types import ModuleType

import pytest

from phi2sdk.loop_thread import LoopThread


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
