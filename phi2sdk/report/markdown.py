"""``report.md``: the report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from phi2sdk.report.glossary import GLOSSARY
from phi2sdk.report.notes import notes
from phi2sdk.report.overview import (
    decision_lines,
    failures,
    how_often,
    legend,
    overview,
    sections,
    simulated,
    so_far,
)
from phi2sdk.report.requirements import requirement_line
from phi2sdk.report.schema import Report
from phi2sdk.report.section import Section
from phi2sdk.text import for_markdown


def markdown(report: Report) -> str:
    """Return the whole report: validity, decision and table first, as on a terminal."""
    run = report.run
    table = overview(report)
    lines = [for_markdown(report.validity.sentence), "", "# Comparison of Phi-2 targets", ""]
    if not run.complete:
        lines += [f"Incomplete: {so_far(report)}.", ""]
    for line in (simulated(report), *decision_lines(report)):
        lines += [for_markdown(line), ""] if line else []
    lines += _table(table)
    if marks := legend(report):
        lines += ["", for_markdown(marks)]
    lines += ["", *(f"- {for_markdown(note)}" for note in notes(report)), ""]
    lines += ["## Definitions of the columns", ""]
    lines += definitions([table])
    lines += [
        "",
        "## Configuration",
        "",
        f"{run.prompts} prompts x {how_often(report)}, task {run.task}, load {run.load}, at most "
        f"{run.max_tokens} tokens, seed {run.seed}. Input: {for_markdown(run.input)}. "
        f"Started {for_markdown(run.started)}, phi2sdk {for_markdown(run.phi2sdk)}, configuration "
        f"{for_markdown(run.configuration_hash)}.",
    ]
    if report.requirements:
        required = [f"- {for_markdown(requirement_line(result))}" for result in report.requirements]
        lines += ["", "## Requirements", "", *required]
    if failed := failures(report):
        lines += ["", "## Failed requests", "", *(f"- {for_markdown(line)}" for line in failed)]
    for section in sections(report):
        lines += section_lines(section)
    return "\n".join(lines) + "\n"


def section_lines(section: Section) -> list[str]:
    """Return the lines of a section: its title, its table, and its sentences."""
    lines = ["", f"## {for_markdown(section.title)}", ""]
    if section.rows:
        lines += [*_table(section), ""]
    return lines + [f"- {for_markdown(line)}" for line in section.lines]


def definitions(tables: Iterable[Section]) -> list[str]:
    """Return the definition of every term that a column names, each once."""
    columns = (column for table in tables for column in table.columns)
    terms = dict.fromkeys(key for column in columns for key in column.terms)
    return [f"- {for_markdown(GLOSSARY[key].text)}" for key in terms]


def _table(section: Section) -> list[str]:
    titles = [for_markdown(column.title, cell=True) for column in section.columns]
    aligned = ["---" if column.words else "---:" for column in section.columns]
    body = ([for_markdown(cell.in_one_line(), cell=True) for cell in row] for row in section.rows)
    return [f"| {' | '.join(line)} |" for line in (titles, aligned, *body)]
