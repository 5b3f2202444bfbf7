"""Test the command as a user runs it, with emulated providers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ticket_summarizer.command import main

from phi2sdk.emulator import Fault
from phi2sdk.testing import Phi2Emulator

CONFIG = Path(__file__).parent.parent / "phi2.toml"


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    """Return a file of two tickets."""
    path = tmp_path / "tickets.jsonl"
    lines = [{"id": f"T-{n}", "text": f"Parcel {n} is late."} for n in (1, 2)]
    path.write_text("\n".join(map(json.dumps, lines)))
    return path


def run(tickets: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[dict[str, str]], str]:
    """Run the command; return its status, its lines of output and its standard error."""
    status = main([str(tickets), "--config", str(CONFIG)])
    out, err = capsys.readouterr()
    return status, [json.loads(line) for line in out.splitlines()], err


def test_the_command_prints_a_line_for_each_ticket(
    tickets: Path, phi2_emulator: Phi2Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    phi2_emulator.answers(" It is late.")
    status, lines, err = run(tickets, capsys)
    assert status == 0
    assert {line["id"]: line["text"] for line in lines} == dict.fromkeys(
        ("T-1", "T-2"), "It is late."
    )
    assert err.startswith("0 tickets left, $")


def test_a_ticket_may_hold_characters_that_only_python_takes_for_line_breaks(
    tickets: Path, phi2_emulator: Phi2Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    phi2_emulator.answers(" It is late.")
    line = {"id": "T-1", "text": "Parcel 1\u2028is\u2029late\x85."}
    tickets.write_text(json.dumps(line, ensure_ascii=False), encoding="utf-8")
    status, lines, _ = run(tickets, capsys)
    assert (status, len(lines)) == (0, 1)


def test_an_answer_cannot_control_the_terminal(
    tickets: Path, phi2_emulator: Phi2Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    phi2_emulator.answers("\x1b]0;owned\x07 \u202eevil")
    assert main([str(tickets), "--config", str(CONFIG)]) == 0
    assert capsys.readouterr().out.replace("\n", "").isprintable()


def test_the_status_is_3_if_tickets_are_left(
    tickets: Path, phi2_emulator: Phi2Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    for server in (phi2_emulator.azure, phi2_emulator.openai):
        server.faults.push(Fault("status", status=503), times=2)
    status, lines, err = run(tickets, capsys)
    assert status == 3
    assert [line["state"] for line in lines] == ["later", "later"]
    assert err.startswith("2 tickets left")


def test_the_error_names_a_wrong_line_and_nothing_is_sent(
    tickets: Path, phi2_emulator: Phi2Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    tickets.write_text('{"id": "T-1", "text": "Late."}\n{"id": "T-2"}\n')
    status, lines, err = run(tickets, capsys)
    assert (status, lines) == (2, [])
    assert "line 2" in err
    assert phi2_emulator.calls == []
