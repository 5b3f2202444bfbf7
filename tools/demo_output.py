"""Write what a run printed into a page, and the report from which a test prints it again.

python -m phi2sdk.compare --demo --output /tmp/demo
python tools/demo_output.py /tmp/demo README.md
"""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

from rich.console import Console

from phi2sdk.report.schema import Report
from phi2sdk.report.terminal import show

__all__ = ["BEGIN", "END", "REPORT", "WIDTH", "block", "main", "printed", "written"]

WIDTH = 100
BEGIN, END = "<!-- demo output: begin -->", "<!-- demo output: end -->"
REPORT = Path(__file__).parents[1] / "tests" / "project" / "demo-report.json"
"""The report of the run that the page shows."""


def printed(report: Report, folder: Path) -> str:
    """Return what a terminal of 100 columns without color shows of a report.

    Args:
        report: The report.
        folder: The folder of the run, as its last lines name it.
    """
    out = io.StringIO()
    show(report, Console(file=out, width=WIDTH, color_system=None), folder)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def block(page: str) -> str:
    """Return the output that a page shows between its two markers.

    Raises:
        ValueError: The page does not have the markers.
    """
    found = re.search(f"{BEGIN}\n```text\n(.*?)\n```\n{END}", page, re.DOTALL)
    if found is None:
        raise ValueError(f"the page has no block between {BEGIN} and {END}")
    return found[1]


def written(page: str, output: str) -> str:
    """Return a page with another output between its two markers.

    Raises:
        ValueError: The page does not have the markers.
    """
    return page.replace(f"```text\n{block(page)}\n```", f"```text\n{output}\n```")


def main() -> None:
    """Take the folder of a run and the page to write from the command line."""
    if len(sys.argv) != 3:
        sys.exit("Usage: python tools/demo_output.py RUN_FOLDER README.md")
    folder, page = Path(sys.argv[1]), Path(sys.argv[2])
    report = Report.model_validate_json((folder / "report.json").read_bytes())
    REPORT.write_text(report.model_dump_json(by_alias=True) + "\n", encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    page.write_text(written(text, printed(report, Path(folder.name))), encoding="utf-8")


if __name__ == "__main__":
    main()
