"""Read the whole input once before a request is sent: check every row, and estimate the cost."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from phi2sdk.backends.counts import most_input
from phi2sdk.bulk.rows import Input, Place, Row
from phi2sdk.completion import Request
from phi2sdk.errors import ConfigurationError, InvalidRequest
from phi2sdk.pricing.price import Bill, Price

_BYTES_PER_TOKEN = 4
"""Average of English text."""
_BATCH = 1000


@dataclass(frozen=True, slots=True)
class Estimate:
    """The number of requests, tokens and US dollars of the rest of a run.

    Attributes:
        rows: Rows without an answer; each takes one call, and more if calls fail.
        input_tokens: Input tokens: one for every four bytes of the prompts.
        output_tokens: Largest number of output tokens.
        usd: Cost in US dollars of these tokens, at the price of the first target; ``None`` if it is
            unknown.
        most_usd: Largest cost with one call for each row; ``None`` if it is unknown.
        before_usd: US dollars charged to the budgets of earlier sessions.
    """

    rows: int
    input_tokens: int
    output_tokens: int
    usd: float | None
    most_usd: float | None
    before_usd: float = 0.0


@dataclass(slots=True)
class Scan:
    """The content of the input.

    Attributes:
        rows: Number of rows.
        digest: Changes if an id or a text changes.
        left: Rows without an answer.
        size: Bytes of their prompts.
        most_input: Largest number of their input tokens.
        lost_usd: Largest cost of calls whose outcome is unknown.
    """

    rows: int
    digest: str
    left: int = 0
    size: int = 0
    most_input: int = 0
    lost_usd: float = 0.0


def scan(
    given: Input,
    request: Callable[[str], Request],
    *,
    wraps: bool,
    rows: int | None = None,
    answered: Callable[[int], bool] = lambda n: False,
    lost: Callable[[Row], float] = lambda row: 0.0,
) -> Scan:
    """Check every row of an input.

    Args:
        given: The input.
        request: Returns the request for a text.
        wraps: A route wraps the prompt in a template.
        rows: Number of rows that the input had before; further rows are only counted.
        answered: Whether a row has an answer already.
        lost: The largest cost in US dollars of calls for a row whose outcome is unknown.

    Raises:
        InvalidRequest: A row is wrong, or its id occurs twice; the message names file and row.
        ConfigurationError: A file cannot be read, or the input is empty.
    """
    found, digest = Scan(0, ""), hashlib.blake2b(digest_size=16)
    with _Ids(given) as ids:
        for row in given.rows():
            ids.add(row)
            for text in (row.id, row.text):
                data = text.encode()
                digest.update(b"%d:" % len(data) + data)
            found.rows += 1
            if (rows is not None and row.n >= rows) or answered(row.n):
                continue
            try:
                asked = request(row.text)
            except InvalidRequest as error:
                raise InvalidRequest(f"{given.where(row.place)}: {error.message}") from None
            most = most_input(asked, wraps=wraps)
            found.left += 1
            found.most_input += most
            found.size += len(asked.prompt.text.encode())
            found.lost_usd += lost(row)
    if not found.rows:
        raise ConfigurationError(f"{given.files[0]} has no rows. Name another input")
    found.digest = digest.hexdigest()
    return found


def estimate(
    found: Scan,
    asked: Request,
    prices: Sequence[Price | None],
    *,
    before_usd: float,
    seconds: float | None,
) -> Estimate:
    """Return the estimate for the rest of a run.

    Args:
        found: The input.
        asked: Any request of the run.
        prices: The price of each target.
        before_usd: US dollars charged before.
        seconds: Longest machine time of a request; ``None`` if it has no limit.
    """
    output = found.left * asked.sampling.max_tokens
    read = -(-found.size // _BYTES_PER_TOKEN)
    first = prices[0]
    likely = Bill(input=read, output=output, requests=found.left)
    most = Bill(
        input=found.most_input,
        output=output,
        requests=found.left,
        seconds=None if seconds is None else seconds * found.left,
    )
    costs = [None if price is None else price.ceiling(most) for price in prices]
    known = [usd for usd in costs if usd is not None]
    return Estimate(
        found.left,
        read,
        output,
        None if first is None else first.usd(likely),
        max(known) if len(known) == len(costs) else None,
        before_usd,
    )


class _Ids:
    """Finds ids that occur twice, with a temporary database, so that memory does not grow."""

    def __init__(self, given: Input) -> None:
        self._input = given
        self._batch: list[tuple[str, int, int, int]] = []

    def add(self, row: Row) -> None:
        """Add the id of a row.

        Raises:
            InvalidRequest: A row before has the same id.
        """
        self._batch.append((row.id, row.n, *row.place))
        if len(self._batch) == _BATCH:
            self._flush()

    def __enter__(self) -> _Ids:
        # A database without a name is a temporary file, which SQLite deletes.
        self._database = sqlite3.connect("", isolation_level=None)
        for step in (
            "PRAGMA journal_mode = OFF",
            "PRAGMA synchronous = OFF",
            "PRAGMA cache_size = -8000",
            "CREATE TABLE ids (id TEXT PRIMARY KEY, n INTEGER, file INTEGER, line INTEGER)"
            " WITHOUT ROWID",
            "BEGIN",
        ):
            self._database.execute(step)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._database.close()

    def _flush(self) -> None:
        batch, self._batch = self._batch, []
        try:
            added = self._database.executemany("INSERT OR IGNORE INTO ids VALUES (?,?,?,?)", batch)
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"the ids of the input could not be checked, because a temporary file cannot be "
                f"written ({error}). Free disk space, or set SQLITE_TMPDIR to another folder"
            ) from error
        if added.rowcount == len(batch):
            return
        for id, n, *place in batch:
            first = self._database.execute("SELECT n, file, line FROM ids WHERE id = ?", (id,))
            before, *there = first.fetchone()
            if before != n:
                raise InvalidRequest(
                    f"{self._input.where(Place(*place))}: the id {id!r} also occurs in "
                    f"{self._input.where(Place(*there))}. Give each row an id of its own"
                )
