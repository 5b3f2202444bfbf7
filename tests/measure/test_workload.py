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


def test_fields_that_are_not_used_are_ignored_and_named_once(tmp_path: Path) -> None:
    lines = '{"text":"x","source":"web","url":"u"}\n{"text":"y","url":"v","id":"k"}\n'
    for name, content in (
        ("a.jsonl", lines),
        ("a.csv", "id,text,source,url\n1,x,web,u\nk,y,,v\n"),
    ):
        said: list[str] = []
        found = read_input(written(tmp_path, name, content), notice=said.append)
        assert [(item.id, item.text) for item in found] == [("1", "x"), ("k", "y")]
        (line,) = said
        assert line.endswith(
            f"{name}: these fields are ignored: 'source', 'url'. "
            "An entry has text, and optionally id and reference."
        )


def test_nothing_is_said_where_every_field_is_used(tmp_path: Path) -> None:
    said: list[str] = []
    path = written(tmp_path, "a.jsonl", '{"text":"x","id":"k","reference":"r"}\n')
    read_input(path, notice=said.append)
    assert said == []


def test_the_names_of_ignored_fields_cannot_fill_or_steer_a_terminal(tmp_path: Path) -> None:
    entry = {"text": "x", "\x1b[31m" + "long" * 100: 1, **{f"f{i}": i for i in range(500)}}
    said: list[str] = []
    read_input(written(tmp_path, "a.jsonl", json.dumps(entry)), notice=said.append)
    assert said[0].split(": ", 1)[1].isprintable()
    assert "and 493 more" in said[0]
    assert len(said[0].removeprefix(str(tmp_path))) < 300


def test_a_text_under_another_name_is_missing_and_the_names_are_shown(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"text is missing; the entry has 'txt', 'id'\."):
        read_input(written(tmp_path, "a.jsonl", '{"txt":"x","id":"k"}\n'))


NO_LINE_BREAKS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv"])
def test_characters_that_only_python_takes_for_line_breaks_are_text(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = [f"one{c}{c}two" for c in NO_LINE_BREAKS]
    # JSON lets U+2028, U+2029 and U+0085 stand as they are, and no control character.
    plain = texts[:3] if kind == "jsonl" else texts
    content = {
        "txt": "\n\n".join(texts),
        "jsonl": "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in plain),
        "csv": "text\n" + "\n".join(plain),
    }[kind]
    assert [i.text for i in read_input(written(tmp_path, f"a.{kind}", content))] == plain
    if kind != "csv":
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        assert [item.text for item in read_input("-")] == plain


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_a_line_ends_with_lf_crlf_or_cr(tmp_path: Path, end: str) -> None:
    for name, lines in (
        ("a.txt", ["", "one", "two", "", "three"]),
        ("a.jsonl", ["", '{"text":"one\\ntwo"}', "", "", '{"text":"three"}']),
        ("a.csv", ["text", '"one\ntwo"', "", "three"]),
    ):
        found = read_input(written(tmp_path, name, end.join([*lines, ""])))
        assert [item.text for item in found] == ["one\ntwo", "three"]
        if name != "a.csv":
            assert [item.line for item in found] == [2, 5]
    with pytest.raises(ConfigurationError, match="line 3: not UTF-8"):
        read_input(written(tmp_path, "b.txt", end.encode().join([b"a", b"", b"\xff"])))


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


def test_a_control_token_is_rendered_where_it_is_allowed() -> None:
    items = (Item("1", "a <|endoftext|> b"),)
    for task in ("summarize", "prompt"):
        rendered = Workload("a", items, task, allow_control_tokens=True).prompts()["1"]
        assert "a <|endoftext|> b" in rendered.text


def test_the_task_determines_the_prompt_of_a_text() -> None:
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


def test_a_byte_that_is_not_utf_8_is_named_also_after_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "input.jsonl"
    file.write_bytes(b"\xef\xbb\xbf{}\n\x80")
    with pytest.raises(ConfigurationError, match=r"line 2: not UTF-8 \(byte 0x80\)"):
        read_input(file)
