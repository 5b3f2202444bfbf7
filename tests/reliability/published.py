"""Print the fault matrix as the page ``docs/contributing/fault-matrix.md``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tests.reliability.matrix import ATTEMPTS, HTTP, STREAMED, TARGETS, Row
from tests.reliability.table import GROUPS, cells

PAGE = Path(__file__).parents[2] / "docs" / "contributing" / "fault-matrix.md"

_INTRODUCTION = f"""\
# Fault matrix

This page lists each fault of a provider or a connection, and the error that the client raises for
it. The tests emulate each fault on every route on which it can occur, for `generate` and `stream`,
with the synchronous and the asynchronous client: {len(list(cells()))} combinations.

The calls are counted at the server; the tests allow at most {ATTEMPTS}. `-` means that no call
reaches a server. If a stream has delivered text, the error has the text in `partial`, and the
request is not retried. After every fault, the same client sends another request and receives the
right answer.

The page and the tests are made from the rows in `tests/reliability/`:

    python -m pytest tests/reliability/test_matrix.py
    python -m tests.reliability.published > docs/contributing/fault-matrix.md
"""


def page() -> str:
    """Return the page."""
    return "\n".join([_INTRODUCTION, *_tables()]) + "\n"


def _tables() -> Iterator[str]:
    for title, rows in GROUPS.items():
        yield f"## {title}\n"
        yield "| fault | routes | error | retried | calls | keeps the text |"
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
    return "none, the request succeeds" if error is None else f"`{error.__name__}`"


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
