"""The folder of a run from another person, and two processes that use the same folder."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import threading
from array import array
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from phi2sdk.cli.app import app
from phi2sdk.compare import report_of
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import RunFolder
from phi2sdk.measure.journal import read_journal
from phi2sdk.measure.prompt_logprobs import LogprobsFile, read_logprobs
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import estimating_tokenizer
from phi2sdk.report.options import Analysis
from phi2sdk.report.requirements import Requirement
from tests.measure.making import answer
from tests.reliability.run_folders import run_folders
from tests.report.making import run_of

PRICE = {
    "parts": [
        {"model": "hourly", "usd_per_hour": 3.6, "source": "a page", "date": "2026-11-01"},
    ]
}
RECORDS = [answer(f"p{i}", target=name) for i in range(8) for name in ("a", "b")]
ADDED = ("schema", "configuration_hash")
ESTIMATE = estimating_tokenizer()
ASKED = Analysis(volume=500, requirements=(Requirement.parse("targets.a.latency.e2e.p50 < 1"),))
WRITTEN = (
    "report.json", "report.md", "report.html", "junit.xml",
    f".report.md.{os.getpid()}", f".report.json.{os.getpid()}", f".report.html.{os.getpid()}",
)  # fmt: skip
OWN = ("run.json", "records.jsonl", "identity.json", "logprobs.jsonl")


def info_of(records: list[Record]) -> dict[str, object]:
    run = run_of(records, prices={"a": PRICE, "b": PRICE})
    info = {name: value for name, value in run.info.items() if name not in ADDED}
    return info | {"configuration": {**run.configuration, "tokenizer": ESTIMATE.name}}


def made(folder: Path, records: list[Record] = RECORDS) -> RunFolder:
    """A run as it lies in its folder, without any report yet."""
    journal, _ = RunFolder(folder).open(info_of(records), resume=False)
    with journal:
        journal.begin("2026-11-20T12:00:00+00:00")
        for record in records:
            journal.intent(record.key)
            journal.done(record)
    return RunFolder(folder)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return made(tmp_path / "run")


def contents(folder: Path) -> Mapping[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ------------------------------------------------------------------ links


def test_a_report_writes_through_no_link_in_the_folder(run: RunFolder, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    for name in WRITTEN:
        (outside / name).write_text("precious")
        (run.path / name).symlink_to(outside / name)
    report_of(run, ESTIMATE, ASKED)
    assert set(contents(outside).values()) == {b"precious"}
    for name in ("report.json", "report.md", "report.html", "junit.xml"):
        assert not (run.path / name).is_symlink()
        assert (run.path / name).stat().st_size > 100


def test_a_link_to_a_file_that_does_not_exist_creates_none(run: RunFolder, tmp_path: Path) -> None:
    for name in WRITTEN:
        (run.path / name).symlink_to(tmp_path / f"new {name}")
    report_of(run, ESTIMATE, ASKED)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", OWN)
def test_a_link_in_place_of_a_file_of_the_run_is_refused(
    name: str, run: RunFolder, tmp_path: Path
) -> None:
    outside = tmp_path / name
    if (run.path / name).exists():
        shutil.move(run.path / name, outside)
    else:
        outside.write_text("{}\n")
    before = outside.read_bytes()
    (run.path / name).symlink_to(outside)
    with pytest.raises(ConfigurationError, match=f"{name} is a symbolic link"):
        run.read()
    if name == "logprobs.jsonl":
        with pytest.raises(ConfigurationError, match="symbolic link"):
            LogprobsFile(run.path / name)
    elif name in ("run.json", "records.jsonl"):
        with pytest.raises(ConfigurationError, match="symbolic link"):
            run.open(info_of(RECORDS), resume=True)
    assert outside.read_bytes() == before


def test_a_journal_that_is_a_link_in_an_empty_folder_begins_no_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "records.jsonl").symlink_to(tmp_path / "outside")
    with pytest.raises(ConfigurationError, match=r"records"):
        RunFolder(tmp_path / "run").open(info_of(RECORDS), resume=False)
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("name", [*OWN, "report.json"])
def test_a_pipe_in_place_of_a_file_does_not_block(name: str, run: RunFolder) -> None:
    (run.path / name).unlink(missing_ok=True)
    os.mkfifo(run.path / name)
    done = CliRunner().invoke(app, ["report", str(run.path)])
    if name == "report.json":
        assert done.exit_code == 0, "the report is made anew in its place"
        assert (run.path / name).is_file()
    else:
        assert isinstance(done.exception, ConfigurationError)
        assert f"{name} is not a regular file" in str(done.exception)


# ------------------------------------------------------------------ two processes


def test_what_another_process_writes_until_it_ends_is_not_lost(tmp_path: Path) -> None:
    """The second one tries all the time, and so also just before the first one's last line."""
    rounds = 60
    folder = made(tmp_path / "run", [answer("p", target="a")])
    refused = threading.Event()
    seen: list[int] = []

    def second() -> None:
        while not seen:
            try:
                journal, recorded = folder.open(info_of([answer("p", target="a")]), resume=True)
            except ConfigurationError:
                refused.set()
            else:
                journal.close()
                seen.append(len(recorded.done))

    for number in range(1, rounds + 1):
        first, _ = folder.open(info_of([answer("p", target="a")]), resume=True)
        seen.clear()
        refused.clear()
        thread = threading.Thread(target=second)
        thread.start()
        refused.wait()
        last = answer("p", target="a", repetition=number)
        first.intent(last.key)
        first.done(last)
        first.close()
        thread.join()
        assert seen == [1 + number]
    assert len(read_journal(folder.path / "records.jsonl").done) == 1 + rounds


