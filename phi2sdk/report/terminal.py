"""The report on a terminal: one screen, or the sections of some subjects.

All text is printed as it is: nothing in it is interpreted as markup or as a control sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from phi2sdk.report.files import HTML
from phi2sdk.report.notes import ON_SCREEN, notes
from phi2sdk.report.overview import (
    SUBJECTS,
    decision_lines,
    legend,
    overview,
    sections,
    simulated,
    so_far,
)
from phi2sdk.report.schema import Report
from phi2sdk.report.section import Section
from phi2sdk.text import for_terminal

_STYLES = {"chosen": "bold green", "fails": "red", "id-different": "red"}
"""The style of a row that has a cell of this kind."""
_FIRST = {"task": 32}
"""The largest width of a first column by its term, if it is not 20."""
LONGEST = 300
"""The characters of a note that are printed: some quote the message of a provider."""


def show(report: Report, console: Console, folder: Path | None = None, *, resume: str = "") -> None:
    """Print the report on one screen: validity, decision, table of targets, notes, and files.

    Args:
        report: The report.
        console: The console to print on.
        folder: The folder of the run, for the next commands.
        resume: The command that continues the run, for a run that is incomplete.
    """
    valid = report.validity.valid
    print_line(console, report.validity.sentence, "" if valid else "bold red")
    if not report.run.complete:
        advice = f" To continue: {resume}" if resume else ""
        print_line(console, f"Incomplete: {so_far(report)}.{advice}", "yellow")
    if said := simulated(report):
        print_line(console, said)
    for index, line in enumerate(decision_lines(report)):
        print_line(console, line, "" if index else "bold")
    console.print()
    console.print(_fitting(overview(report), console, intervals=False))
    if marks := legend(report):
        print_line(console, marks, "dim")
    console.print()
    for note in notes(report)[:ON_SCREEN]:
        print_line(console, f"- {note}"[:LONGEST])
    if folder is not None:
        console.print()
        print_line(console, f"Report: {folder / HTML}")
        print_line(console, f"Details: phi2 report {folder} --section {'|'.join(SUBJECTS)}|all")


def print_sections(report: Report, subjects: Sequence[str], console: Console) -> None:
    """Print the sections of some subjects of :data:`phi2sdk.report.overview.SUBJECTS`."""
    found = [section for subject in subjects for section in sections(report, subject)]
    for index, section in enumerate(found):
        if index:
            console.print()
        print_section(section, console)


def print_section(section: Section, console: Console, *, keep_intervals: bool = False) -> None:
    """Print a section: its title, its table, its lines.

    Args:
        section: The section.
        console: The console to print on.
        keep_intervals: Omit optional columns first if the table is too wide, and then intervals;
            the other way round by default.
    """
    print_line(console, section.title, "bold")
    if section.rows:
        console.print(_fitting(section, console, keep_intervals=keep_intervals))
    for line in section.lines:
        print_line(console, line, "dim" if section.rows else "")


def print_line(console: Console, line: str, style: str = "") -> None:
    """Print a line as plain text; nothing in it is markup or controls the terminal."""
    console.print(Text(for_terminal(line), style=style))


def _fitting(
    section: Section, console: Console, *, intervals: bool = True, keep_intervals: bool = False
) -> Table:
    """Return the fullest table that fits: narrow gaps, then no intervals, then fewer columns."""
    optional = [index for index, column in enumerate(section.columns) if column.optional]
    every = range(len(section.columns))
    table = Table()
    for with_intervals in (True, False) if intervals else (False,):
        some = keep_intervals or not with_intervals
        for dropped in range(1 + len(optional) if some else 1):
            shown = [index for index in every if index not in optional[:dropped]]
            for gap in (2, 1):
                table = _table(section, shown, intervals=with_intervals, gap=gap)
                if _width(table, console) <= console.width:
                    return table
    return table


def _width(table: Table, console: Console) -> int:
    unlimited = console.options.update(width=100_000)
    return Measurement.get(console, unlimited, table).maximum


def _table(section: Section, shown: Sequence[int], *, intervals: bool, gap: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0))
    rows = [
        [for_terminal(row[i].in_one_line() if intervals else row[i].text) for i in shown]
        for row in section.rows
    ]
    for place, index in enumerate(shown):
        column = section.columns[index]
        widest = max(map(len, (row[place] for row in rows)), default=0)
        longest = max(map(len, column.title.split()))
        table.add_column(
            Text("\n".join(wrap(column.title, max(widest, longest))), style="bold"),
            justify="left" if column.words else "right",
            overflow="fold",
            no_wrap=not column.words,
            max_width=_FIRST.get(column.term, 20) if index == 0 else None,
        )
    for row, cells in zip(rows, section.rows, strict=True):
        styles = [_STYLES[cell.kind] for cell in cells if cell.kind in _STYLES]
        table.add_row(*map(Text, row), style=styles[0] if styles else None)
    return table
