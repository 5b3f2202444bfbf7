"""The commands, options and files in the documentation exist."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import typer

from phi2sdk.cli.app import app
from phi2sdk.cli.compare import app as compare_app
from phi2sdk.cli.emulate import app as emulate_app
from phi2sdk.config import load_config, trust
from tests.project import walkthrough

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("**/*.md")),
    *sorted((ROOT / "examples").glob("*/README.md")),
]
EXECUTED = [ROOT / name for name in walkthrough.PAGES]
NOT_OURS = {
    "brew",
    "cd",
    "curl",
    "git",
    "export",
    "llama-server",
    "llm",
    "lm_eval",
    "ollama",
    "transformers",
    "pre-commit",
    "source",
    "vllm",
}
NOT_HERE = {"sglang.launch_server"}
"""Modules of servers that this package does not install."""

_BLOCK = re.compile(r"^(?P<indent> *)```(?P<kind>\w+)\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)
_INLINE = re.compile(r"`(phi2 [a-z][^`]*|python (?:-m )?[\w./]+[^`]*)`")
_INDENTED = re.compile(r"^    (python (?:-m )?[\w./]+.*)$", re.M)


def blocks(page: Path, kind: str) -> Iterator[str]:
    for block in _BLOCK.finditer(page.read_text()):
        if block["kind"] == kind:
            yield re.sub(f"^{block['indent']}", "", block["text"], flags=re.M)


def commands(page: Path) -> Iterator[str]:
    """Yield the commands in console blocks, set off by indentation, and in a line of text.

    The console blocks of an executed page are left out: they are run, which tests more.
    """
    for block in blocks(page, "console") if page not in EXECUTED else ():
        for line in block.splitlines():
            assert line.startswith("$ "), f"{line!r} is not a command"
            yield from line.removeprefix("$ ").split("&&")
    text = _BLOCK.sub("", page.read_text())
    yield from _INDENTED.findall(text)
    yield from _INLINE.findall(text)


WRITTEN = [(page, command) for page in PAGES for command in commands(page)]


@pytest.mark.parametrize(
    ("page", "command"), WRITTEN, ids=[f"{p.relative_to(ROOT)}: {c.strip()}" for p, c in WRITTEN]
)
def test_a_command_of_the_documentation_is_valid(page: Path, command: str) -> None:
    project = project_of(page)
    words = list(takewhile(lambda word: word != "|", shlex.split(command, comments=True)))
    if len(words) > 2 and words[-2] in ("<", ">"):
        del words[-2:]
    match words:
        case ["phi2", *arguments]:
            check_phi2(arguments)
        case ["python", "-m", "phi2sdk.compare", *arguments]:
            typer.main.get_command(compare_app).make_context("compare", arguments)
        case ["python", "-m", "phi2sdk.emulator", *arguments]:
            typer.main.get_command(emulate_app).make_context("emulate", arguments)
        case ["python", "-m", "pip", "install", *arguments]:
            projects = (project, project_of(ROOT / "README.md"))
            check_install(
                arguments, {e for p in projects for e in p.get("optional-dependencies", ())}
            )
        case ["python", "-m", "pytest", *arguments]:
            check_pytest(arguments)
        case ["python", "-m", module, *_]:
            assert module in NOT_HERE or importlib.util.find_spec(module) is not None
        case ["python", script, *arguments]:
            check_script(ROOT / script, arguments)
        case ["lint-imports"]:
            assert importlib.util.find_spec("importlinter") is not None
        case [("mkdocs" | "mypy" | "ruff") as tool, *_]:
            assert importlib.util.find_spec(tool) is not None
        case [program, *_]:
            assert program in NOT_OURS | set(project.get("scripts", ())), (
                f"{program} is not a known program"
            )


def check_pytest(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("paths", nargs="*")
    parser.add_argument("-k")
    parser.add_argument("-m")
    parser.add_argument("-n", type=int)
    given, _ = parser.parse_known_args(arguments)
    assert all(any(ROOT.glob(path)) for path in given.paths)  # a shell resolves patterns
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert given.m is None or any(line.startswith(f"{given.m}:") for line in ours["markers"])


def check_phi2(arguments: list[str]) -> None:
    if arguments[0].startswith("-"):
        typer.main.get_command(app).make_context("phi2", arguments, resilient_parsing=True)
        return
    group = typer.main.get_command(app)
    known = getattr(group, "commands", {})
    assert arguments[0] in known
    rest = [word for word in arguments[1:] if word not in ("--help", "...")]
    if rest and not _is_a_form(rest):
        known[arguments[0]].make_context(arguments[0], rest)


def _is_a_form(words: list[str]) -> bool:
    """Return whether the words are a usage line, with ``[INPUT]`` or ``RUN_A``, and not a call."""
    return any(re.fullmatch(r"\[?[A-Z_]{2,}\]?(\.\.\.)?", word) for word in words)


def project_of(page: Path) -> dict[str, Any]:
    """Return the project table of the example that the page belongs to, or of this repository."""
    own = page.parent / "pyproject.toml"
    file = own if own.is_file() else ROOT / "pyproject.toml"
    project: dict[str, Any] = tomllib.loads(file.read_text())["project"]
    return project


def check_install(arguments: list[str], extras: set[str]) -> None:
    words = iter(arguments)
    for word in words:
        if word in ("-c", "-r"):
            assert (ROOT / next(words)).is_file()
        elif ours := re.fullmatch(r"(?:\.|\S*phi2sdk\S*?)\[([\w,]+)\]", word):
            assert set(ours[1].split(",")) <= extras


def check_script(script: Path, arguments: list[str]) -> None:
    assert script.is_file()
    shared = script.parent / "common.py"
    said = script.read_text() + (shared.read_text() if shared.exists() else "")
    for option in (word for word in arguments if word.startswith("--")):
        assert option.partition("=")[0] in said, f"{script.name} has no {option}"


def test_the_page_of_the_command_line_lists_every_command() -> None:
    page = (ROOT / "docs/reference/command-line.md").read_text()
    listed = set(re.findall(r"^\| `phi2 (\w+)", page, re.M))
    assert listed == set(getattr(typer.main.get_command(app), "commands", ()))


CONFIGURATIONS = [
    (page, text)
    for page in PAGES
    for text in blocks(page, "toml")
    if re.search(r"^\[targets\.|^\[\[prices", text, re.M)
]


@pytest.mark.parametrize(
    ("page", "text"), CONFIGURATIONS, ids=[str(p.relative_to(ROOT)) for p, _ in CONFIGURATIONS]
)
def test_a_configuration_of_the_documentation_opens(
    page: Path, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The backend accepts every setting and its value."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    file = tmp_path / "phi2.toml"
    file.write_text(text)
    keys = ("AZURE_PHI2_KEY", "CLARIFAI_PAT", "HF_TOKEN", "OPENAI_API_KEY")
    environ = {
        **dict.fromkeys(keys, "a-key"),
        "AZURE_PHI2_ENDPOINT": "https://my-endpoint.example",
        "HF_PHI2_ENDPOINT": "https://my-endpoint.example",
        "OPENAI_BASE_URL": "https://my-server.example/v1",
    }
    targets = load_config(file)
    assert targets or "[[prices]]" in text
    for target in targets.values():
        trust.confirm(trust.sendings(target, environ))
        asyncio.run(target.open(environ=environ).close())
