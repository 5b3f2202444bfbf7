"""One emulator for all cells of a module; the count of cells at the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from phi2sdk.emulator import Emulator, ScriptedEngine
from tests.reliability.matrix import ANSWER, KEY
from tests.reliability.places import places


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    """All providers, on a thread of their own; the key is a canary."""
    with Emulator(ScriptedEngine(ANSWER), key=KEY).running() as running:
        running.azure.style = type(running.azure.style)(echo=False)
        yield running


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return addresses at which connections fail, by name."""
    folder: Path = tmp_path_factory.mktemp("places")
    with places(folder) as found:
        yield found


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cells of the fault matrix were green."""
    passed = [
        report
        for report in terminalreporter.getreports("passed")
        if report.when == "call" and "test_matrix.py::test_cell" in report.nodeid
    ]
    if passed:
        seconds = sum(report.duration for report in passed)
        terminalreporter.write_line(f"fault matrix: {len(passed)} cells green in {seconds:.0f} s")
