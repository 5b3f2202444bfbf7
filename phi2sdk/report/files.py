"""The files of a report in the folder of a run, written atomically and never through a link."""

from __future__ import annotations

from pathlib import Path

from phi2sdk.measure.files import write_file
from phi2sdk.report.html.page import html_page
from phi2sdk.report.markdown import markdown
from phi2sdk.report.measured import Measured
from phi2sdk.report.requirements import junit
from phi2sdk.report.schema import Report

HTML = "report.html"


def write_reports(report: Report, folder: Path, measured: Measured) -> None:
    """Write the report in every format, and ``junit.xml`` if there are requirements.

    Args:
        report: The report.
        folder: The folder to write to.
        measured: The run of the report; the page shows every request.

    Raises:
        ConfigurationError: The disk is full, or the folder cannot be written.
    """
    write_file(folder / "report.json", report.to_json())
    write_file(folder / "report.md", markdown(report))
    write_file(folder / HTML, html_page(report, measured))
    if report.requirements:
        write_file(folder / "junit.xml", junit(report.requirements))
