"""The tests of the example application pass in its own folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

APPLICATION = Path(__file__).parents[2] / "examples" / "summarizer_app"


def test_the_applications_suite_passes_and_uses_no_network(tmp_path: Path) -> None:
    copy = shutil.copytree(APPLICATION, tmp_path / "app")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=copy,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stdout
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed is not None
    assert int(passed[1]) >= 16
    assert "phi2_no_network = true" in (copy / "pyproject.toml").read_text()
