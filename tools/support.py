"""Write the table of the sampling parameters that each route supports.

The table is generated from the rules that translate the requests, and a test compares both with the
requests that are sent. ``python tools/support.py docs/client/sampling.md`` updates the table in a
page.
"""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Literal

from phi2sdk.sampling import PARAMETERS, Dialect, Rule

__all__ = ["BEGIN", "END", "cell", "dialects", "main", "support_table", "write_table"]

BEGIN = "<!-- support table: begin -->"
END = "<!-- support table: end -->"

_MODULES = ("local_gpu", "azure", "clarifai", "hf", "openai")


def dialects() -> tuple[Dialect, ...]:
    """Return every dialect of the built-in backends.

    Raises:
        ImportError: A dependency of a backend is not installed.
    """
    return tuple(
        dialect
        for module in _MODULES
        for dialect in import_module(f"phi2sdk.backends.{module}").DIALECTS
    )


def cell(name: str, rule: Rule) -> str:
    """Return the cell of one parameter: ``sent``, ``renamed to x``, ``emulated`` or ``-``."""
    if rule.key is None:
        return "emulated" if name == "stop" else "-"
    return "sent" if rule.key == name else f"renamed to `{rule.key}`"


def support_table() -> str:
    """Return the table in Markdown, with a row per route and a column per parameter."""
    rows = [
        ["route", *(f"`{name}`" for name in PARAMETERS)],
        ["---"] * (1 + len(PARAMETERS)),
        *(
            [dialect.name, *(cell(n, dialect.rules.get(n, Rule())) for n in PARAMETERS)]
            for dialect in dialects()
        ),
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def write_table(page: str) -> str:
    """Return a page with an updated table between its marks.

    Raises:
        ValueError: The page does not have the marks.
    """
    before, began, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (began and ended):
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{support_table()}\n{END}{after}"


def main(arguments: list[str]) -> Literal[0]:
    """Print the table, or update it in the given pages."""
    for name in arguments:
        path = Path(name)
        path.write_text(write_table(path.read_text("utf-8")), "utf-8")
    if not arguments:
        sys.stdout.write(support_table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
