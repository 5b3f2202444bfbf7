"""Every cell of the fault matrix, played against the emulators."""

from __future__ import annotations

from contextlib import suppress

import pytest

from phi2sdk.emulator import Emulator, Fault, ScriptedEngine
from phi2sdk.errors import Phi2Error
from tests.reliability.matrix import (
    ANSWER,
    ATTEMPTS,
    RETRYABLE,
    TARGETS,
    Cell,
    Place,
)
from tests.reliability.published import PAGE, page
from tests.reliability.stage import Outcome, play, secrets, url_of
from tests.reliability.table import ROWS, cells

CELLS = list(cells())
ENOUGH_BYTES = 100 << 20
"""What may leave a server before a client that takes 64 MiB at most has hung up."""


@pytest.mark.parametrize("cell", CELLS, ids=map(str, CELLS))
def test_cell(cell: Cell, emulator: Emulator, addresses: dict[str, str]) -> None:
    if isinstance(cell.row.cause, Place):
        first, _ = play(cell, addresses[cell.row.cause.name], lambda: None)
        check(cell, first, calls=0)
        return
    server = getattr(emulator, TARGETS[cell.target][0])
    before, expected = server.meter.requests, cell.row.expected(cell.target)[1]
    counted: list[int] = []

    def between() -> None:
        with suppress(TimeoutError):  # a call that was given up may still arrive
            server.calls.wait_for(len(seen) + expected, 2.0)
        server.faults.clear()
        counted.append(server.meter.requests - before)
        server.engine = ScriptedEngine(ANSWER)

    seen = list(server.calls)
    server.engine = ScriptedEngine(cell.row.answer)
    server.faults.push(cell.row.cause, times=ATTEMPTS + 2)
    try:
        first, second = play(cell, url_of(emulator, cell.target), between)
    finally:
        server.faults.clear()
        server.engine = ScriptedEngine(ANSWER)
    check(cell, first, calls=counted[0])
    check_account(cell, first, server.calls[-counted[0] - 1])
    # Nothing of the failure is left on the connection or in the client.
    assert second.error is None
    assert second.text == ANSWER
    assert server.meter.requests == before + counted[0] + 1


def check(cell: Cell, outcome: Outcome, *, calls: int) -> None:
    """Compare an outcome with the matrix."""
    error, expected_calls = cell.row.expected(cell.target)
    assert outcome.failed == []
    assert calls == expected_calls, outcome.error
    for form, secret in secrets().items():
        assert secret not in outcome.shown, f"the key, {form}, is in the error"
    assert outcome.leaks == []
    if error is None:
        assert outcome.error is None
        assert outcome.completion is not None
        assert_text(cell, outcome.text)
        return
    raised = outcome.error
    assert raised is not None, f"answered: {outcome.text!r}"
    assert type(raised) is error, raised
    assert raised.retryable == (error in RETRYABLE)
    assert raised.provider == TARGETS[cell.target][0]
    assert raised.attempts == (calls or (ATTEMPTS if raised.retryable else 1))
    assert raised.partial == outcome.text
    assert_partial(cell, raised)


def assert_partial(cell: Cell, error: Phi2Error) -> None:
    """The text so far is on the error, where there was any."""
    if not cell.row.text:
        assert error.partial == ""
        return
    assert error.partial
    assert isinstance(cell.row.cause, Fault)
    if cell.row.cause.kind == "endless":
        assert error.partial.startswith(ANSWER.split()[0])
    else:
        assert ANSWER.startswith(error.partial)
        assert error.partial != ANSWER


def assert_text(cell: Cell, text: str) -> None:
    """An answer in spite of the fault: the right one, as far as the wire can tell."""
    assert isinstance(cell.row.cause, Fault)
    kind = cell.row.cause.kind
    if kind in ("twice", "swapped"):
        # No protocol numbers its events: what came is passed on as it came.
        assert text != ANSWER
        assert len(text) > len(ANSWER) if kind == "twice" else sorted(text) == sorted(ANSWER)
    elif kind == "cut":
        assert text
        assert ANSWER.startswith(text)
    else:
        assert text == cell.row.answer


def check_account(cell: Cell, outcome: Outcome, call: object) -> None:
    """Check that the server's count agrees with the client's."""
    sent = sum(size for _, size in call.sent)  # type: ignore[attr-defined]
    assert sent < ENOUGH_BYTES
    if outcome.completion is not None:
        assert len(outcome.completion.receipt.attempts) == 1


def test_more_than_two_thousand_failures_are_searched_for_the_key() -> None:
    failing = [cell for cell in CELLS if cell.row.expected(cell.target)[0] is not None]
    assert len(failing) > 2000


def test_every_row_has_a_name_of_its_own() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)


def test_the_published_page_is_this_matrix() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run python -m tests.reliability.published"
