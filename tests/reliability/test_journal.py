"""Problems of the run's folder: a full disk, a read-only or deleted folder, a second writer."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from phi2sdk.emulator import Emulator, Fault, ScriptedEngine
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.journal import Journal, read_journal
from tests.reliability.matrix import ANSWER, KEY
from tests.reliability.test_commands import wait_for_hang


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(ScriptedEngine(ANSWER), key=KEY, providers=["openai"]).running() as running:
        yield running


def compare(
    emulator: Emulator, folder: Path, *arguments: str, before: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    (folder / "in.txt").write_text("\n\n".join(f"A paragraph number {n}." for n in range(6)))
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "phi2sdk.compare", "in.txt", "--target", "openai",
         "--quiet", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True,
        cwd=folder, env={**os.environ, **emulator.environment(), "COLUMNS": "80"},
        preexec_fn=before,
    )  # fmt: skip


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    assert KEY not in out + err
    return process.returncode, err


def test_a_full_disk_ends_the_run_with_an_error_and_it_resumes_later(
    emulator: Emulator, tmp_path: Path
) -> None:
    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    status, said = ended(compare(emulator, tmp_path, "--out", "run", before=small))
    assert status == 2
    assert "run" in said
    status, said = ended(compare(emulator, tmp_path, "--out", "run", "--resume"))
    assert status in (0, 3), said
    events = [
        json.loads(line) for line in (tmp_path / "run/records.jsonl").read_text().splitlines()
    ]
    done = [tuple(event["key"]) for event in events if event["event"] == "done"]
    assert len(done) == len(set(done))


def test_a_folder_that_cannot_be_made_is_a_wrong_setting(
    emulator: Emulator, tmp_path: Path
) -> None:
    status, said = ended(compare(emulator, tmp_path, "--out", "/proc/no/run"))
    assert status == 2
    assert "/proc/no/run" in said
    assert emulator.openai.meter.completion_tokens == 0, "nothing was spent"


def test_a_folder_that_vanishes_is_named(emulator: Emulator, tmp_path: Path) -> None:
    emulator.openai.faults.push(Fault("delay"), times=3)
    emulator.openai.faults.push(Fault("hang"))
    process = compare(emulator, tmp_path, "--out", "run", "--timeout", "3")
    wait_for_hang(emulator)
    shutil.rmtree(tmp_path / "run")
    status, said = ended(process)
    assert status == 2
    assert "run" in said


def test_a_second_process_on_the_same_run_is_refused(emulator: Emulator, tmp_path: Path) -> None:
    emulator.openai.faults.push(Fault("delay"), times=3)
    emulator.openai.faults.push(Fault("hang"))
    first = compare(emulator, tmp_path, "--out", "run", "--timeout", "20")
    wait_for_hang(emulator)
    calls = emulator.openai.meter.completion_tokens
    status, said = ended(compare(emulator, tmp_path, "--out", "run", "--resume", "--timeout", "20"))
    assert status == 2
    assert "another process" in said
    assert emulator.openai.meter.completion_tokens == calls, "the second one spent nothing"
    first.kill()
    first.communicate()


def test_two_journals_on_one_file_exclude_each_other(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    first = Journal(path)
    with first, pytest.raises(ConfigurationError, match="another process"):
        Journal(path)
    Journal(path).close()


LINES = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [
                b'{"event":"session","session":1,"started":"x"}',
                b'{"event":"intent","key":["greedy","a","1",0],"session":1}',
                b'{"event":"intent","key":[],"session":1}',
                b'{"event":"done","key":["greedy","a","1",0]}',
                b'{"event":"attempt","key":["greedy","a","1",0],"n":1}',
                b'{"event":"health"}',
                b'{"event":3}',
                b"[]",
                b"null",
                b"{}",
                b'{"event":"session","session":"x"}',
            ]
        ),
    ),
    max_size=6,
)


@pytest.mark.fuzz
@given(lines=LINES, torn=st.booleans())
@example(lines=[b"[]"], torn=False)
@example(lines=[b"[" * 5000], torn=False)
@example(lines=[b'{"event":"intent","key":5}'], torn=False)
@example(lines=[b'{"event":"intent","key":[[],"a","1",0]}'], torn=False)
@example(lines=[b"\xff\xfe"], torn=False)
def test_any_journal_is_read_or_refused(
    lines: list[bytes], torn: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "hostile.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in lines) + (b'{"event":' if torn else b""))
    before = path.read_bytes()
    try:
        read_journal(path)
    except ConfigurationError as error:
        named = str(error)
        assert str(path) in named
    assert path.read_bytes() == before, "reading changes nothing"
