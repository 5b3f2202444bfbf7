"""Small HTML for notebooks, in the colors of the notebook.

All text is escaped, and control characters are shown by their number. The HTML has no script, no
style sheet and no external resource.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from phi2sdk.text import for_html

LONGEST = 5000
"""The largest number of characters of an answer that is shown."""

_QUOTE = (
    "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;max-width:60em;"
    "border-left:3px solid;padding-left:.8em"
)
SMALL = "opacity:.75;font-size:90%;margin-top:.4em"
_CELL = "padding:.15em .8em .15em 0;border-bottom:1px solid rgba(128,128,128,.4)"


def answer_html(text: str, about: Sequence[str]) -> str:
    """Return an answer with facts below it, such as its target, latency and cost."""
    more = ""
    if len(text) > LONGEST:
        text, more = text[:LONGEST], f" … and {len(text) - LONGEST:,} more characters"
    return block(
        f'<div style="{_QUOTE}">{for_html(text)}{more}</div>',
        line(" · ".join(about), SMALL),
    )


def block(*parts: str) -> str:
    """Return HTML parts as one block."""
    return f'<div style="line-height:1.4">{"".join(parts)}</div>'


def table(titles: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of text. A title is a header and its definition, which a tooltip shows."""
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
    """Return a line of text."""
    return f'<div style="{style}">{for_html(text)}</div>'
