"""The report on a terminal: no color where none belongs, and no markup from foreign text."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from phi2sdk.report.latency import verdicts
from phi2sdk.report.overview import failures, in_short, notes, overview, sections, so_far
from phi2sdk.report.requirements import requirement_line
from phi2sdk.report.schema import Report
from phi2sdk.report.section import Section
from phi2sdk.text import for_terminal

__all__ = ["print_section", "show"]


def show(report: Report, console: Console) -> None:
    """Print the report. All text is put in as it is: nothing in it is markup."""
    verdict = Text(report.validity.sentence, style="" if report.validity.valid else "bold red")
    console.print(verdict, soft_wrap=False)
    if not report.run.complete:
        text = f"Incomplete: {so_far(report)}. Repeat the command with --resume to go on."
        console.print(Text(text, style="yellow"))
    console.print(_fitting(overview(report), console, intervals=False))
    for sentence in verdicts(report):
        console.print(Text(for_terminal(sentence)))
    for note in notes(report):
        console.print(Text(note, style="dim"))
    for line in failures(report):
        console.print(Text(for_terminal(line)[:300], style="red"))
    for result in report.requirements:
        style = "green" if result.holds else "bold red"
        console.print(Text(for_terminal(requirement_line(result)), style=style))
    for section in sections(report):
        if not section.detail:
            print_section(section, console)
    if report.run.demo:
        console.print()
        console.print(Text(in_short(report), style="bold"))


def print_section(section: Section, console: Console) -> None:
    """Print a section: its title, its table, its lines."""
    console.print()
    console.print(Text(section.title, style="bold"))
    if section.rows:
        console.print(_fitting(section, console))
    for line in section.lines:
        console.print(Text(for_terminal(line), style="dim" if section.rows else ""))


def _fitting(section: Section, console: Console, *, intervals: bool = True) -> Table:
    """The fullest table that fits: intervals are left out first, then optional columns."""
    forms = [(True, True)] if intervals else []
    table = Table()
    for with_intervals, with_optional in (*forms, (False, True), (False, False)):
        table = _table(section, intervals=with_intervals, optional=with_optional)
        if (
            Measurement.get(console, console.options.update(width=1000), table).maximum
            <= console.width
        ):
            break
    return table


def _table(section: Section, *, intervals: bool, optional: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    shown = [i for i, column in enumerate(section.columns) if optional or not column.optional]
    for index in shown:
        column = section.columns[index]
        table.add_column(
            Text(column.title if column.words else column.title.replace(" ", "\n"), style="bold"),
            justify="left" if column.words else "right",
            overflow="fold",
            no_wrap=not column.words,
            max_width=20 if index == 0 else None,
        )
    for row in section.rows:
        cells = (row[i].in_one_line() if intervals else row[i].text for i in shown)
        table.add_row(*(Text(for_terminal(cell)) for cell in cells))
    return table
