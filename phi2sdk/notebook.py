"""HTML for notebooks: small, and in the page's own colors.

All text is escaped, and characters that would steer a page or a terminal are shown by their
number. There is no script, no style sheet and nothing to load.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from phi2sdk.text import for_html

__all__ = ["LONGEST", "SMALL", "answer_html", "block", "line", "table"]

LONGEST = 5000
"""Characters of an answer that are shown."""

_QUOTE = (
    "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;max-width:60em;"
    "border-left:3px solid;padding-left:.8em"
)
SMALL = "opacity:.75;font-size:90%;margin-top:.4em"
_CELL = "padding:.15em .8em .15em 0;border-bottom:1px solid rgba(128,128,128,.4)"


def answer_html(text: str, about: Sequence[str]) -> str:
    """An answer, and under it facts about it: who gave it, in what time, at what cost."""
    more = ""
    if len(text) > LONGEST:
        text, more = text[:LONGEST], f" … and {len(text) - LONGEST} characters more"
    return block(
        f'<div style="{_QUOTE}">{for_html(text)}{more}</div>',
        line(" · ".join(about), SMALL),
    )


def block(*parts: str) -> str:
    """Parts under each other, each HTML already."""
    return f'<div style="line-height:1.4">{"".join(parts)}</div>'


def table(titles: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """A table of text; each title has a meaning, shown on hovering."""
    head = "".join(
        f'<th title="{for_html(meaning)}" style="{_side(n)}">{for_html(title)}</th>'
        for n, (title, meaning) in enumerate(titles)
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td style="{_side(n)}">{for_html(cell)}</td>' for n, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;margin:.5em 0;'
        f'background:none"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _side(column: int) -> str:
    return f"text-align:{'right' if column else 'left'};{_CELL}"


def line(text: str, style: str = "") -> str:
    """A line of text."""
    return f'<div style="{style}">{for_html(text)}</div>'
