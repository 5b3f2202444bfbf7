"""The report's files in the folder of a run; each is written whole or not at all, past no link."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from phi2sdk.measure.files import write_file
from phi2sdk.measure.folder import Run
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.report.chart import draw_cost_curve
from phi2sdk.report.markdown import markdown
from phi2sdk.report.requirements import junit
from phi2sdk.report.schema import Report

__all__ = ["FORMATS", "HTML", "write_reports"]

FORMATS: Mapping[str, Callable[[Report], str]] = {
    "report.json": Report.to_json,
    "report.md": markdown,
}
"""File name -> how the report is written into it."""


HTML = "report.html"
"""It shows every request, so it needs the run too."""


def write_reports(
    report: Report,
    folder: Path,
    run: Run | None = None,
    tokenizer: ReferenceTokenizer | None = None,
) -> None:
    """Write the report in every format, and ``junit.xml`` where something was required.

    A curve of cost over volume is drawn where it has two targets at least.

    Args:
        report: The report.
        folder: Where the files go.
        run: The run it was made of; without it there is no ``report.html``.
        tokenizer: The reference tokenizer, for the differences between answers; likewise.

    Raises:
        ConfigurationError: There is no room, or the folder cannot be written.
    """
    for name, write in FORMATS.items():
        write_file(folder / name, write(report))
    if run is not None and tokenizer is not None:
        from phi2sdk.report.html.page import html_page

        write_file(folder / HTML, html_page(report, run, tokenizer))
    if report.requirements:
        write_file(folder / "junit.xml", junit(report.requirements))
    draw_cost_curve(report, folder)
