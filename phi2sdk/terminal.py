"""Somebody else's text on a terminal: model output must not steer it."""

from __future__ import annotations

__all__ = ["printable"]

_KEEP = {"\n", "\t"}


def printable(text: str) -> str:
    """``text`` with control, escape and bidirectional characters shown as ``\\xNN`` instead.

    >>> printable("red \\x1b[31m")
    'red \\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in _KEEP else c.encode("unicode_escape").decode() for c in text
    )
