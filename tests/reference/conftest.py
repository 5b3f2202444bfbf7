"""Every provider on loopback, with the environment pointing at it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from phi2sdk.emulator import Emulator, ScriptedEngine

ANSWER = "Light guides ships. Numbers guide minds."


@pytest.fixture(scope="package")
def served() -> Iterator[Emulator]:
    with Emulator(ScriptedEngine(ANSWER)).running() as running:
        yield running


@pytest.fixture
def emulator(served: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    for name, value in served.environment().items():
        monkeypatch.setenv(name, value)
    return served
