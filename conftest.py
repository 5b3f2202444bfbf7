"""The examples of the documentation are tests.

The Python blocks of a page run against the emulators. The pages that a reader follows from top to
bottom (``walkthrough.PAGES``) are executed literally, with their files and commands.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

from phi2sdk.testing import Phi2Emulator
from tests.project import walkthrough


@pytest.fixture
def emulated_providers(
    phi2_emulator: Phi2Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Phi2Emulator:
    """Every provider of the documentation answers with a few words; the folder is empty."""
    monkeypatch.chdir(tmp_path)
    phi2_emulator.answers(" The sea rises and falls with the moon.\nInstruct: and so on")
    return phi2_emulator


_pages = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["README.md", "docs/*.md", "docs/*/*.md", "docs/*/*/*.md"],
    excludes=walkthrough.PAGES,
    fixtures=["emulated_providers"],
)
_walkthroughs = Sybil(
    parsers=[walkthrough.blocks],
    patterns=walkthrough.PAGES,
    setup=walkthrough.open_shell,
    teardown=walkthrough.close_shell,
)
pytest_collect_file = (_pages + _walkthroughs).pytest()
