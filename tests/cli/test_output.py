"""Tables of commands: whole rows in a pipe, and a table that fits on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from phi2sdk.testing import Phi2Emulator
from tests.commands import phi2

TABLES = {
    "prices": ("prices",),
    "memory": ("memory",),
    "doctor": ("doctor",),
    "explain": ("explain", "Explain tides.", "-t", "azure", "--top-k", "50", "--stop", "x" * 60),
    "generate": ("generate", "Explain tides.", "-t", "openai", "--receipt"),
    "plan": ("plan", "--detect", "t=0.5", "--pilot", "32", "--max-tokens", "8"),
}


def piped(*arguments: str, cwd: Path | None = None) -> str:
    """Run a command where neither stream is a terminal and no width is set; return its output."""
    status, out, err = phi2(*arguments, cwd=cwd, COLUMNS="")
    assert status == 0, err
    return out + err


def on_a_terminal(*arguments: str, columns: int, cwd: Path) -> str:
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environ = {n: v for n, v in os.environ.items() if n not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "phi2sdk.cli", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        cwd=cwd,
        env={**environ, "NO_COLOR": "1", "TERM": "dumb"},
    )
    os.close(follower)
    pieces = []
    try:
        while piece := os.read(leader, 65536):
            pieces.append(piece)
    except OSError:
        pass  # Linux reports an error when the other end is closed
    assert process.wait(60) == 0
    os.close(leader)
    return b"".join(pieces).decode().replace("\r", "")


def test_a_pipe_has_every_price_on_one_line(tmp_path: Path) -> None:
    listed = json.loads(phi2("prices", "--json", cwd=tmp_path)[1])["prices"]
    lines = piped("prices", cwd=tmp_path).splitlines()
    assert len(listed) > 30
    for price in listed:
        (line,) = [one for one in lines if one.split()[:1] == [price["id"]]]
        assert f"{price['value']:g}" in line
        assert price["date"] in line
        assert line.endswith(price["note"] or price["source"])


@pytest.mark.parametrize("command", TABLES)
def test_a_row_of_a_table_is_one_line_in_a_pipe(
    command: str, tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    """The first cell of each row is not empty; a row that continues below has one that is."""
    phi2_emulator.answers(" They rise.")
    lines = piped(*TABLES[command], cwd=tmp_path).splitlines()
    assert not [line for line in lines if line.startswith(" ") and line.strip() != "They rise."]
    assert not [line for line in lines if line != line.rstrip()]


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("command", TABLES)
def test_a_table_fits_on_a_terminal(
    command: str, columns: int, tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers(" They rise.")
    shown = on_a_terminal(*TABLES[command], columns=columns, cwd=tmp_path)
    assert max(map(len, shown.splitlines())) <= columns
    assert "…" not in shown


def test_numbers_of_the_price_table_are_whole_at_80_columns(tmp_path: Path) -> None:
    shown = on_a_terminal("prices", columns=80, cwd=tmp_path).split()
    for price in json.loads(phi2("prices", "--json", cwd=tmp_path)[1])["prices"]:
        assert {f"{price['value']:g}", price["date"], price["id"]} <= set(shown)
