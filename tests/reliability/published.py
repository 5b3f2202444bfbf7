"""Print the fault matrix as the page ``docs/contributing/fault-matrix.md``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.reliability.matrix import ATTEMPTS, HTTP, STREAMED, TARGETS, Row
from tests.reliability.table import GROUPS, cells

PAGE = Path(__file__).parents[2] / "docs" / "contributing" / "fault-matrix.md"

_INTRODUCTION = f"""\
# Fault matrix

What goes wrong, and what a caller then sees. Each line is played against the emulated providers
on every route that can meet it, for `generate` and `stream`, by the synchronous and the
asynchronous client: {len(list(cells()))} cells.

`calls` are counted at the server, of at most {ATTEMPTS} that the tests allow; `-` is an address
at which no call arrives. Where a stream had delivered text, the error keeps it in `partial`, and
nothing is asked again. After every fault the same client asks once more and gets the right answer.

The page and the tests have one source, the rows in `tests/reliability/`:

    python -m pytest tests/reliability/test_matrix.py
    python -m tests.reliability.published > docs/contributing/fault-matrix.md
"""


def page() -> str:
    """The whole page."""
    return "\n".join([_INTRODUCTION, *_tables()]) + "\n"


def _tables() -> Iterator[str]:
    for title, rows in GROUPS.items():
        yield f"## {title}\n"
        yield "| what goes wrong | where | error | tried again | calls | text kept |"
        yield "|---|---|---|---|---|---|"
        for row in rows:
            yield _line(row)
        exceptions = [
            f"- {row.name}, {target}: {_error(error)}, {calls or '-'} calls: {why}."
            for row in rows
            for target, (error, calls, why) in row.but.items()
        ]
        if exceptions:
            yield ""
            yield from exceptions
        yield ""


def _line(row: Row) -> str:
    where = _where(row.targets)
    if len(row.faces) == 1:
        where = f"{where}, {row.faces[0]}"
    again = "-" if row.error is None else "yes" if row.error.retryable else "no"
    if row.error is not None and row.error.retryable and row.calls == 1:
        again = "no: text was delivered" if row.text else "no: the wait is too long"
    cells = (row.name, where, _error(row.error), again, str(row.calls or "-"), _kept(row))
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _error(error: type[Exception] | None) -> str:
    return "none, it is answered" if error is None else f"`{error.__name__}`"


def _kept(row: Row) -> str:
    return "yes" if row.text else ""


def _where(targets: tuple[str, ...]) -> str:
    if targets == tuple(TARGETS):
        return "everywhere"
    if targets == HTTP:
        return "HTTP"
    if targets == STREAMED:
        return "everywhere that streams"
    if targets == tuple(t for t in HTTP if t in STREAMED):
        return "HTTP that streams"
    return ", ".join(targets)


if __name__ == "__main__":
    print(page(), end="")  # noqa: T201
