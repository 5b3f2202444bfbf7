"""An emulator for each test, and a check that nothing of it is left behind."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest

from phi2sdk.emulator import Emulator, ScriptedEngine

ANSWER = "Light guides ships. Numbers guide minds."


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("phi2-emul")]
    assert left == []


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    """On the test's own loop, without Clarifai."""
    async with Emulator(ScriptedEngine(ANSWER), providers=("azure", "hf", "openai")) as running:
        yield running


@pytest.fixture
def threaded() -> Iterator[Emulator]:
    """On a thread of its own, for synchronous clients."""
    with Emulator(ScriptedEngine(ANSWER)).running() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A bare client with the right key."""
    headers = {"Authorization": "Bearer test-key"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield session
