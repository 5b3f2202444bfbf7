"""Write the report of bench/identity.py --frauds into docs/compare/identity.md, between its marks.

python bench/identity.py --frauds --runs 100 --calls 100 --json frauds.json
python bench/identity_docs.py frauds.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from common import HERE

PAGE = HERE.parent / "docs" / "compare" / "identity.md"
BEGIN, END = "<!-- planted changes: begin -->", "<!-- planted changes: end -->"
ENOUGH = 100
"""With fewer runs the shares are an example."""


def figures(report: dict[str, Any]) -> str:
    """Return the table in Markdown, with the command, the date and the machine."""
    rows = [row for row in report["rows"] if "target" in row]
    runs = max(row["runs"] for row in rows)
    machine = report["machine"]
    said = (
        f"`{report['command']}` on {report['date'][:10]}: {machine['cpu']}, {machine['cores']} "
        f"cores, load average at the end {machine['load']}."
    )
    if runs < ENOUGH:
        said += (
            f" With {runs} runs for each target, the table shows which findings are reported; its "
            "percentages are not detection rates."
        )
    head = "| target | calls | runs | rejected | cause named | named in the runs |"
    lines = [
        f"| {row['what']} | {row['calls']} | {row['runs']} | {_share(row['rejected'])} "
        f"| {_share(row['cause_named'])} | {row['named'] or '-'} |"
        for row in rows
    ]
    return "\n".join([said, "", head, "|" + "---|" * 6, *lines])


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def main() -> int:
    """Write the table into the page."""
    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not end:
        raise SystemExit(f"{PAGE} has no marks: {BEGIN} ... {END}")
    PAGE.write_text(f"{before}{BEGIN}\n{figures(report)}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
