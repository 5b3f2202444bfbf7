"""The phi2 command, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

__all__ = ["phi2"]


def phi2(
    *arguments: str, stdin: str = "", cwd: Path | None = None, **environment: str
) -> tuple[int, str, str]:
    """Status, standard output and standard error of one command."""
    done = subprocess.run(
        [sys.executable, "-m", "phi2sdk.cli", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120", **environment},
        check=False,
    )
    return done.returncode, done.stdout, done.stderr
