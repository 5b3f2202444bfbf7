"""Where and how commands print: a console for people, and JSON for programs.

JSON is printed in ASCII, so that no text of a model can control the terminal.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "plain", "print_document", "print_json"]

UNLIMITED = 10_000
"""The width, in columns, of output that is not a terminal: no line is wrapped."""


def console() -> Console:
    """Return a console for standard output that wraps lines only for a terminal.

    The environment variable ``COLUMNS`` sets another width, as everywhere.
    """
    from rich.console import Console

    unlimited = not sys.stdout.isatty() and not os.environ.get("COLUMNS")
    return Console(width=UNLIMITED if unlimited else None, highlight=False)


def plain(value: Any) -> Any:
    """Dataclasses, tuples and mappings as what JSON has."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)


def print_json(value: Any) -> None:
    """``value`` as one document on standard output."""
    sys.stdout.write(json.dumps(plain(value), indent=2, allow_nan=False) + "\n")


def print_document(document: str) -> None:
    """A document that is JSON already, on standard output."""
    print_json(json.loads(document))