def test_of_two_that_begin_a_run_in_one_folder_one_is_refused_and_leaves_no_trace(
    tmp_path: Path,
) -> None:
    first, _ = RunFolder(tmp_path).open(info_of(RECORDS), resume=False)
    before = (tmp_path / "run.json").read_bytes()
    first.close()
    (tmp_path / "run.json").unlink()  # as another process sees it that has not locked yet
    first, _ = RunFolder(tmp_path).open(info_of(RECORDS), resume=False)
    with pytest.raises(ConfigurationError, match="already has a run"):
        RunFolder(tmp_path).open(info_of(RECORDS[:2]), resume=False)
    first.close()
    assert (tmp_path / "run.json").read_bytes() == before


def test_a_run_killed_between_its_two_files_begins_again(tmp_path: Path) -> None:
    (tmp_path / "records.jsonl").touch()
    journal, recorded = RunFolder(tmp_path).open(info_of(RECORDS), resume=False)
    journal.close()
    assert (recorded.done, (tmp_path / "run.json").exists()) == ({}, True)


def test_a_second_process_on_the_log_probabilities_is_refused(tmp_path: Path) -> None:
    first = LogprobsFile(tmp_path / "logprobs.jsonl")
    with first, pytest.raises(ConfigurationError, match="another process"):
        LogprobsFile(tmp_path / "logprobs.jsonl")
    assert read_logprobs(tmp_path / "logprobs.jsonl") == ()


# ------------------------------------------------------------------ no space, no permission


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))


def a_folder_in_its_place(folder: Path) -> Callable[[], None] | None:
    (folder / "report.md").mkdir()
    return None


def a_full_disk(folder: Path) -> Callable[[], None] | None:
    return limited


@pytest.mark.parametrize("trouble", [a_full_disk, a_folder_in_its_place])
def test_a_report_that_cannot_be_written_is_one_line_and_the_records_stay(
    trouble: Callable[[Path], Callable[[], None] | None], run: RunFolder
) -> None:
    before = contents(run.path)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "phi2sdk.cli", "report", str(run.path)],
        capture_output=True, text=True, preexec_fn=trouble(run.path), timeout=100,
    )  # fmt: skip
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "cannot be written" in done.stderr
    after = {path.name: path for path in run.path.iterdir()}
    assert all(after[name].read_bytes() == data for name, data in before.items())
    assert not any(name.startswith(".") for name in after), "nothing half-written stays"


# ------------------------------------------------------------------ damage of every kind


def test_a_damaged_folder_is_read_or_refused_in_one_line_and_nothing_outside_changes() -> None:
    """A sample; ``python -m tests.reliability.run_folders 1000`` tries more."""
    found = run_folders(mutations=8, seed=7)
    assert found.findings == []
    assert found.outcomes.total() == 8 * 5
    assert found.outcomes["report refused"] >= 2
    assert found.outcomes["report done"] >= 2


def test_half_of_a_surrogate_pair_in_a_name_is_refused_and_in_an_answer_is_shown(
    tmp_path: Path,
) -> None:
    answers = [answer(f"p{i}", target=name, text="half \ud800") for i in range(8) for name in "ab"]
    folder = made(tmp_path / "answers", answers)
    report_of(folder, ESTIMATE)
    assert "half \\\\ud800" in (folder.path / "report.html").read_text(encoding="utf-8")
    folder = made(tmp_path / "route", [replace(one, route="\ud800") for one in RECORDS])
    with pytest.raises(ConfigurationError, match="route: half of a surrogate pair"):
        folder.read()
    folder = made(tmp_path / "run")
    run = (folder.path / "run.json").read_text().replace('"test"', '"\\ud800"')
    (folder.path / "run.json").write_text(run)
    with pytest.raises(ConfigurationError, match="half of a surrogate pair"):
        folder.read()


def test_a_first_chunk_among_no_chunks_is_refused(tmp_path: Path) -> None:
    nothing = array("q")
    records = [replace(one, chunk_ns=nothing, chunk_chars=nothing) for one in RECORDS]
    folder = made(tmp_path / "run", records)
    with pytest.raises(ConfigurationError, match="a first chunk and no chunks"):
        report_of(folder, ESTIMATE)
