"""Signals end every command in order, with the documented status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from phi2sdk.emulator import Emulator, Fault, ScriptedEngine
from tests.reliability.matrix import ANSWER, KEY

MODULES = {"phi2": "phi2sdk.cli", "compare": "phi2sdk.compare", "emulator": "phi2sdk.emulator"}


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(ScriptedEngine(ANSWER), key=KEY).running() as running:
        yield running


def start(emulator: Emulator, folder: Path, module: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", MODULES[module], *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        cwd=folder,
        env={**os.environ, **emulator.environment(), "COLUMNS": "80"},
    )


def interrupted(process: subprocess.Popen[str], by: signal.Signals) -> tuple[int, str, str]:
    process.send_signal(by)
    try:
        out, err = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise
    assert "Traceback" not in err, err
    assert KEY not in out + err
    return process.returncode, out, err


@pytest.mark.parametrize("stream", [[], ["--stream"]], ids=["whole", "stream"])
@pytest.mark.parametrize("target", ["azure", "clarifai", "hf", "openai"])
def test_ctrl_c_ends_generate_and_the_call_at_the_provider(
    target: str, stream: list[str], emulator: Emulator, tmp_path: Path
) -> None:
    server = getattr(emulator, target)
    server.faults.push(Fault("hang"), times=4)
    process = start(emulator, tmp_path, "phi2", "generate", "x", "-t", target, *stream)
    server.calls.wait_for(1, 30)
    status, _, _ = interrupted(process, signal.SIGINT)
    assert status == 130
    assert server.calls[0].ended.wait(10)
    assert server.calls[0].cancelled
    assert len(server.calls) == 1


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_emulate_with_status_0(
    by: signal.Signals, emulator: Emulator, tmp_path: Path
) -> None:
    process = start(emulator, tmp_path, "phi2", "emulate", "--for", "60")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("#"):
            break
    status, _, err = interrupted(process, by)
    assert (status, err) == (0, "")


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_compare_with_130_and_a_folder_that_can_be_resumed(
    by: signal.Signals, emulator: Emulator, tmp_path: Path
) -> None:
    (tmp_path / "in.txt").write_text("\n\n".join(f"A paragraph number {n}." for n in range(6)))
    arguments = ("in.txt", "--target", "openai", "--target", "hf", "--out", "run", "--quiet")
    emulator.openai.faults.push(Fault("delay"), times=4)
    emulator.openai.faults.push(Fault("hang"), times=1)
    process = start(emulator, tmp_path, "compare", *arguments)
    wait_for_hang(emulator)
    status, _, _ = interrupted(process, by)
    assert status == 130
    emulator.openai.faults.clear()
    before = len((tmp_path / "run" / "records.jsonl").read_text().splitlines())
    again = start(emulator, tmp_path, "compare", *arguments, "--resume")
    out, err = again.communicate(timeout=60)
    assert again.returncode in (0, 3), out + err
    after = (tmp_path / "run" / "records.jsonl").read_text()
    assert len(after.splitlines()) > before
    assert KEY not in out + err
    for file in (tmp_path / "run").iterdir():
        assert KEY.encode() not in file.read_bytes(), file.name


def wait_for_hang(emulator: Emulator) -> None:
    """Until a call hangs at the provider."""
    count = 1
    while True:
        calls = emulator.openai.calls.wait_for(count, 60)
        if calls[-1].fault == "hang":
            return
        count = len(calls) + 1


def test_ctrl_c_ends_doctor(emulator: Emulator, tmp_path: Path) -> None:
    emulator.openai.faults.push(Fault("hang", path="/v1/models"))
    process = start(emulator, tmp_path, "phi2", "doctor")
    emulator.openai.calls.wait_for(1, 30)
    status, _, _ = interrupted(process, signal.SIGINT)
    assert status == 130
