"""A page that is executed passes if its files and commands do what it shows, and only then."""

from __future__ import annotations

from pathlib import Path

import pytest
from sybil import Sybil
from sybil.example import SybilFailure

from tests.project import walkthrough


def execute(folder: Path, *blocks: str) -> None:
    page = folder / "page.md"
    page.write_text("# A page\n\n" + "\n\n".join(blocks) + "\n", encoding="utf-8")
    namespace: dict[str, object] = {}
    walkthrough.open_shell(namespace)
    try:
        document = Sybil([walkthrough.blocks], pattern="*.md", path=str(folder)).parse(page)
        document.namespace.update(namespace)
        for example in document.examples():
            example.evaluate()
    finally:
        walkthrough.close_shell(namespace)


def console(text: str) -> str:
    return f"```console\n{text}\n```"


def test_a_saved_file_is_there_for_the_commands_after_it(tmp_path: Path) -> None:
    program = "Save this as `hello.py`:\n\n```python\nprint('hello', 1.25, 's')\n```"
    execute(
        tmp_path, console("$ mkdir a && cd a"), program, console("$ python hello.py\nhello ... s")
    )


def test_commands_share_a_shell_also_one_that_a_command_opens(tmp_path: Path) -> None:
    opened = console("$ NAME=inner bash")
    execute(tmp_path, opened, console("$ echo $NAME\ninner\n$ exit\n$ echo [$NAME]\n[]"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("$ echo tea\ncoffee", "`echo tea` printed:\ntea"),
        ("$ echo first\nfirst\n$ python -c 'exit(3)'", "ended with status 3"),
        ("echo tea", "does not begin with a command"),
    ],
)
def test_a_command_that_fails_or_prints_something_else_fails_the_page(
    tmp_path: Path, text: str, reason: str
) -> None:
    with pytest.raises(SybilFailure, match=reason):
        execute(tmp_path, console(text))


def test_a_comparison_may_find_that_the_machine_is_too_busy(tmp_path: Path) -> None:
    script = "#!/bin/sh\necho $3\nexit 3"
    fake = f"Save this as `phi2`:\n\n```text\n{script}\n```"
    path = console("$ chmod +x phi2\n$ export PATH=$PWD:$PATH")
    execute(tmp_path, fake, path, console("$ phi2 compare in.txt INVALID"))
    with pytest.raises(SybilFailure, match="ended with status 3"):
        execute(tmp_path, fake, path, console("$ phi2 compare in.txt failed"))


def test_a_block_that_is_neither_file_nor_command_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"page\.md, line 7: the block is neither"):
        execute(tmp_path, console("$ true"), "```python\nprint()\n```")


def test_the_environment_of_the_reader_has_no_provider(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    execute(tmp_path, console("$ echo [$OPENAI_API_KEY]\n[]"))
