from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from phi2sdk.completion import Count, Usage
from phi2sdk.measure.records import Record
from phi2sdk.report.records_csv import COLUMNS, records_csv
from phi2sdk.testing import Phi2Emulator
from phi2sdk.text import for_csv
from tests.commands import phi2
from tests.measure.making import answer, failure
from tests.reliability.hostile import HOSTILE, steers

ROOT = Path(__file__).parents[2]


def rows(*records: Record) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(records_csv(records), newline="")))


def test_each_record_is_a_row_that_a_csv_reader_reads_back() -> None:
    text = 'one, "two"\nthree'
    found = rows(
        answer("p1", target="gpu", send_ms=100, chunks_ms=(150, 400), text=text),
        failure("p2", target="gpu", outcome="timeout", error="Timeout"),
    )
    assert tuple(found[0]) == tuple(COLUMNS)
    assert found[0]["text"] == text
    assert float(found[0]["sent_s"]) == 0.1
    assert float(found[0]["ttft_s"]) == pytest.approx(0.05)
    assert float(found[0]["e2e_s"]) == pytest.approx(0.3)
    assert (found[0]["outcome"], found[1]["outcome"]) == ("ok", "timeout")
    assert (found[1]["error"], found[1]["e2e_s"], found[1]["text"]) == ("Timeout", "", "")


def test_only_tokens_that_the_provider_reported_are_in_the_table() -> None:
    reported = replace(answer(), usage=Usage(Count(12), Count(3)))
    estimated = replace(answer("q"), usage=Usage(Count(12, estimated=True), None))
    found = rows(reported, estimated)
    assert (found[0]["input_tokens"], found[0]["output_tokens"]) == ("12", "3")
    assert (found[1]["input_tokens"], found[1]["output_tokens"]) == ("", "")


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\uff1d", " =", "\t=", "\n@", "\r-"])
def test_a_cell_that_a_spreadsheet_would_execute_is_text(begin: str) -> None:
    formula = f'{begin}HYPERLINK("http://evil.example";"click")'
    found = rows(replace(answer(text=formula), model=formula, message=formula))
    for column in ("text", "model", "message"):
        assert found[0][column].lstrip()[0] in "'\\\\", column


def test_numbers_and_ordinary_text_are_as_they_are() -> None:
    for text in ("They rise.", " 2 - 1 = 1", "", "a@b", "-1"[1:]):
        assert for_csv(text) == text


@pytest.mark.parametrize("kind", sorted(HOSTILE))
def test_hostile_text_steers_no_terminal_that_shows_the_file(kind: str) -> None:
    assert steers(records_csv([answer(text=f"x{HOSTILE[kind]}")]).replace("\r\n", "\n")) == []


def test_a_lone_surrogate_can_be_written() -> None:
    assert records_csv([answer(text="a\ud800")]).encode("utf-8")


def test_the_documentation_explains_every_column() -> None:
    page = (ROOT / "docs" / "reference" / "command-line.md").read_text(encoding="utf-8")
    for name, (meaning, _) in COLUMNS.items():
        assert f"| `{name}` | {meaning} |" in page


def test_a_finished_run_is_exported_by_phi2_report(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("=1+1")
    (tmp_path / "in.txt").write_text("The sea rises.")
    small = ("--repeat", "1", "--warmup", "1", "--max-tokens", "8", "-o", "run")
    assert phi2("compare", "in.txt", "-t", "openai", *small, cwd=tmp_path)[0] in (0, 3)
    status, out, err = phi2("report", "run", "--export", "csv", "--json", cwd=tmp_path)
    assert status == 0, err
    assert json.loads(out)["run"]["recorded"] == 1
    assert "Records: run/records.csv" in err
    with (tmp_path / "run" / "records.csv").open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file))
    assert [row["arm"] for row in found] == ["warmup", "greedy"]
    assert [row["text"] for row in found] == ["'=1+1", "'=1+1"]
    assert phi2("report", "run", "--export", "xlsx", cwd=tmp_path)[0] == 2
