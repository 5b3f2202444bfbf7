"""Read the workload: paragraphs or prompts from a file, each with an id."""

from __future__ import annotations

import csv
import io
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from phi2sdk import prompts
from phi2sdk.errors import ConfigurationError, InvalidRequest
from phi2sdk.parsing import parse_json
from phi2sdk.prompts import Format, Prompt
from phi2sdk.text import untrusted

__all__ = [
    "Item",
    "Task",
    "Workload",
    "read_input",
    "read_workload",
    "recorded_identity_workload",
    "recorded_workload",
]

Task = Literal["summarize", "prompt"]
_FIELDS = frozenset({"id", "text", "reference"})
_LINE_BREAK = re.compile(r"\r\n|\n|\r")
"""What ends a line of a file. ``str.splitlines`` also splits at U+2028, U+2029, U+0085 and others,
which are characters of a text."""
_USED = "An entry has text, and optionally id and reference"
_MOST_NAMES = 8
"""Maximum number of ignored fields that are named."""


@dataclass(frozen=True, slots=True)
class Item:
    """One entry of the input.

    Attributes:
        id: Its name in records and reports; the line number where the input gives none.
        text: The paragraph, or the prompt's text.
        reference: What a good answer looks like, if the input has one.
        line: Where it begins in the input, from 1.
    """

    id: str
    text: str
    reference: str | None = None
    line: int = 1


@dataclass(frozen=True, slots=True)
class Workload:
    """Items, and how they become prompts.

    Attributes:
        name: Where they come from, for messages.
        task: ``summarize`` puts the text into the fixed template; ``prompt`` sends it in
            ``format``.
        format: The prompt format of task ``prompt``.
        allow_control_tokens: Whether ``<|endoftext|>`` may occur in a text.
        rendered: The texts are prompts already, as a run recorded them.
    """

    name: str
    items: tuple[Item, ...]
    task: Task = "summarize"
    format: Format = "instruct"
    allow_control_tokens: bool = False
    rendered: bool = False

    def prompts(self) -> dict[str, Prompt]:
        """The prompt of each item, by its id.

        Raises:
            InvalidRequest: A text cannot become a prompt; the message names its line.
        """
        rendered: dict[str, Prompt] = {}
        for item in self.items:
            try:
                rendered[item.id] = self._render(item.text)
            except InvalidRequest as error:
                raise InvalidRequest(f"{self.name}, line {item.line}: {error.message}") from error
        return rendered

    def _render(self, text: str) -> Prompt:
        if self.rendered:  # with the stops of its format
            allowed = prompts.END_OF_TEXT in text
            return replace(
                prompts.render("any", self.format), text=text, allow_control_tokens=allowed
            )
        allowed = self.allow_control_tokens
        if self.task == "summarize":
            return prompts.summarize(text, allow_control_tokens=allowed)
        return prompts.render(text, self.format, allow_control_tokens=allowed)


def read_workload(
    path: str | Path,
    task: Task = "summarize",
    *,
    format: Format = "instruct",
    allow_control_tokens: bool = False,
    notice: Callable[[str], None] | None = None,
) -> Workload:
    """Read the workload that an input holds; arguments as for :class:`Workload`.

    Raises:
        ConfigurationError, InvalidRequest: As :func:`read_input`.
    """
    items = read_input(path, notice=notice)
    return Workload(_name(path), items, task, format, allow_control_tokens)


def recorded_workload(configuration: Mapping[str, Any]) -> Workload:
    """Return the workload of a run from the configuration in its ``run.json``."""
    references = configuration.get("references") or {}
    return Workload(
        configuration["input"],
        _recorded_items(configuration["prompts"], references),
        configuration["task"],
        prompts.known_format(configuration["format"]),
        rendered=True,
    )


def recorded_identity_workload(configuration: Mapping[str, Any]) -> Workload | None:
    """Return the prompts of a run's sampled arm; ``None`` if they are those of the workload."""
    arm = configuration.get("identity") or {}
    if not arm.get("prompts"):
        return None
    items, format = _recorded_items(arm["prompts"], {}), prompts.known_format(arm["format"])
    return Workload("the identity prompts", items, "prompt", format, rendered=True)


def _recorded_items(texts: Mapping[str, str], references: Mapping[str, str]) -> tuple[Item, ...]:
    return tuple(
        Item(id, text, references.get(id), line)
        for line, (id, text) in enumerate(texts.items(), start=1)
    )


