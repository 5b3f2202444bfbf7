"""The report of an evaluation on a terminal, in a notebook, as Markdown, and as files."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from phi2sdk.measure.files import write_file
from phi2sdk.notebook import block, line, table
from phi2sdk.report.evaluation_schema import EvaluationReport
from phi2sdk.report.evaluation_sections import comparisons, headlines, scores, sections
from phi2sdk.report.files import HTML
from phi2sdk.report.html.evaluation_page import evaluation_page
from phi2sdk.report.markdown import definitions, section_lines
from phi2sdk.report.requirements import junit, requirement_line
from phi2sdk.report.terminal import print_line, print_section
from phi2sdk.text import for_markdown


class ShownEvaluation(EvaluationReport):
    """The report of an evaluation, which a notebook shows as sentences and tables."""

    def _repr_html_(self) -> str:
        parts = [line(text) for text in headlines(self)]
        for section in (scores(self), comparisons(self)):
            if section.rows:
                columns = [(column.title, column.meaning) for column in section.columns]
                rows = [[cell.in_one_line() for cell in row] for row in section.rows]
                parts += [line(section.title, "font-weight:bold"), table(columns, rows)]
        return block(*parts)


def show_evaluation(report: EvaluationReport, console: Console, folder: Path | None = None) -> None:
    """Print the report: what differs, the requirements, the tables, and the name of the page.

    Args:
        report: The report.
        console: The console to print on.
        folder: The folder of the evaluation.
    """
    said = headlines(report)
    for text in said:
        print_line(console, text)
    for one in report.requirements:
        print_line(console, requirement_line(one), "" if one.holds else "red")
    for number, section in enumerate(sections(report)):
        if number or said or report.requirements:
            console.print()
        print_section(section, console, keep_intervals=True)
    if folder is not None:
        console.print()
        print_line(console, f"Report: {folder / HTML}")


def evaluation_markdown(report: EvaluationReport) -> str:
    """Return ``report.md`` of an evaluation."""
    run, tables = report.run, sections(report)
    limit = "all items" if run.limit is None else f"at most {run.limit:,} items of each task"
    lines = ["# Evaluation of Phi-2 targets", ""]
    lines += [f"- {for_markdown(text)}" for text in headlines(report)]
    if report.requirements:
        required = [f"- {for_markdown(requirement_line(one))}" for one in report.requirements]
        lines += ["", "## Requirements", "", *required]
    for section in tables:
        lines += section_lines(section)
    lines += ["", "## Definitions of the columns", "", *definitions(tables), ""]
    lines += ["## Configuration", ""]
    lines += [
        f"{limit.capitalize()}. Reference: {for_markdown(run.reference)}. Started "
        f"{for_markdown(run.started)}, phi2sdk {for_markdown(run.phi2sdk)}."
    ]
    return "\n".join(lines) + "\n"


def write_evaluation(report: EvaluationReport, folder: Path) -> None:
    """Write the report in every format, and ``junit.xml`` if there are requirements.

    Raises:
        ConfigurationError: The disk is full, or the folder cannot be written.
    """
    write_file(folder / "report.json", report.to_json())
    write_file(folder / "report.md", evaluation_markdown(report))
    write_file(folder / HTML, evaluation_page(report))
    if report.requirements:
        write_file(folder / "junit.xml", junit(report.requirements, "phi2 evaluate"))
