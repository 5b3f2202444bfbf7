"""Tables of commands: whole rows in a pipe, and a table that fits on a terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from phi2sdk.testing import Phi2Emulator
from tests.commands import on_a_terminal, phi2

TABLES = {
    "prices": ("prices",),
    "memory": ("memory",),
    "doctor": ("doctor",),
    "explain": ("explain", "Explain tides.", "-t", "azure", "--top-k", "50", "--stop", "x" * 60),
    "generate": ("generate", "Explain tides.", "-t", "openai", "--receipt"),
    "plan": (
        "plan",
        "--detect",
        "t=0.5",
        "--honest",
        "float32",
        "--pilot",
        "32",
        "--max-tokens",
        "4",
    ),
}


ANSI = re.compile(r"\x1b\[[\d;?]*[A-Za-z]")


def piped(*arguments: str, cwd: Path | None = None) -> str:
    """Run a command where neither stream is a terminal and no width is set; return its output."""
    status, out, err = phi2(*arguments, cwd=cwd, COLUMNS="")
    assert status == 0, err
    return out + err


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
    status, shown = on_a_terminal(
        *TABLES[command], cwd=tmp_path, environment={"TERM": "xterm"}, columns=columns
    )
    assert status == 0, shown
    lines = ANSI.sub("", shown).splitlines()
    assert max(map(len, lines)) <= columns
    assert "…" not in shown


def test_numbers_of_the_price_table_are_whole_at_80_columns(tmp_path: Path) -> None:
    shown = on_a_terminal("prices", cwd=tmp_path, environment={"TERM": "dumb"})[1].split()
    for price in json.loads(phi2("prices", "--json", cwd=tmp_path)[1])["prices"]:
        assert {f"{price['value']:g}", price["date"], price["id"]} <= set(shown)
