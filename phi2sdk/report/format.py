"""The format of numbers, which all writers of a report share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

UNKNOWN = "-"
SIMULATED = "~"
TOO_FEW = "*"
TimeUnit = Literal["ms", "s"]


def seconds(value: float) -> str:
    """Return seconds with three significant digits and their unit: ms below one second."""
    if value < 1:
        return f"{_digits(value * 1e3)} ms"
    return f"{_digits(value)} s"


def time_unit(values: Iterable[float]) -> TimeUnit:
    """Return the unit in which all of these seconds are written: ms if all are below 1 s."""
    return "ms" if all(value < 1 for value in values) else "s"


def in_unit(value: float, unit: TimeUnit) -> str:
    """Return seconds as a number in a unit, with three significant digits."""
    if unit == "ms":
        return _digits(value * 1e3)
    return f"{value:#.3g}" if value < 1 else _digits(value)


def dollars(value: float) -> str:
    """Return US dollars with three significant digits and the dollar sign."""
    return f"${usd(value)}"


def usd(value: float) -> str:
    """Return US dollars with three significant digits, for a column whose header has the unit."""
    if value == 0:
        return "0"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1e-4 else f"{value:.2e}"


def times(value: float) -> str:
    """Return a ratio with two or three significant digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def percent(share: float) -> str:
    """Return a share as a percentage; only exactly 1 and 0 are written as 100% and 0%."""
    return f"{min(99.0, max(1.0, share * 100)) if 0 < share < 1 else share * 100:.0f}%"


def points(difference: float) -> str:
    """Return a difference of two shares in percentage points, with its sign and one decimal."""
    rounded = f"{difference * 100:+.1f}"
    return "0.0" if rounded in ("+0.0", "-0.0") else rounded


def in_words(metric: str) -> str:
    """Return the name of a metric as words: ``exact match`` for ``exact_match``."""
    return metric.replace("_", " ")


def p_value(value: float | None) -> str:
    """Return a p-value with two significant digits."""
    if value is None:
        return UNKNOWN
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"


def grouped(reasons: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return ``(names, reason)`` pairs, each reason once, from reasons by name."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return [(listed(those), reason) for reason, those in names.items()]


def listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence.

    >>> listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join(filter(None, (", ".join(names[:-1]), *names[-1:])))


def _digits(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
