from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.errors import ConfigurationError, InvalidRequest
from phi2sdk.measure.workload import Item, Workload, read_input


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_a_txt_is_split_at_blank_lines_and_knows_where_each_paragraph_begins(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, "a.txt", "\n\none\n two \n \t\nthree\n")
    assert read_input(path) == (Item("1", "one\ntwo", line=3), Item("2", "three", line=6))


def test_a_jsonl_has_text_and_optionally_id_and_reference(tmp_path: Path) -> None:
    path = written(tmp_path, "a.jsonl", '{"text":"x","id":"k","reference":"r"}\n\n{"text":"y"}\n')
    assert read_input(path) == (Item("k", "x", "r", 1), Item("3", "y", None, 3))


def test_a_csv_may_have_line_breaks_in_its_texts_and_columns_of_other_people(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, "a.csv", 'id,text,other\n1,"a\nb",z\n2,c,z\n')
    assert [(item.id, item.text) for item in read_input(path)] == [("1", "a\nb"), ("2", "c")]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert read_input(written(tmp_path, "a.txt", b"\xef\xbb\xbfhello"))[0].text == "hello"


@pytest.mark.parametrize(
    ("name", "content", "line"),
    [
        ("a.jsonl", '{"text":"x"}\n{"text": }\n', 2),
        ("a.jsonl", '{"text":"x"}\n[1]\n', 2),
        ("a.jsonl", '{"text":"x"}\n\n{"txt":"x"}\n', 3),
        ("a.jsonl", '{"text":7}\n', 1),
        ("a.jsonl", '{"text":"  "}\n', 1),
        ("a.jsonl", '{"text":"x","id":true}\n', 1),
        ("a.jsonl", '{"text":"x","id":"k"}\n{"text":"y","id":"k"}\n', 2),
        ("a.jsonl", "[" * 100_000 + "\n", 1),
        ("a.csv", "id,words\n1,x\n", 1),
        ("a.csv", "id,text\n1,x\n2\n", 3),
        ("a.csv", "id,text\n1,x\n2,y,z\n", 3),
    ],
)
def test_a_wrong_entry_is_named_by_its_line(
    tmp_path: Path, name: str, content: str, line: int
) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(InvalidRequest, match=f"line {line}:"):
        read_input(path)


def test_bytes_that_are_not_utf8_are_named_by_their_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="line 3: not UTF-8"):
        read_input(written(tmp_path, "a.txt", b"a\n\n\xff\n"))


@pytest.mark.parametrize("content", ["", "\n\n", "  \n"])
def test_an_empty_input_is_refused(tmp_path: Path, content: str) -> None:
    for name in ("a.txt", "a.jsonl"):
        with pytest.raises(ConfigurationError, match="empty"):
            read_input(written(tmp_path, name, content))


def test_missing_files_folders_and_other_kinds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no file"):
        read_input(tmp_path / "none.txt")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_input(tmp_path)
    with pytest.raises(ConfigurationError, match=r"\.jsonl, \.csv or \.txt"):
        read_input(written(tmp_path, "a.pdf", "x"))


def test_standard_input_is_jsonl_where_it_looks_like_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for content, text in ((b'{"text":"x"}\n', "x"), (b"plain\n", "plain")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert read_input("-")[0].text == text


def test_a_text_that_cannot_become_a_prompt_is_named_by_its_line() -> None:
    workload = Workload("a.txt", (Item("1", "fine"), Item("2", "a <|endoftext|> b", line=4)))
    with pytest.raises(InvalidRequest, match=r"a\.txt, line 4: .*control token"):
        workload.prompts()


def test_the_task_decides_what_becomes_of_a_text() -> None:
    items = (Item("1", "Tides."),)
    summary = Workload("a", items).prompts()["1"].text
    assert summary == (
        "Instruct: Summarize the following paragraph in one sentence.\nTides.\nOutput:"
    )
    assert Workload("a", items, "prompt", "qa").prompts()["1"].text == "Tides."


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1))
def test_whatever_was_written_as_jsonl_is_read_again(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    lines = "\n".join(json.dumps({"text": text}) for text in texts)
    path = written(tmp_path_factory.mktemp("w"), "a.jsonl", lines)
    assert [item.text for item in read_input(path)] == texts
