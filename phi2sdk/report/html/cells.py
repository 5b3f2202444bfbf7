"""Numbers as the page shows them: the value, its interval, and what to sort by."""

from __future__ import annotations

from dataclasses import dataclass

from phi2sdk.report.money_words import dollars
from phi2sdk.report.schema import Interval, LatencySummary, QuantileReport
from phi2sdk.report.words import SIMULATED, TOO_FEW, seconds

__all__ = ["Cell", "count", "latency", "money", "plain", "quantile", "rate", "score"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: What stands there.
        ends: The 95 % interval, if there is one.
        sort: What the column is sorted by; ``None``: unknown, and last in either direction.
        below: What stands under the interval.
        about: What a reader must know of it, said to those who hover or listen.
    """

    text: str
    ends: str = ""
    sort: float | None = None
    about: str = ""
    below: str = ""


UNKNOWN = Cell("unknown", about="not known; this is not zero")


def plain(text: str, sort: float | None = None) -> Cell:
    """Words."""
    return Cell(text, sort=sort)


def count(value: float | None, digits: int = 0, *, simulated: bool = False) -> Cell:
    """A plain number."""
    if value is None:
        return UNKNOWN
    return Cell(f"{SIMULATED if simulated else ''}{value:,.{digits}f}", sort=value)


def latency(summary: LatencySummary | None, name: str, *, simulated: bool = False) -> Cell:
    """A quantile of a latency, by its name in the report."""
    if summary is None:
        return Cell("-", about="the target has no such latency")
    return quantile(getattr(summary, name), simulated=simulated)


def quantile(found: QuantileReport, *, simulated: bool = False) -> Cell:
    """A quantile in seconds; one that never came as ``> limit``."""
    mark = SIMULATED if simulated else ""
    if found.value is None:
        above = found.censored_above
        text = "failed" if above is None else f"> {seconds(above)}"
        return Cell(text, sort=float("inf") if above is None else above, about="it never came")
    if found.low is None and found.high is None:
        text = f"{mark}{seconds(found.value)}{TOO_FEW}"
        return Cell(text, sort=found.value, about="too few prompts for a 95 % interval")
    return Cell(f"{mark}{seconds(found.value)}", _ends(found.low, found.high), found.value)


def money(found: Interval | None, *, simulated: bool = False) -> Cell:
    """US dollars for a thousand."""
    if found is None:
        return UNKNOWN
    text = f"{SIMULATED if simulated else ''}{dollars(found.value * 1000)}"
    if found.low is None or found.high is None:
        return Cell(text, sort=found.value)
    low, high = (dollars(end * 1000).removeprefix("$") for end in (found.low, found.high))
    return Cell(text, f"{low} – {high}", found.value)


def rate(found: Interval | None) -> Cell:
    """A share in percent."""
    if found is None:
        return Cell("-", about="nothing to compare")
    if found.low is None or found.high is None:
        return Cell(_percent(found.value), sort=found.value)
    ends = f"{_percent(found.low)} – {_percent(found.high)}"
    return Cell(_percent(found.value), ends, found.value)


def score(found: Interval | None) -> Cell:
    """A similarity in [0, 1]."""
    if found is None:
        return Cell("-", about="nothing to compare")
    if found.low is None or found.high is None:
        return Cell(f"{found.value:.3f}", sort=found.value)
    return Cell(f"{found.value:.3f}", f"{found.low:.3f} – {found.high:.3f}", found.value)


def _percent(share: float) -> str:
    """Only what is all of it, or nothing of it, reads as such."""
    return f"{min(99.0, max(1.0, share * 100)) if 0 < share < 1 else share * 100:.0f}%"


def _ends(low: float | None, high: float | None) -> str:
    bottom = "0" if low is None else seconds(low)
    top = "no end" if high is None else seconds(high)
    if bottom.split(" ")[-1] == top.split(" ")[-1]:
        bottom = bottom.rsplit(" ", 1)[0]
    return f"{bottom} – {top}"
