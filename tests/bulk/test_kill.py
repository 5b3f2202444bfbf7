"""``phi2 bulk`` as a process: killed, interrupted, out of disk space, without consent."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from phi2sdk.config import Target
from phi2sdk.emulator import Fault
from phi2sdk.testing import Phi2Emulator
from tests.bulk.conftest import PRICE, read_jsonl, rows_of, write_jsonl
from tests.commands import phi2

ROWS, CONCURRENCY = 200, 8
BULK = ("bulk", "in.jsonl", "out", "-t", "far", "--max-tokens", "8", "--concurrency", "8")


@pytest.fixture
def here(far: Target, phi2_emulator: Phi2Emulator, tmp_path: Path) -> Path:
    """A folder with the target and an input."""
    price = ", ".join(f'{name} = "{value}"' for name, value in PRICE.items() if value != 0)
    price = price.replace('"1.0"', "1.0").replace('"2.0"', "2.0")
    (tmp_path / "phi2.toml").write_text(
        f'[targets.far]\nbackend = "openai"\nbase_url = "{far.settings["base_url"]}"\n'
        f'model = "{far.settings["model"]}"\nserver = "openai"\nprice = {{ {price} }}\n'
        'api_key = { env = "OPENAI_API_KEY" }\n'
    )
    write_jsonl(tmp_path / "in.jsonl", rows_of(ROWS))
    return tmp_path


def started(here: Path, *more: str, kib: str = "unlimited") -> subprocess.Popen[str]:
    """Start the command; no file can become larger than ``kib``, as on a full disk."""
    limited = ["bash", "-c", 'ulimit -f "$0"; exec "$@"', kib]
    return subprocess.Popen(
        [*limited, sys.executable, "-m", "phi2sdk.cli", *BULK, "--yes", *more],
        cwd=here,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "NO_COLOR": "1"},
    )


def test_kills_lose_only_the_requests_in_flight(
    here: Path, phi2_emulator: Phi2Emulator, times_called: Callable[[], Counter[str]]
) -> None:
    calls = phi2_emulator.openai.calls
    for more in ((), ("--resume",)):
        process = started(here, *more)
        calls.wait_for(len(calls) + random.randint(20, 70), 30)
        process.kill()
        process.communicate()
    status, _, err = phi2(*BULK, "--yes", "--resume", cwd=here)
    assert status == 0, err
    found = read_jsonl(here / "out" / "output.jsonl")
    assert [row["id"] for row in found] == [f"row-{i}" for i in range(ROWS)]
    assert all(row["text"] for row in found)
    twice = [times - 1 for times in times_called().values()]
    assert max(twice) <= 2
    counted = int(re.findall(r"At most (\d+) calls were made twice", err or "")[0])
    assert sum(twice) <= counted <= 2 * CONCURRENCY


def test_ctrl_c_completes_the_requests_in_flight_and_prints_the_next_command(
    here: Path, phi2_emulator: Phi2Emulator, times_called: Callable[[], Counter[str]]
) -> None:
    phi2_emulator.openai.faults.push(Fault("delay", seconds=0.5), times=CONCURRENCY)
    process = started(here)
    phi2_emulator.openai.calls.wait_for(1 + CONCURRENCY, 30)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"{CONCURRENCY} of {ROWS} rows have an answer" in err
    assert f"To continue the run: phi2 {' '.join(BULK)} --yes --resume" in err
    assert set(times_called().values()) == {1}


def test_a_second_ctrl_c_abandons_the_requests_in_flight(
    here: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.openai.faults.push(Fault("hang"), times=CONCURRENCY)
    process = started(here)
    assert process.stderr is not None
    phi2_emulator.openai.calls.wait_for(1 + CONCURRENCY, 30)
    process.send_signal(signal.SIGINT)
    while "press Ctrl-C again" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "abandoned, and are sent again" in err
    assert "--resume" in err


def test_ctrl_c_while_the_input_is_read_ends_at_once(
    here: Path, phi2_emulator: Phi2Emulator
) -> None:
    (here / "in.jsonl").unlink()
    os.mkfifo(here / "in.jsonl")
    process = started(here)
    with (here / "in.jsonl").open("w"):  # opened when the command has opened it
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err == "interrupted\n"
    assert phi2_emulator.calls == []


def test_a_full_disk_keeps_the_answers(
    here: Path, times_called: Callable[[], Counter[str]]
) -> None:
    process = started(here, kib="20")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert re.search(r"journal.jsonl cannot be written .*Free disk space, then resume", err), err
    assert "Traceback" not in err
    status, _, err = phi2(*BULK, "--yes", "--resume", cwd=here)
    assert status == 0, err
    assert len(read_jsonl(here / "out" / "output.jsonl")) == ROWS
    assert sum(times_called().values()) <= ROWS + CONCURRENCY


def test_an_output_that_does_not_fit_is_written_by_the_next_session_without_a_call(
    here: Path, times_called: Callable[[], Counter[str]]
) -> None:
    status, _, err = phi2(*BULK, "--yes", cwd=here)
    assert status == 0, err
    (here / "out" / "output.jsonl").unlink()
    process = started(here, "--resume", kib="5")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "output.jsonl cannot be written" in err
    assert sorted(path.name for path in (here / "out").iterdir()) == ["bulk.json", "journal.jsonl"]
    status, _, err = phi2(*BULK, "--resume", cwd=here)
    assert status == 0, err
    assert len(read_jsonl(here / "out" / "output.jsonl")) == ROWS
    assert set(times_called().values()) == {1}


def test_nothing_is_sent_without_consent(here: Path, phi2_emulator: Phi2Emulator) -> None:
    status, _, err = phi2(*BULK, cwd=here)
    assert status == 2
    assert f"{ROWS} rows to send: about" in err
    assert "needs your consent" in err
    assert phi2_emulator.calls == []


def test_standard_input_is_kept_for_the_next_session(here: Path) -> None:
    lines = "".join(f'{{"text": "Paragraph {i} x"}}\n' for i in range(3))
    command = ("bulk", "-", "out", "-t", "far", "--yes")
    status, _, err = phi2(*command, stdin=lines, cwd=here)
    assert status == 0, err
    assert [row["id"] for row in read_jsonl(here / "out" / "output.jsonl")] == ["1", "2", "3"]
    status, _, err = phi2(*command, "--resume", stdin="other", cwd=here)
    assert status == 0, err
