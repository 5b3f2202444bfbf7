"""Which route takes which sampling parameter, as a table for the documentation.

The table is made from the very rules that make the requests; a test holds both to the wire.
``python tools/support.py docs/client/sampling.md`` writes it between the marks in a page.
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
    """Every dialect of our own backends.

    Raises:
        ImportError: A backend's dependency is not installed.
    """
    return tuple(
        dialect
        for module in _MODULES
        for dialect in import_module(f"phi2sdk.backends.{module}").DIALECTS
    )


def cell(name: str, rule: Rule) -> str:
    """What the table says of one parameter: ``sent``, ``renamed to x``, ``emulated`` or ``-``."""
    if rule.key is None:
        return "emulated" if name == "stop" else "-"
    return "sent" if rule.key == name else f"renamed to `{rule.key}`"


def support_table() -> str:
    """The table in Markdown: a row for each route, a column for each parameter."""
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
    """A page with the table between its marks replaced by today's.

    Raises:
        ValueError: The page has no marks.
    """
    before, began, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (began and ended):
        raise ValueError(f"the page has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{support_table()}\n{END}{after}"


def main(arguments: list[str]) -> Literal[0]:
    """Print the table, or write it into the pages named."""
    for name in arguments:
        path = Path(name)
        path.write_text(write_table(path.read_text("utf-8")), "utf-8")
    if not arguments:
        sys.stdout.write(support_table())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
