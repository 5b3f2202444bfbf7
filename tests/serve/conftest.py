from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from phi2sdk.emulator import Emulator, ScriptedEngine
from tests.serve.serving import KEY, Served, served

ANSWER = " Tides follow the moon."


@pytest.fixture(autouse=True)
def _key_of_the_emulators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMULATED", KEY)
    monkeypatch.delenv("PHI2_SERVE_KEY", raising=False)


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(ScriptedEngine(ANSWER), providers=["openai", "azure", "hf"]) as running:
        yield running


@pytest.fixture
async def gateway(emulator: Emulator, tmp_path: Path) -> AsyncIterator[Served]:
    """A gateway with three targets, and the route ``safe`` of two of them."""
    async with served(emulator, tmp_path, routes={"safe": ("azure", "openai")}) as running:
        yield running
