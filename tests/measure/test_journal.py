from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.completion import Count, Usage
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.folder import RunFolder, configuration_hash, differences
from phi2sdk.measure.journal import Journal, read_journal
from phi2sdk.measure.records import Record
from tests.measure.making import answer, failure, key
from tests.report.making import run_of

ADDED = ("schema", "configuration_hash")
INFO = {name: value for name, value in run_of([]).info.items() if name not in ADDED}
CONFIGURATION = INFO["configuration"]


def filled(path: Path, records: list[Record]) -> None:
    with Journal(path) as journal:
        journal.begin("2026-01-01T00:00:00+00:00")
        for record in records:
            journal.intent(record.key)
            for number, attempt in enumerate(record.attempts, start=1):
                journal.attempt(record.key, number, attempt, 0)
            journal.done(record)


RECORDS = [
    answer("p1", chunks=("one", " two")),
    answer("p2", text="kept", raw="kept\nInstruct:", streamed=False),
    failure("p3"),
    replace(answer("p4"), usage=Usage(None, Count(5, estimated=True)), cut=True, wrapped=True),
]


def test_records_come_back_as_they_went(tmp_path: Path) -> None:
    filled(tmp_path / "r.jsonl", RECORDS)
    found = read_journal(tmp_path / "r.jsonl")
    assert list(found.done.values()) == RECORDS
    assert found.sessions == 1
    assert not found.open


@given(st.text(), st.text())
def test_any_text_survives_the_journal(
    tmp_path_factory: pytest.TempPathFactory, text: str, raw: str
) -> None:
    path = tmp_path_factory.mktemp("j") / "r.jsonl"
    record = answer("p", text=text, raw=raw)
    filled(path, [record])
    assert list(read_journal(path).done.values()) == [record]


def test_characters_that_only_python_takes_for_line_breaks_do_not_end_an_event(
    tmp_path: Path,
) -> None:
    text = "one\u2028two\u2029three\x85four\x0cfive\x1esix"
    filled(tmp_path / "r.jsonl", [answer("p", text=text)])
    assert read_journal(tmp_path / "r.jsonl").done[key("p")].text == text


def test_a_file_cut_at_any_byte_can_be_read_and_continued(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    filled(path, RECORDS)
    whole = path.read_bytes()
    for size in range(0, len(whole), 7):
        path.write_bytes(whole[:size])
        found = read_journal(path)
        assert list(found.done.values()) == RECORDS[: len(found.done)]
        with Journal(path) as journal:
            journal.begin("later")
            for record in RECORDS[len(found.done) :]:
                journal.intent(record.key)
                journal.done(replace(record, attempts=()))
        again = read_journal(path)
        assert list(again.done) == [record.key for record in RECORDS]
        assert again.sessions == found.sessions + 1


def test_an_intent_without_an_end_stays_known_as_lost(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Journal(path) as journal:
        journal.begin("now")
        journal.intent(key("p"))
    with Journal(path) as journal:
        journal.begin("later")
        journal.intent(key("p"))
        journal.done(answer("p"))
    assert read_journal(path).open == {key("p"): 1}


def test_a_damaged_line_in_the_middle_is_named(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    filled(path, RECORDS)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"garbage\n", *lines[1:]]))
    with pytest.raises(ConfigurationError, match="line 2"):
        read_journal(path)


def test_a_key_that_is_done_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    filled(path, [answer("p"), answer("p")])
    with pytest.raises(ConfigurationError, match="done twice"):
        read_journal(path)


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with (
        Journal(path),
        pytest.raises(ConfigurationError, match="another process"),
    ):
        Journal(path)


def test_what_was_written_after_the_journal_was_read_is_not_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    filled(path, RECORDS[:1])
    before = read_journal(path)
    with Journal(path) as other:
        other.done(RECORDS[1])
    with Journal(path) as journal:
        assert len(journal.recorded.done) == len(before.done) + 1
    assert list(read_journal(path).done) == [record.key for record in RECORDS[:2]]


def test_a_run_is_only_resumed_with_the_same_configuration(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    journal, recorded = folder.open(INFO, resume=False)
    journal.close()
    assert recorded.sessions == 0
    with pytest.raises(ConfigurationError, match="--resume"):
        folder.check(CONFIGURATION, resume=False)
    folder.check(CONFIGURATION, resume=True)
    other = CONFIGURATION | {"load": CONFIGURATION["load"] | {"concurrency": 2}}
    with pytest.raises(ConfigurationError, match=r"load\.concurrency: 1 -> 2"):
        folder.check(other, resume=True)


def test_what_is_not_a_run_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="is a file"):
        RunFolder(tmp_path / "file").check({}, resume=False)
    (tmp_path / "records.jsonl").write_text("something")
    with pytest.raises(ConfigurationError, match="no run"):
        RunFolder(tmp_path).check({}, resume=True)
    with pytest.raises(ConfigurationError, match="not the folder of a run"):
        RunFolder(tmp_path).read()
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ConfigurationError, match=r"phi2sdk\.run/1"):
        RunFolder(tmp_path).read()


def test_resuming_where_nothing_is_yet_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has no run"):
        RunFolder(tmp_path / "new" / "run").open(INFO, resume=True)
    assert not (tmp_path / "new").exists()


def test_a_new_run_keeps_its_configuration_beside_its_records(tmp_path: Path) -> None:
    journal, _ = RunFolder(tmp_path / "new" / "run").open(INFO, resume=False)
    journal.close()
    info = json.loads((tmp_path / "new" / "run" / "run.json").read_text())
    assert info["configuration_hash"] == configuration_hash(CONFIGURATION)
    assert sorted(p.name for p in (tmp_path / "new" / "run").iterdir()) == [
        "records.jsonl",
        "run.json",
    ]


def test_differences_are_named_by_their_path() -> None:
    before = {"a": 1, "b": {"c": "x" * 200}, "d": 1}
    after = {"a": 1, "b": {"c": "y"}, "e": 1}
    found = list(differences(before, after))
    assert [line.split(":")[0] for line in found] == ["b.c", "d", "e"]
    assert all(len(line) < 160 for line in found)
