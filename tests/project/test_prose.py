"""The check of the prose finds phrases in text for readers, and ignores code and data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.project.test_tools import tool

prose = tool("prose")


def found(folder: Path, name: str, text: str) -> list[tuple[int, str]]:
    """Return line and phrase of each finding in a file with this text."""
    file = folder / name
    file.write_text(text, encoding="utf-8")
    findings = list(prose.check(file))
    return [(int(one.place.rpartition(":")[2]), one.found) for one in findings]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("docstring.py", '"""Requests.\n\nAt most 4 are under way.\n"""\n'),
        ("comment.py", "x = 1\n\n# a comment over two lines, under\n# way\n"),
        ("message.py", "\n\nraise ValueError('a request is under way')\n"),
        ("f_string.py", "\n\nprint(f'{count} of {total} are under way')\n"),
        ("joined.py", "\n\nprint(\n    'requests under '\n    'way'\n)\n"),
        ("nested.py", '\n\nprint(f\'{"requests under way" if count else "idle"}\')\n'),
        ("page.md", "# Title\n\nA request is *under* **way**.\n"),
        ("list.md", "Requests\n\n- that are under\n  way\n"),
        ("linked.md", "\n\n[A request under way](page.md)\n"),
        (
            "template.html.j2",
            '<p>\n{{ m.title(one) }}\n{{ m.figure("id", "requests under way") }}\n',
        ),
        ("script.js", "\n\nconst title = `${count} requests under way`;\n"),
        ("settings.toml", "[load]\nkind = 'closed'\ntitle = 'requests under way'\n"),
        ("settings.yml", "\n\n# requests under way\n"),
    ],
)
def test_a_phrase_is_found_on_its_line(tmp_path: Path, name: str, text: str) -> None:
    assert [phrase for _, phrase in found(tmp_path, name, text)] == ["under way"]
    ((line, _),) = found(tmp_path, name, text)
    assert line in (3, 4)
    assert "under" in text.splitlines()[line - 1]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("page.md", "```\nunder way\n```\n"),
        ("page.md", "The field `under way`, a [link](under-way.md).\n"),
        ("page.md", "> Somebody else wrote: under way.\n"),
        ("page.md", "How it is under\n\nWay below.\n"),
        ("code.py", "under = way = colour = 1\n"),
        ("code.py", "options = {'colour': 1, 'utilisation': 2}\n"),
        ("code.py", "'''The key ``under way``, and\n\n    colour: An argument.\n'''\n"),
        ("code.py", "data = b'requests under way'\n"),
        ("code.py", "print(f'{under} way')\n"),
        ("script.js", "const colour = underWay(way);\n"),
        ("page.html.j2", "<p>{{ under }} {{ way }}</p>\n"),
        ("settings.toml", "utilisation = 0.5\n"),
    ],
)
def test_code_data_and_quotations_are_not_checked(tmp_path: Path, name: str, text: str) -> None:
    assert found(tmp_path, name, text) == []


def test_a_docstring_begins_with_a_sentence(tmp_path: Path) -> None:
    text = 'def f():\n    """What a request costs."""\n    return "What a request costs"\n'
    assert found(tmp_path, "code.py", text) == [(2, "what")]
    assert found(tmp_path, "code.py", text.replace("What a", "Return what a")) == []


def test_a_notebook_is_checked_cell_by_cell(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "requests under way"]},
        {"cell_type": "code", "source": ["%pip install x\n", "# requests under way"]},
    ]
    file = tmp_path / "a.ipynb"
    file.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    places = [finding.place.partition(": ")[2] for finding in prose.check(file)]
    assert places == ["cell 1:2", "cell 2:2"]


def test_only_unreleased_changes_of_the_changelog_are_checked(tmp_path: Path) -> None:
    text = "# Changelog\n\n## Unreleased\n\n{}\n\n## 0.1.0\n\n{}\n"
    assert found(tmp_path, "CHANGELOG.md", text.format("", "A request is under way.")) == []
    assert found(tmp_path, "CHANGELOG.md", text.format("A request is under way.", ""))


def test_of_the_tests_only_names_comments_and_docstrings_are_checked() -> None:
    source = (
        'def test_a_request_under_way():\n    """Check colours."""\n    x = "it is under way"\n'
    )
    kept = prose.python(source, strings=False)
    assert "test a request under way" in kept
    assert "Check colours" in kept
    assert "it is under way" not in kept


def test_a_finding_names_the_place_and_the_words_to_write(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "page.md").write_text("The request is under way.\n", encoding="utf-8")
    assert prose.main([str(tmp_path)]) == 1
    assert "page.md:1: 'under way': write 'in flight'" in capsys.readouterr().out
    (tmp_path / "page.md").write_text("The request is in flight.\n", encoding="utf-8")
    assert prose.main([str(tmp_path)]) == 0


def test_every_phrase_of_the_list_is_found() -> None:
    """An alternative such as ``a|b`` counts as one phrase."""
    sample = (
        "how dear. under way. so-manieth. whom. were it otherwise. in the house. dressed. "
        "stranger. the judge. goes under. held against. of its own accord. in order before it. "
        "an account of every request. stands there. what becomes of it. asked otherwise. "
        "precisions that count as it. at the door. witness. quantised. tokenise. summarisation. "
        "colour. behaviour. normalised. synchronisation. modelling. analysed."
    )
    for phrase in sample.split(". "):
        assert list(prose.phrases(phrase)), phrase


def test_the_repository_has_no_forbidden_phrase(capsys: pytest.CaptureFixture[str]) -> None:
    status = prose.main([])
    assert status == 0, f"Run python tools/prose.py\n{capsys.readouterr().out}"
