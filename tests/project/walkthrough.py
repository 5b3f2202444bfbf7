"""Execute a page that a reader follows from top to bottom, literally and in its own directory.

- A block after "Save this as `NAME`:" is written to the file NAME.
- In a block of the kind ``console``, each line after ``$ `` is a command. One shell runs all
  commands of a page, and each must succeed. The lines below a command are its output, where ``...``
  stands for any text.
- A page holds no other blocks, so that nothing on it remains untested.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sybil import Document, Example, Region

ROOT = Path(__file__).parents[2]
PAGES = ["docs/get-started/tutorial.md"]
"""The pages that are executed so."""
SETTINGS = re.compile(r"AZURE_|CLARIFAI_|HF_|OPENAI_|PHI2_")
"""Environment variables that configure a provider: a reader of the page has none of them."""

_BLOCK = re.compile(
    r"(?:Save this as `(?P<file>[^`]+)`:\n\n)?^```(?P<kind>[^\n]*)\n(?P<text>.*?)^```$", re.M | re.S
)
_COMMAND = re.compile(r"^\$ (?P<command>.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.M)
_MARK = "== status"


class Shell:
    """A shell that reads one command after the other, in a temporary directory."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        bin = Path(sys.executable).parent
        environment = {k: v for k, v in os.environ.items() if not SETTINGS.match(k)} | {
            "HF_HUB_OFFLINE": "1",
            "NO_COLOR": "1",
            "PATH": f"{bin}{os.pathsep}{os.environ['PATH']}",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PYTHONPATH": str(ROOT),
        }
        self._process = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            cwd=self._folder.name,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> tuple[str, int]:
        """Return the output and the exit status of a command, which may itself open a shell."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command}\nprintf '\\n{_MARK} %s\\n' $?\n")
        self._process.stdin.flush()
        output = ""
        for line in self._process.stdout:
            if line.startswith(_MARK):
                return output.strip("\n"), int(line.removeprefix(_MARK))
            output += line
        raise AssertionError(f"the shell ended during `{command}`:\n{output}")

    def close(self) -> None:
        """End the shell, and with it what was started from it and reads its input."""
        with self._process:
            pass
        self._folder.cleanup()


def blocks(document: Document) -> Iterator[Region]:
    """Yield every block of a page, to be saved or to be run."""
    for block in _BLOCK.finditer(document.text):
        if block["file"] is not None:
            yield Region(block.start(), block.end(), (block["file"], block["text"]), _save)
        elif block["kind"] == "console":
            yield Region(block.start(), block.end(), block["text"], _run)
        else:
            line = document.text.count("\n", 0, block.start()) + 1
            raise ValueError(
                f"{document.path}, line {line}: the block is neither a file nor a console block. "
                "Write 'Save this as `NAME`:' and an empty line before it."
            )


def _save(example: Example) -> None:
    name, text = example.parsed
    directory, _ = example.namespace["shell"].run("pwd")
    (Path(directory) / name).write_text(text, encoding="utf-8")


def _run(example: Example) -> str | None:
    commands = list(_COMMAND.finditer(example.parsed))
    if "".join(match[0] for match in commands) != example.parsed:
        return "the block does not begin with a command after '$ '"
    for match in commands:
        output, status = example.namespace["shell"].run(match["command"])
        expected = match["output"].strip("\n")
        if status != 0 and not _invalid_run(match["command"], status, output):
            return f"`{match['command']}` ended with status {status}:\n{output}"
        if expected and not _matches(expected, output):
            return f"`{match['command']}` printed:\n{output}\n\nThe page shows:\n{expected}"
    return None


def _invalid_run(command: str, status: int, output: str) -> bool:
    """Return whether a comparison found that this machine was too busy, which is not a fault."""
    return command.startswith("phi2 compare ") and status == 3 and "INVALID" in output


def _matches(expected: str, output: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in expected.split("..."))
    return re.fullmatch(pattern, output, re.S) is not None


def open_shell(namespace: dict[str, Any]) -> None:
    """Give the page a shell."""
    namespace["shell"] = Shell()


def close_shell(namespace: dict[str, Any]) -> None:
    """Take the shell away."""
    namespace.pop("shell").close()
