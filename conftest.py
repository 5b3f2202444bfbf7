"""The documentation's Python examples are tests: they run against the emulators."""

from __future__ import annotations

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from phi2sdk.testing import Phi2Emulator


@pytest.fixture
def emulated_providers(phi2_emulator: Phi2Emulator) -> Phi2Emulator:
    """Every provider of the documentation answers with a few words."""
    phi2_emulator.answers(" The sea rises and falls with the moon.\nInstruct: and so on")
    return phi2_emulator


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["README.md", "docs/*.md", "docs/*/*.md", "docs/*/*/*.md"],
    fixtures=["emulated_providers"],
).pytest()
