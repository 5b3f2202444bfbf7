"""The whole fault matrix, and its cells."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tests.reliability.matrix import Cell, Row
from tests.reliability.rows_status import CLARIFAI, STATUSES
from tests.reliability.rows_wire import BREAKING, CONNECTING, REPLIES

GROUPS: Mapping[str, tuple[Row, ...]] = {
    "Before a connection stands": CONNECTING,
    "Connections that break, stall or drip": BREAKING,
    "HTTP statuses": STATUSES,
    "Replies and events that are not the protocol": REPLIES,
    "Clarifai's statuses and gRPC's codes": CLARIFAI,
}

ROWS: tuple[Row, ...] = tuple(row for rows in GROUPS.values() for row in rows)


def cells() -> Iterator[Cell]:
    """All cells, route by route within a row."""
    for row in ROWS:
        for target in row.targets:
            for face in row.faces:
                yield Cell(row, target, face, "sync")
                yield Cell(row, target, face, "async")
