"""The one table model of a report: what terminal, Markdown, page and notebook write.

A subject of the report (cost, identity, ...) yields sections: a title, a table of cells, lines of
text. A writer decides how a cell looks in its medium, and makes its text safe for that medium.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from phi2sdk.report.format import (
    SIMULATED,
    TOO_FEW,
    UNKNOWN,
    dollars,
    percent,
    seconds,
    seconds_interval,
)
from phi2sdk.report.glossary import GLOSSARY, anchor
from phi2sdk.report.schema import Interval, QuantileReport

__all__ = [
    "Cell",
    "Column",
    "Facts",
    "Section",
    "count",
    "money",
    "number",
    "quantile",
    "rate",
    "score",
    "table_of",
    "target_column",
    "words",
]

Facts = Sequence[tuple[str, str]]
"""``(name, value)`` pairs."""
_Write = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: The value.
        ends: The ends of its 95 % interval, if it has one.
        sort: What the column is sorted by; ``None``: unknown, last in either direction.
        about: What a reader must know about the value.
        below: A second value under the interval.
        kind: A class of the value, which a page can color.
    """

    text: str
    ends: tuple[str, str] | None = None
    sort: float | None = None
    about: str = ""
    below: str = ""
    kind: str = ""

    @property
    def interval(self) -> str:
        """The interval as ``low - high`` with a dash; empty without one."""
        return " – ".join(self.ends) if self.ends else ""

    def in_one_line(self) -> str:
        """The value, its interval in brackets, and what stands below it."""
        ends = f" [{', '.join(self.ends)}]" if self.ends else ""
        return f"{self.text}{ends}{f' ({self.below})' if self.below else ''}"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: The header, with the unit.
        term: The key of its term in the glossary, which explains the header.
        quantile: The key of a second term, such as ``p95``, if the header names one.
        words: The column holds text, not numbers.
        optional: A terminal that is too narrow leaves the column out.

    Raises:
        KeyError: The glossary does not have the term.
    """

    title: str
    term: str
    quantile: str = ""
    words: bool = False
    optional: bool = False

    def __post_init__(self) -> None:
        for key in self.terms:
            anchor(key)

    @property
    def terms(self) -> tuple[str, ...]:
        """The keys of its terms in the glossary."""
        return (self.term, self.quantile) if self.quantile else (self.term,)

    @property
    def meaning(self) -> str:
        """The definitions of its terms, each in a sentence."""
        return " ".join(GLOSSARY[key].meaning for key in self.terms)


@dataclass(frozen=True, slots=True)
class Section:
    """A title, and a table or lines under it.

    Attributes:
        title: The heading.
        columns: Of the table; the first one names the row.
        rows: One cell for each column.
        lines: Sentences under the table.
        detail: The section is for the page and for Markdown, and too long for a terminal.
    """

    title: str
    columns: Sequence[Column] = ()
    rows: Sequence[Sequence[Cell]] = ()
    lines: Sequence[str] = ()
    detail: bool = False


def target_column() -> Column:
    """The first column of a table with a row for each target."""
    return Column("target", "target", words=True)


def words(text: str, sort: float | None = None, *, about: str = "", kind: str = "") -> Cell:
    """Text that is no number."""
    return Cell(text, sort=sort, about=about, kind=kind)


_UNKNOWN = Cell("unknown", about="not known; this is not zero")
_NOTHING = Cell(UNKNOWN, about="there is nothing to compare")


def count(value: float | None, *, simulated: bool = False) -> Cell:
    """A whole number."""
    if value is None:
        return _UNKNOWN
    return Cell(f"{SIMULATED if simulated else ''}{value:,.0f}", sort=value)


def number(found: Interval | None, digits: int) -> Cell:
    """A number with a fixed count of decimals."""
    if found is None:
        return _UNKNOWN
    return _estimate(found, f"{{:.{digits}f}}".format)


def quantile(found: QuantileReport | None, *, simulated: bool = False) -> Cell:
    """A quantile in seconds; one that was not reached is written as ``>60.0 s``."""
    if found is None:
        return Cell(UNKNOWN, about="the target has no such latency")
    mark = SIMULATED if simulated else ""
    if found.value is None:
        above = found.censored_above
        text = "failed" if above is None else f">{seconds(above)}"
        about = "too many requests failed or timed out"
        return Cell(text, sort=float("inf") if above is None else above, about=about)
    if found.low is None and found.high is None:
        text = f"{mark}{seconds(found.value)}{TOO_FEW}"
        return Cell(text, sort=found.value, about="too few prompts for a 95 % interval")
    ends = seconds_interval(found.low, found.high)
    return Cell(f"{mark}{seconds(found.value)}", ends, found.value)


def money(found: Interval | None, *, simulated: bool = False) -> Cell:
    """US dollars for a thousand."""
    if found is None:
        return _UNKNOWN
    text = f"{SIMULATED if simulated else ''}{dollars(found.value * 1000)}"
    if found.low is None or found.high is None:
        return Cell(text, sort=found.value)
    low, high = (dollars(end * 1000).removeprefix("$") for end in (found.low, found.high))
    return Cell(text, (low, high), found.value)


def rate(found: Interval | None) -> Cell:
    """A share in percent."""
    return _NOTHING if found is None else _estimate(found, percent)


def score(found: Interval | None) -> Cell:
    """A similarity in [0, 1]."""
    return _NOTHING if found is None else _estimate(found, "{:.3f}".format)


def table_of(rows: Mapping[str, Sequence[Cell]]) -> list[tuple[Cell, ...]]:
    """Rows that begin with the name of a target."""
    return [(words(name), *cells) for name, cells in rows.items()]


def _estimate(found: Interval, write: _Write) -> Cell:
    ends = None
    if found.low is not None and found.high is not None:
        ends = write(found.low), write(found.high)
    return Cell(write(found.value), ends, found.value)
