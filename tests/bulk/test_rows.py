"""The input of a bulk run: three formats, read row by row, and every fault in one clear line."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from phi2sdk.bulk.rows import Input, Row
from phi2sdk.bulk.scan import Scan, scan
from phi2sdk.bulk.worker import Question
from phi2sdk.completion import Request
from phi2sdk.errors import InvalidRequest, Phi2Error
from tests.bulk.conftest import rows_of, write_jsonl


def read(given: Path | str, folder: Path, **columns: Any) -> list[Row]:
    return list(Input.of(given, folder, **columns).rows())


def scanned(given: Path | str, folder: Path, **columns: Any) -> Scan:
    question = Question()

    def request(text: str) -> Request:
        return Request(question.prompt(text), question.sampling)

    return scan(Input.of(given, folder, **columns), request, wraps=False)


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".jsonl":
        return write_jsonl(path, rows)
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
        return path
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_each_format_has_the_same_rows(kind: str, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"id": "a", "text": 'One,\n"two" \u2028three.'},
        {"id": "b", "text": "Über"},
    ]
    found = read(write(tmp_path / f"in.{kind}", rows), tmp_path)
    assert [(row.n, row.id, row.text) for row in found] == [
        (0, "a", rows[0]["text"]),
        (1, "b", rows[1]["text"]),
    ]


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_other_columns_can_be_named(kind: str, tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"key": 7, "body": "A", "more": "x", "text": "no"}]
    (found,) = read(write(tmp_path / f"in.{kind}", rows), tmp_path, text="body", id="key")
    assert (found.id, found.text) == ("7", "A")


def test_a_pattern_is_read_in_the_order_of_the_names(tmp_path: Path) -> None:
    write(tmp_path / "b.parquet", rows_of(2, first=3))
    write(tmp_path / "a.jsonl", rows_of(3))
    found = read(f"{tmp_path}/*.*", tmp_path)
    assert [(row.n, row.id) for row in found] == [(i, f"row-{i}") for i in range(5)]


def test_rows_without_an_id_are_numbered_over_all_files(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('\ufeff{"text": "x"}\r\n\n{"text": "y"}')
    found = read(f"{tmp_path}/*.jsonl", tmp_path)
    assert [row.id for row in found] == ["1", "2", "3", "4"]


def test_rows_are_read_when_they_are_needed(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", rows_of(3))
    path.write_text(path.read_text() + "not JSON\n")
    rows = Input.of(path, tmp_path).rows()
    assert [next(rows).id for _ in range(3)] == ["row-0", "row-1", "row-2"]
    with pytest.raises(InvalidRequest, match="line 4: not JSON"):
        next(rows)


GOOD = '{"id": "a", "text": "x"}\n'


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("in.jsonl", GOOD + "{oops", r"in.jsonl, line 2: not JSON \(.* column 2\)"),
        ("in.jsonl", GOOD + "[1]", r'line 2: expected an object like {"text": "..."}'),
        ("in.jsonl", GOOD + '{"id": "b", "body": "x"}', r"line 2: text is missing; .* 'body'"),
        ("in.jsonl", GOOD + '{"id": "b", "text": 5}', "line 2: text is not a string"),
        ("in.jsonl", GOOD + '{"id": "b", "text": ""}', "line 2: text is empty"),
        ("in.jsonl", GOOD + '{"id": "b", "text": " "}', "line 2: the paragraph is empty"),
        ("in.jsonl", GOOD + '{"id": [], "text": "x"}', "line 2: id is not a string"),
        ("in.jsonl", GOOD + '{"id": "b", "text": "\\ud800"}', "line 2: a lone surrogate"),
        ("in.jsonl", GOOD + '{"text": "<|endoftext|>"}', "line 2: the prompt contains"),
        (
            "in.jsonl",
            GOOD + '{"text": "y"}\n' + GOOD,
            r"line 3: the id 'a' also occurs in .*line 1",
        ),
        ("in.jsonl", b'{"text": "\xff"}', "line 1: byte 10 is not UTF-8"),
        ("in.jsonl", "", "has no rows"),
        ("in.csv", "id,text\na,x\nb\n", "in.csv, line 3: it has 1 columns, and the header has 2"),
        ("in.csv", "id,body\na,x\n", "in.csv: there is no column text; it has 'id', 'body'"),
        ("in.csv", 'id,text\na,"x"y\n', "in.csv, line 2: not CSV"),
        ("in.csv", b"id,text\na,\xff\n", "in.csv: not UTF-8"),
        ("in.csv", "id,text\na,x\na,y\n", "line 3: the id 'a' also occurs in .*line 2"),
        ("in.parquet", "PAR1 not", "in.parquet: not a Parquet file, or damaged"),
        ("in.txt", "x", "the input is .jsonl, .csv or .parquet"),
        ("nowhere.jsonl", None, "there is no file"),
    ],
)
def test_a_fault_is_one_line_with_file_and_row(
    name: str, content: str | bytes | None, message: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(Phi2Error, match=message) as caught:
        scanned(path, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_of_another_schema_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", rows_of(2))
    write(tmp_path / "b.parquet", [{"id": "z", "abstract": "x"}])
    with pytest.raises(InvalidRequest, match=r"b.parquet: there is no column text; .*'abstract'"):
        scanned(f"{tmp_path}/*.parquet", tmp_path)
    write(tmp_path / "b.parquet", [{"id": "y", "text": 1}, {"id": "z", "text": 2}])
    with pytest.raises(InvalidRequest, match=r"b.parquet, row 1: text is not a string"):
        scanned(f"{tmp_path}/*.parquet", tmp_path)


def test_a_named_id_column_must_exist_in_every_row(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "in.jsonl", [{"key": "a", "text": "x"}, {"text": "y"}])
    with pytest.raises(InvalidRequest, match="line 2: key is missing"):
        scanned(path, tmp_path, id="key")


def test_a_duplicate_is_found_far_apart_and_in_another_file(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", rows_of(2500))
    write(tmp_path / "b.parquet", [*rows_of(1, first=9000), *rows_of(1, first=12)])
    with pytest.raises(InvalidRequest, match=r"b.parquet, row 2: .*'row-12' .*a.jsonl, line 13"):
        scanned(f"{tmp_path}/*.*", tmp_path)


def test_the_digest_changes_with_an_id_a_text_and_the_order(tmp_path: Path) -> None:
    rows = rows_of(3)
    changed = [
        rows,
        [*rows[:2], {"id": "z", "text": rows[2]["text"]}],
        [*rows[:2], {"id": rows[2]["id"], "text": "z"}],
        rows[::-1],
        rows[:2],
    ]
    found = [scanned(write_jsonl(tmp_path / "in.jsonl", one), tmp_path) for one in changed]
    assert len({one.digest for one in found}) == 5
    assert [one.rows for one in found] == [3, 3, 3, 3, 2]
