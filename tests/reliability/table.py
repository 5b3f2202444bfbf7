"""The fault matrix and its cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.reliability.matrix import Cell, Row
from tests.reliability.rows_status import CLARIFAI, STATUSES
from tests.reliability.rows_wire import BREAKING, CONNECTING, REPLIES

GROUPS: Mapping[str, tuple[Row, ...]] = {
    "Faults while connecting": CONNECTING,
    "Interrupted and slow connections": BREAKING,
    "HTTP statuses": STATUSES,
    "Responses and events that violate the protocol": REPLIES,
    "Statuses of Clarifai and codes of gRPC": CLARIFAI,
}

ROWS: tuple[Row, ...] = tuple(row for rows in GROUPS.values() for row in rows)


def cells() -> Iterator[Cell]:
    """Yield all cells, by route within a row."""
    for row in ROWS:
        for target in row.targets:
            for face in row.faces:
                yield Cell(row, target, face, "sync")
                yield Cell(row, target, face, "async")
