"""The report's files in the folder of a run; each is written whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from phi2sdk.measure.folder import write_text
from phi2sdk.report.chart import draw_cost_curve
from phi2sdk.report.markdown import markdown
from phi2sdk.report.require import junit
from phi2sdk.report.schema import Report

__all__ = ["FORMATS", "write_reports"]

FORMATS: Mapping[str, Callable[[Report], str]] = {
    "report.json": Report.to_json,
    "report.md": markdown,
}
"""File name -> how the report is written into it."""


def write_reports(report: Report, folder: Path) -> None:
    """Write the report in every format, and ``junit.xml`` where something was required.

    A curve of cost over volume is drawn where it has two targets at least.
    """
    for name, write in FORMATS.items():
        write_text(folder / name, write(report))
    if report.requirements:
        write_text(folder / "junit.xml", junit(report.requirements))
    draw_cost_curve(report, folder)
