"""The output of commands: a console and tables for people, and JSON for programs.

JSON is printed in ASCII, so that no text of a model can control the terminal.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from phi2sdk.text import for_terminal

if TYPE_CHECKING:
    from rich.console import Console

UNLIMITED = 10_000
"""The width, in columns, of output that is not a terminal: no line is wrapped."""


def console(*, stderr: bool = False) -> Console:
    """Return a console that wraps lines only for a terminal, and takes text as it is.

    The environment variable ``COLUMNS`` sets another width.

    Args:
        stderr: Print on standard error instead of standard output.
    """
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    unlimited = not stream.isatty() and not os.environ.get("COLUMNS")
    width = UNLIMITED if unlimited else None
    return Console(width=width, highlight=False, markup=False, stderr=stderr)


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    to: Console,
    *,
    right: Container[str] = (),
    fold: Container[str] = (),
) -> None:
    """Print a table without borders. Without a terminal, each row is one line.

    Args:
        columns: The titles.
        rows: The cells as plain text; nothing in them is markup.
        to: The console.
        right: Titles of the columns that are aligned to the right, such as numbers.
        fold: Titles of the columns that may continue on the next line of a narrow terminal.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in columns:
        narrow = title in right and to.width < UNLIMITED
        table.add_column(
            Text(title.replace(" ", "\n") if narrow else title, style="bold"),
            justify="right" if title in right else "left",
            overflow="fold",
            no_wrap=title not in fold,
            min_width=12 if title in fold else None,
        )
    for row in rows:
        table.add_row(*(Text(for_terminal(cell).replace("\n", " ")) for cell in row))
    if to.is_terminal:
        to.print(table)
        return
    with to.capture() as captured:
        to.print(table)
    to.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))


def print_lines(to: Console, *lines: str) -> None:
    """Print lines as plain text; nothing in them is markup or controls the terminal."""
    from rich.text import Text

    for line in lines:
        to.print(Text(for_terminal(line)))


def log_to(say: Console) -> None:
    """Print a line for each request, retry and fallback, for ``--verbose``."""
    logger = logging.getLogger("phi2sdk")
    logger.setLevel(logging.DEBUG)
    logger.addHandler(_Log(say))


class _Log(logging.Handler):
    def __init__(self, say: Console) -> None:
        super().__init__()
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say.print(for_terminal(record.getMessage()), style="dim")


def plain(value: Any) -> Any:
    """Return a value with its dataclasses, tuples and mappings as JSON types."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def print_json(value: Any) -> None:
    """Print a value as one JSON document on standard output."""
    sys.stdout.write(json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def print_document(document: str) -> None:
    """Print a JSON document on standard output."""
    print_json(json.loads(document))
