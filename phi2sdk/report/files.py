"""The report's files in the folder of a run; each is written whole or not at all, past no link."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from phi2sdk.measure.files import write_file
from phi2sdk.report.html.page import html_page
from phi2sdk.report.markdown import markdown
from phi2sdk.report.measured import Measured
from phi2sdk.report.requirements import junit
from phi2sdk.report.schema import Report

__all__ = ["FORMATS", "HTML", "write_reports"]

FORMATS: Mapping[str, Callable[[Report], str]] = {
    "report.json": Report.to_json,
    "report.md": markdown,
}
"""File name -> how the report is written into it."""
HTML = "report.html"


def write_reports(report: Report, folder: Path, measured: Measured) -> None:
    """Write the report in every format, and ``junit.xml`` where something was required.

    Args:
        report: The report.
        folder: Where the files go.
        measured: The run that the report was made from; the page shows every request.

    Raises:
        ConfigurationError: There is no room, or the folder cannot be written.
    """
    for name, write in FORMATS.items():
        write_file(folder / name, write(report))
    write_file(folder / HTML, html_page(report, measured))
    if report.requirements:
        write_file(folder / "junit.xml", junit(report.requirements))
