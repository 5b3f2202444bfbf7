"""How notebooks show an answer and a report: small HTML that takes the page's own colours.

All text is escaped, and characters that would steer a page or a terminal are shown by their
number. There is no script, no style sheet and nothing to load.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from phi2sdk.text import for_html

if TYPE_CHECKING:
    from phi2sdk.completion import Completion
    from phi2sdk.report.schema import Report

__all__ = ["completion_html", "report_html"]

LONGEST = 5000
"""Characters of an answer that are shown."""

_QUOTE = (
    "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate;max-width:60em;"
    "border-left:3px solid;padding-left:.8em"
)
_SMALL = "opacity:.75;font-size:90%;margin-top:.4em"
_CELL = "padding:.15em .8em .15em 0;border-bottom:1px solid rgba(128,128,128,.4)"


def completion_html(completion: Completion) -> str:
    """An answer, and under it who gave it, in what time, for what."""
    text, more = completion.text, ""
    if len(text) > LONGEST:
        text, more = text[:LONGEST], f" … and {len(text) - LONGEST} characters more"
    usage, timing, cost = completion.usage, completion.timing, completion.cost
    about = [
        f"by {completion.receipt.target}",
        f"{usage.input or '?'} + {usage.output_billed or '?'} tokens",
        f"{timing.e2e:.3g} s",
    ]
    if timing.ttft is not None:
        about.append(f"the first token after {timing.ttft:.3g} s")
    if cost is not None:
        about.append(f"{'about ' * cost.estimated}${cost.usd:.3g}")
    if completion.finish_reason:
        about.append(completion.finish_reason)
    return _block(
        f'<div style="{_QUOTE}">{_text(text)}{more}</div>',
        f'<div style="{_SMALL}">{_text(" · ".join(about))}</div>',
    )


def report_html(report: Report) -> str:
    """A comparison's table with its verdicts; ``report.html`` in the run's folder has the rest."""
    from phi2sdk.report.table import COLUMNS, failures, in_short, rows, verdicts
    from phi2sdk.report.words import notes, requirement_line

    titles = [(column.title, column.meaning) for column in COLUMNS]
    return _block(
        f"<div>{_text(report.validity.sentence)}</div>",
        _table(titles, rows(report)),
        *_lines(verdicts(report)),
        *_lines(requirement_line(result) for result in report.requirements),
        *_lines((line[:300] for line in failures(report)), _SMALL),
        *_lines(notes(report), _SMALL),
        f"<div><b>{_text(in_short(report))}</b></div>",
    )


def _block(*parts: str) -> str:
    return f'<div style="line-height:1.4">{"".join(parts)}</div>'


def _table(titles: Sequence[tuple[str, str]], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(
        f'<th title="{_text(meaning)}" style="{_side(n)}">{_text(title)}</th>'
        for n, (title, meaning) in enumerate(titles)
    )
    body = "".join(
        "<tr>"
        + "".join(f'<td style="{_side(n)}">{_text(cell)}</td>' for n, cell in enumerate(row))
        + "</tr>"
        for row in rows
    )
    return (
        '<div style="overflow-x:auto"><table style="border-collapse:collapse;margin:.5em 0;'
        f'background:none"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _side(column: int) -> str:
    return f"text-align:{'right' if column else 'left'};{_CELL}"


def _lines(lines: Iterable[str], style: str = "") -> Iterable[str]:
    return (f'<div style="{style}">{_text(line)}</div>' for line in lines)


def _text(text: str) -> str:
    return for_html(text)
