"""How numbers are written, in the same way by every writer of a report."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = [
    "SIMULATED",
    "TOO_FEW",
    "UNKNOWN",
    "dollars",
    "grouped",
    "p_value",
    "percent",
    "seconds",
    "seconds_interval",
    "times",
]

UNKNOWN = "-"
SIMULATED = "~"
TOO_FEW = "*"


def seconds(value: float) -> str:
    """Three significant digits, in ms below a second."""
    if value < 1:
        return f"{_digits(value * 1e3)} ms"
    return f"{_digits(value)} s"


def seconds_interval(low: float | None, high: float | None) -> tuple[str, str]:
    """The ends of an interval; the unit stands once where both ends have the same."""
    bottom = "0" if low is None else seconds(low)
    top = "no end" if high is None else seconds(high)
    if bottom.split(" ")[-1] == top.split(" ")[-1]:
        bottom = bottom.rsplit(" ", 1)[0]
    return bottom, top


def dollars(value: float) -> str:
    """US dollars with three significant digits, whatever the size."""
    if value == 0:
        return "$0"
    if value >= 1000:
        return f"${value:,.0f}"
    return f"${value:.3g}" if value >= 1e-4 else f"${value:.2e}"


def times(value: float) -> str:
    """A ratio with as many digits as its size deserves."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def percent(share: float) -> str:
    """A share in percent; only what is all or nothing reads as 100 % or 0 %."""
    return f"{min(99.0, max(1.0, share * 100)) if 0 < share < 1 else share * 100:.0f}%"


def p_value(value: float | None) -> str:
    """A p-value with two digits."""
    if value is None:
        return UNKNOWN
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"


def grouped(reasons: Mapping[str, str]) -> list[tuple[str, str]]:
    """``(names, reason)`` from reasons by name: each reason once."""
    names: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        names.setdefault(reason, []).append(name)
    return [(", ".join(those), reason) for reason, those in names.items()]


def _digits(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