def read_input(
    path: str | Path, *, notice: Callable[[str], None] | None = None
) -> tuple[Item, ...]:
    """Read the items of a ``.jsonl``, ``.csv`` or ``.txt`` file, or of standard input (``-``).

    jsonl and csv have ``text``, and optionally ``id`` and ``reference``; other fields are ignored.
    txt is split at blank lines. Standard input is jsonl where it begins with ``{``, else txt.
    A line ends with LF, CRLF or CR, and with no other character.

    Args:
        path: The file, or ``-``.
        notice: Receives one message that names the ignored fields.

    Raises:
        ConfigurationError: The input is missing, of another kind, not UTF-8, or empty.
        InvalidRequest: An entry is wrong; the message names its line.
    """
    name = _name(path)
    text = _decode(_read(path), name)
    kind = _kind(path, text)
    ignored: dict[str, None] = {}  # in the order in which they were met
    if kind == "jsonl":
        found = list(_from_jsonl(text, name, ignored))
    elif kind == "csv":
        found = list(_from_csv(text, name, ignored))
    else:
        found = list(_from_txt(text))
    if ignored and notice is not None:
        notice(f"{name}: these fields are ignored: {_named(ignored)}. {_USED}.")
    if not found:
        raise ConfigurationError(f"{name} is empty: it has nothing to ask")
    _refuse_doubles(found, name)
    return tuple(found)


def _name(path: str | Path) -> str:
    return "standard input" if str(path) == "-" else str(path)


def _read(path: str | Path) -> bytes:
    if str(path) == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise ConfigurationError(f"there is no file {path}") from None
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        content = error.object  # without the byte order mark, which no position counts
        line = len(_LINE_BREAK.split(content[: error.start].decode()))
        raise ConfigurationError(
            f"{name}, line {line}: not UTF-8 (byte {content[error.start]:#04x}); save it as UTF-8"
        ) from None


def _kind(path: str | Path, text: str) -> str:
    if str(path) == "-":
        return "jsonl" if text.lstrip().startswith("{") else "txt"
    kind = Path(path).suffix.lower().lstrip(".")
    if kind not in ("jsonl", "csv", "txt"):
        raise ConfigurationError(
            f"{path}: the input is a .jsonl, .csv or .txt file, or - for stdin"
        )
    return kind


def _from_jsonl(text: str, name: str, ignored: dict[str, None]) -> Iterator[Item]:
    for number, line in enumerate(_LINE_BREAK.split(text), start=1):
        if not line.strip():
            continue
        where = f"{name}, line {number}"
        try:
            entry = parse_json(line)
        except ValueError as error:
            why = str(error).removeprefix("it is ").replace("at line 1, ", "at ")
            raise InvalidRequest(f"{where}: {why}") from None
        if not isinstance(entry, dict):
            raise InvalidRequest(f'{where}: expected an object like {{"text": "..."}}')
        ignored.update((key, None) for key in entry if key not in _FIELDS)
        yield _item(entry, number, where)


def _from_csv(text: str, name: str, ignored: dict[str, None]) -> Iterator[Item]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    line = 1
    try:
        if reader.fieldnames is None:
            return
        if "text" not in reader.fieldnames:
            raise InvalidRequest(
                f"{name}, line 1: the header needs a column text; it has "
                f"{_named(reader.fieldnames)}"
            )
        ignored.update((key, None) for key in reader.fieldnames if key not in _FIELDS)
        for row in reader:
            line = reader.line_num
            where = f"{name}, line {line}"
            if None in row or None in row.values():
                raise InvalidRequest(f"{where}: it has another number of columns than the header")
            yield _item(row, line, where)
    except csv.Error as error:
        raise InvalidRequest(f"{name}, line {line + 1}: not CSV ({error})") from None


def _from_txt(text: str) -> Iterator[Item]:
    paragraph: list[str] = []
    begin = count = 0
    for number, line in enumerate([*_LINE_BREAK.split(text), ""], start=1):
        if line.strip():
            begin = begin if paragraph else number
            paragraph.append(line.strip())
        elif paragraph:
            count += 1
            yield Item(str(count), "\n".join(paragraph), line=begin)
            paragraph = []


def _item(entry: Mapping[str, object], line: int, where: str) -> Item:
    text, reference, id = entry.get("text"), entry.get("reference"), entry.get("id")
    if text is None:
        has = f"; the entry has {_named(entry)}" if entry else ""
        raise InvalidRequest(f"{where}: text is missing{has}. {_USED}")
    if not isinstance(text, str):
        raise InvalidRequest(f"{where}: text is not a string")
    if not text.strip():
        raise InvalidRequest(f"{where}: text is empty")
    if reference is not None and not isinstance(reference, str):
        raise InvalidRequest(f"{where}: reference is not a string")
    if isinstance(id, bool) or not isinstance(id, str | int | None):
        raise InvalidRequest(f"{where}: id is not a string")
    for field, value in (("text", text), ("reference", reference), ("id", id)):
        if isinstance(value, str) and any("\ud800" <= c <= "\udfff" for c in value):
            raise InvalidRequest(f"{where}: {field} is not valid Unicode: it has a lone surrogate")
    return Item(str(line) if id in (None, "") else str(id), text, reference or None, line)


def _named(fields: Collection[str]) -> str:
    """Return the names of fields, made safe for the terminal."""
    shown = [repr(untrusted(field, 40)) for field in list(fields)[:_MOST_NAMES]]
    more = len(fields) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _refuse_doubles(items: Sequence[Item], name: str) -> None:
    first: dict[str, int] = {}
    for item in items:
        if item.id in first:
            raise InvalidRequest(
                f"{name}, line {item.line}: the id {item.id!r} stands in line {first[item.id]} too"
            )
        first[item.id] = item.line
