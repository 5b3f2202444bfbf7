"""The table model of a report, which the terminal, Markdown, page and notebook writers share.

Each subject of the report (cost, identity, ...) yields sections: a title, a table of cells, and
lines of text. A writer formats the cells for its medium, and escapes their text for that medium.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from phi2sdk.report.format import (
    SIMULATED,
    TOO_FEW,
    UNKNOWN,
    TimeUnit,
    in_unit,
    percent,
    time_unit,
    usd,
)
from phi2sdk.report.glossary import GLOSSARY, anchor
from phi2sdk.report.schema import Interval, QuantileReport

Facts = Sequence[tuple[str, str]]
"""``(name, value)`` pairs."""
_Write = Callable[[float], str]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: The value.
        ends: The ends of its 95% interval, if it has one.
        sort: The key that the column is sorted by; cells with ``None`` are sorted last.
        about: An explanation of the value.
        below: A second value, shown under the interval.
        kind: A class of the value, by which a writer can color it.
    """

    text: str
    ends: tuple[str, str] | None = None
    sort: float | None = None
    about: str = ""
    below: str = ""
    kind: str = ""

    @property
    def interval(self) -> str:
        """The interval as ``low – high``; empty if there is none."""
        return " – ".join(self.ends) if self.ends else ""

    def in_one_line(self) -> str:
        """Return the value, its interval in brackets, and the second value in parentheses."""
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
        optional: A terminal that is too narrow omits the column.

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
class Measure:
    """A measure of a subject: its field in the report, its title, and its term in the glossary."""

    key: str
    title: str
    term: str

    @property
    def column(self) -> Column:
        """The column of a table of several measures."""
        return Column(self.title, self.term)

    @property
    def meaning(self) -> str:
        """Its definition in the glossary."""
        return self.column.meaning


@dataclass(frozen=True, slots=True)
class Section:
    """A title, and a table or lines under it.

    Attributes:
        title: The heading.
        columns: The columns of the table; the first one names the row.
        rows: The rows of the table, with one cell for each column.
        lines: Sentences under the table.
    """

    title: str
    columns: Sequence[Column] = ()
    rows: Sequence[Sequence[Cell]] = ()
    lines: Sequence[str] = ()


def target_column() -> Column:
    """Return the first column of a table with a row for each target."""
    return Column("target", "target", words=True)


def words(text: str, sort: float | None = None, *, about: str = "", kind: str = "") -> Cell:
    """Return a cell that holds text, not a number."""
    return Cell(text, sort=sort, about=about, kind=kind)


_UNKNOWN = Cell("unknown", about="the value is not known; it is not zero")
_NOTHING = Cell(UNKNOWN, about="there is nothing to compare")
_FEW = "too few prompts for a 95% interval"


def count(value: float | None, *, simulated: bool = False) -> Cell:
    """Return a cell with a whole number."""
    if value is None:
        return _UNKNOWN
    return Cell(f"{SIMULATED if simulated else ''}{value:,.0f}", sort=value)


def number(found: Interval | None, digits: int) -> Cell:
    """Return a cell with a fixed number of decimals."""
    if found is None:
        return _UNKNOWN
    return _estimate(found, f"{{:.{digits}f}}".format)


def unit_of(quantiles: Iterable[QuantileReport | None]) -> TimeUnit:
    """Return the unit in which all of these quantiles are written."""
    known = [found for found in quantiles if found is not None]
    values = (found.censored_above if found.value is None else found.value for found in known)
    return time_unit(value for value in values if value is not None)


def quantile(found: QuantileReport | None, unit: TimeUnit, *, simulated: bool = False) -> Cell:
    """Return a cell with a quantile in a unit; a quantile above the time limit is ``>60.0``."""
    if found is None:
        return Cell(UNKNOWN, about="the target has no such latency")
    mark = SIMULATED if simulated else ""
    if found.value is None:
        above = found.censored_above
        text = "failed" if above is None else f">{in_unit(above, unit)}"
        about = "too many requests failed or timed out"
        return Cell(text, sort=float("inf") if above is None else above, about=about)
    text = f"{mark}{in_unit(found.value, unit)}"
    if found.low is None and found.high is None:
        return Cell(f"{text}{TOO_FEW}", sort=found.value, about=_FEW)
    low = "0" if found.low is None else in_unit(found.low, unit)
    high = "no end" if found.high is None else in_unit(found.high, unit)
    return Cell(text, (low, high), found.value)


def money(found: Interval | None, *, simulated: bool = False) -> Cell:
    """Return a cell with the US dollars for 1,000 answers."""
    if found is None:
        return _UNKNOWN
    scaled = Interval(
        value=found.value * 1000,
        low=None if found.low is None else found.low * 1000,
        high=None if found.high is None else found.high * 1000,
    )
    return _estimate(scaled, usd, mark=SIMULATED if simulated else "")


def rate(found: Interval | None) -> Cell:
    """Return a cell with a share in percent; the header has the unit."""
    if found is None:
        return _NOTHING
    return _estimate(found, lambda share: percent(share).removesuffix("%"))


def score(found: Interval | None) -> Cell:
    """Return a cell with a similarity in [0, 1]."""
    return _NOTHING if found is None else _estimate(found, "{:.3f}".format)


def _estimate(found: Interval, write: _Write, mark: str = "") -> Cell:
    text = f"{mark}{write(found.value)}"
    if found.low is None and found.high is None:
        return Cell(f"{text}{TOO_FEW}", sort=found.value, about=_FEW)
    low = "0" if found.low is None else write(found.low)
    high = "no end" if found.high is None else write(found.high)
    return Cell(text, (low, high), found.value)
