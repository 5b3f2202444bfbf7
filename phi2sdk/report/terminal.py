"""The report on a terminal: at most 80 columns, no colour where none belongs."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from phi2sdk.report import words
from phi2sdk.report.money_words import Section
from phi2sdk.report.schema import Report
from phi2sdk.report.sections import sections
from phi2sdk.report.table import COLUMNS, failures, in_short, rows, verdicts
from phi2sdk.report.words import notes, requirement_line
from phi2sdk.text import for_terminal

__all__ = ["show"]


def show(report: Report, console: Console) -> None:
    """Print the report. All text is put in as it is: nothing in it is markup."""
    verdict = Text(report.validity.sentence, style="" if report.validity.valid else "bold red")
    console.print(verdict, soft_wrap=False)
    if not report.run.complete:
        so_far = words.so_far(report)
        console.print(
            Text(
                f"Incomplete: {so_far}. Repeat the command with --resume to go on.", style="yellow"
            )
        )
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for index, column in enumerate(COLUMNS):
        first = index == 0
        table.add_column(
            Text(column.title, style="bold"),
            justify="left" if first else "right",
            overflow="fold" if first else "ellipsis",
            no_wrap=not first,
            max_width=20 if first else None,
        )
    for cells in rows(report):
        table.add_row(*(Text(for_terminal(cell)) for cell in cells))
    console.print(table)
    for sentence in verdicts(report):
        console.print(Text(for_terminal(sentence)))
    console.print(Text(f"± {COLUMNS[-1].meaning}.", style="dim"))
    for note in notes(report):
        console.print(Text(note, style="dim"))
    for line in failures(report):
        console.print(Text(for_terminal(line)[:300], style="red"))
    for result in report.requirements:
        style = "green" if result.holds else "bold red"
        console.print(Text(for_terminal(requirement_line(result)), style=style))
    for section in sections(report):
        _show_section(section, console)
    if report.run.demo:
        console.print()
        console.print(Text(in_short(report), style="bold"))


def _show_section(section: Section, console: Console) -> None:
    console.print()
    console.print(Text(section.title, style="bold"))
    if section.rows:
        table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
        for index, title in enumerate(section.columns):
            left = index == 0 or not section.numbers
            table.add_column(
                Text(title, style="bold"),
                justify="left" if left else "right",
                overflow="fold",
                no_wrap=not left,
                max_width=20 if index == 0 else None,
            )
        for cells in section.rows:
            table.add_row(*(Text(for_terminal(cell)) for cell in cells))
        console.print(table)
    for line in section.lines:
        console.print(Text(for_terminal(line), style="dim" if section.rows else ""))
