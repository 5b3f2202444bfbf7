"""List phrases that the project does not use in prose, with the words to write instead.

``python tools/prose.py [PATH ...]`` checks files and folders (default: the whole repository) and
exits with status 1 if it finds a phrase. The phrases and the exempt files are listed in
``tools/prose.toml``.

Only prose is checked: Markdown text, comments, docstrings, string literals that contain a space,
the names of tests, and the text of templates. Code, inline code and code fences are not.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

__all__ = ["Finding", "check", "files", "main", "phrases", "prose"]

ROOT = Path(__file__).resolve().parents[1]
LISTS = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))

_INSTEAD = list(LISTS["phrases"].values())
_SPACE = r"(?: ?\n ?| )"  # at most one line break: a phrase ends with its paragraph


def _group(number: int, phrase: str) -> str:
    return f"(?P<p{number}>{re.sub(_CAPTURING, '(?:', phrase)})".replace(" ", _SPACE)


_CAPTURING = re.compile(r"(?<!\\)\((?!\?)")
_PHRASES = re.compile(
    rf"(?<![\w-])(?:{'|'.join(_group(*item) for item in enumerate(LISTS['phrases']))})(?![\w-])"
)

_PYTHON = re.compile(
    r"(?P<comment>\#[^\n]*)"
    r"|(?P<prefix>(?<!\w)[rbfuRBFU]{0,2})"
    r"(?P<string>\"\"\".*?(?<!\\)\"\"\"|'''.*?(?<!\\)'''|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')",
    re.DOTALL,
)
_JAVASCRIPT = re.compile(
    r"(?P<comment>//[^\n]*|/\*.*?\*/)"
    r"|(?P<string>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`)",
    re.DOTALL,
)
_QUOTED = re.compile(r"\"[^\"\n]*\"|'[^'\n]*'")
_TEST = re.compile(r"^\s*(?:async )?def (test_\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Finding:
    """A phrase found in a file: where, what, and the words to write instead."""

    place: str
    found: str
    instead: str

    def __str__(self) -> str:
        return f"{self.place}: '{self.found}': write {self.instead}"


def blank(text: str) -> str:
    """Return text of the same length and lines in which no phrase can be found."""
    return re.sub(r"[^\n]", "\0", text)


def without(pattern: str, text: str) -> str:
    """Return the text with every match of the pattern blanked."""
    return re.sub(pattern, lambda m: blank(m[0]), text, flags=re.MULTILINE | re.DOTALL)


def only(pieces: Iterator[tuple[int, str]], text: str) -> str:
    """Return the text blanked except for the pieces, each given with its position."""
    kept, end = [], 0
    for start, piece in pieces:
        kept += [re.sub(r"[^\s]", "\0", text[end:start]), piece]
        end = start + len(piece)
    return "".join(kept) + blank(text[end:])


def expression(code: str) -> str:
    """Return an embedded expression with only its quoted sentences left."""
    return only(((m.start(), m[0]) for m in _QUOTED.finditer(code) if " " in m[0]), code)


def in_braces(opening: str, text: str) -> str:
    """Return the text with the code of its replacement fields blanked."""
    field = re.compile(opening + r"[^{}]*(?:\{[^{}]*\}[^{}]*)*\}")
    return field.sub(lambda m: expression(m[0]), text)


def markdown(text: str) -> str:
    """Return the prose of a Markdown page."""
    text = without(r"^[ \t]*(```+|~~~+).*?^[ \t]*\1[ \t]*$", text)
    text = without(r"<!--.*?-->|`[^`]*`|^[ \t]*>[^\n]*", text)
    text = without(r"(?<=\])\([^)\s]*\)|^\[[^\]]*\]:[^\n]*|https?://\S+", text)
    return re.sub(r"[*_\[\]]", "\1", text).replace("\1", "")


def comment(text: str) -> str:
    """Return a comment with its marks as spaces and without its inline code."""
    return without(r"`[^`\n]*`", re.sub(r"[#/*]", " ", text))


def docstrings(text: str) -> set[int]:
    """Return the line on which each docstring of a module begins."""
    owners = ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef
    return {
        node.body[0].lineno
        for node in ast.walk(ast.parse(text))
        if isinstance(node, owners) and ast.get_docstring(node) is not None
    }


def python(text: str, *, strings: bool = True) -> str:
    """Return the comments, docstrings, test names and (if ``strings``) sentences of a module.

    A docstring begins with the character U+0002, so that a phrase can ask for its first word.
    """
    text = re.sub(r"(?m)^(\s*)[%!].*", r"\1pass", text)  # a notebook's commands
    docs = docstrings(text)

    def pieces() -> Iterator[tuple[int, str]]:
        end = 0
        for m in _PYTHON.finditer(text):
            doc = text.count("\n", 0, m.start()) + 1 in docs
            prefix = m["prefix"].lower() if m["string"] else ""
            if m["comment"]:
                yield m.start(), comment(m[0])
                continue
            sentence = " " in m["string"] or (end and text[end : m.start()].isspace())
            if sentence and "b" not in prefix and (strings or doc):
                found = " " * len(prefix) + re.sub(r"^['\"]+|['\"]+$", _spaces, m["string"])
                if doc:  # names of arguments and lines of code are no prose
                    found = without(r"^ +(\w+(, \w+)*:(?=\s)|\w+ = [^\n]*)", found)
                    found = found.replace("   ", "  \2", 1)
                if "f" in prefix:
                    found = in_braces(r"(?<!\{)\{(?!\{)", found)
                yield m.start(), without(r"^\s*(>>>|\.\.\.) [^\n]*|``[^`]*``|`[^`\n]*`", found)
                end = m.end()

    kept = only(pieces(), text)
    for m in _TEST.finditer(text):
        kept = kept[: m.start(1)] + m[1].replace("_", " ") + kept[m.end(1) :]
    return kept


def _spaces(match: re.Match[str]) -> str:
    return " " * len(match[0])


def javascript(text: str) -> str:
    """Return the comments and sentences of a script."""

    def pieces() -> Iterator[tuple[int, str]]:
        for m in _JAVASCRIPT.finditer(text):
            if m["comment"]:
                yield m.start(), comment(m[0])
            elif " " in m[0]:
                yield m.start(), in_braces(r"\$\{", m[0])

    return only(pieces(), text)


def style_sheet(text: str) -> str:
    """Return the comments of a style sheet."""
    comments = re.finditer(r"/\*.*?\*/", text, re.DOTALL)
    return only(((m.start(), comment(m[0])) for m in comments), text)


def template(text: str) -> str:
    """Return the text of a page or a template, and the sentences in its tags."""
    tag = r"\{\{.*?\}\}|\{%.*?%\}|<[^>]*>"
    return re.sub(tag, lambda m: expression(m[0]), text, flags=re.DOTALL)


def hashed(text: str) -> str:
    """Return a file of settings or a shell script: its comments and values, without inline code."""
    return comment(without(r"^\s*[\w.-]+\s*[=:]", text))


def hashed_comments(text: str) -> str:
    """Return the comments of a file of settings."""
    comments = re.finditer(r"(?m)(?:^|\s)#[^\n]*", text)
    return only(((m.start(), comment(m[0])) for m in comments), text)


def in_list(path: Path, name: str) -> bool:
    """Tell whether a file is in one of the lists of ``tools/prose.toml``."""
    relative = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()
    return any(fnmatch(relative, pattern) for pattern in LISTS[name])


def prose(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the prose of a file with a name of its place, one piece per notebook cell."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        for number, cell in enumerate(json.loads(text)["cells"], 1):
            read = markdown if cell["cell_type"] == "markdown" else python
            yield f"{path}: cell {number}", read("".join(cell["source"]))
        return
    if path.name == "CHANGELOG.md":  # older entries stay unchanged
        text = re.sub(r"(?s)(\n## Unreleased.*?)(\n## .*)", lambda m: m[1], text)
    data = in_list(path, "data")
    readers: dict[str, Callable[[str], str]] = {
        ".md": markdown,
        ".py": lambda text: python(text, strings=not data),
        ".js": javascript,
        ".css": style_sheet,
        ".j2": template,
        ".svg": template,
    }
    yield str(path), readers.get(path.suffix, hashed_comments if data else hashed)(text)


def files(paths: list[Path]) -> Iterator[Path]:
    """Yield the files of paths that hold prose."""
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            known = file.suffix in LISTS["suffixes"] or file.name == "run"
            if known and file.is_file() and not in_list(file, "exempt"):
                yield file


def phrases(text: str) -> Iterator[tuple[int, str, str]]:
    """Yield line, phrase, and the words to write instead, for each phrase in prose."""
    text = re.sub(r"[\0 \t]*\0[\0 \t]*", "\0", text.lower())
    text = re.sub(r"[^\S\n]+", " ", text)
    for m in _PHRASES.finditer(text):
        line = text.count("\n", 0, m.start()) + 1
        yield line, " ".join(m[0].strip("\2").split()), _INSTEAD[int(str(m.lastgroup)[1:])]


def check(path: Path) -> Iterator[Finding]:
    """Yield the phrases found in a file."""
    for place, text in prose(path):
        for line, found, instead in phrases(text):
            yield Finding(f"{place}:{line}", found, instead)


def main(names: list[str]) -> int:
    """Print the findings of the paths and return the exit status."""
    paths = [Path(name).resolve() for name in names]
    paths = paths or [path for name in LISTS["repository"] for path in sorted(ROOT.glob(name))]
    found = [finding for file in files(paths) for finding in check(file)]
    for finding in found:
        print(str(finding).removeprefix(f"{ROOT}/"))
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
