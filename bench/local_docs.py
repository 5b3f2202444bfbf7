"""Write the report of bench/local.py into docs/how-it-works/performance.md, and plot it.

python bench/local.py --json local.json
python bench/local_docs.py local.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from common import HERE
from local_plot import draw

DOCS = HERE.parent / "docs" / "how-it-works"
BEGIN, END = "<!-- local figures: begin -->", "<!-- local figures: end -->"


def main() -> int:
    """Replace the figures between the marks, and the pictures in the folder of the page."""
    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    page = DOCS / "performance.md"
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n\n{figures(report)}\n\n{END}{after}", encoding="utf-8")
    draw(report, [DOCS / "local.png", DOCS / "local.svg"])
    return 0


def figures(report: dict[str, Any]) -> str:
    """Return the figures in Markdown."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    parts = [
        f"`{report['command']}` on {report['date'][:10]}: {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; load average "
        f"at the end {machine['load']}. Versions: {versions}.",
        table(("check", "value", "bound", ""), [check(found) for found in report["checks"]]),
    ]
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in report["rows"]:
        groups.setdefault(tuple(row), []).append(row)
    for keys, rows in groups.items():
        if "median" in keys:
            parts.append("Tokens/s, including the time for the prompts:")
        heads = [key.replace("_", " ") for key in keys]
        parts.append(table(heads, [[shown(row[key]) for key in keys] for row in rows]))
    return "\n\n".join([*parts, *(f"Note: {note}." for note in report["notes"])])


def check(found: dict[str, Any]) -> list[str]:
    """Return a row of the table of checks."""
    bound = f"{found['op']} {found['bound']:g}"
    if found["value"] is None:
        reason = found["reason"]
        return [f"`{found['name']}`", "-", bound, f"not measured: {reason}"]
    verdict = "holds" if found["holds"] else "does not hold"
    return [f"`{found['name']}`", shown(found["value"]), bound, verdict]


def table(heads: Any, lines: list[list[str]]) -> str:
    """Return a Markdown table."""
    marks = "|" + "---|" * len(heads)
    return "\n".join([f"| {' | '.join(heads)} |", marks, *(f"| {' | '.join(x)} |" for x in lines)])


def shown(value: Any) -> str:
    """Return a figure with three or four digits."""
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return str(value)


if __name__ == "__main__":
    sys.exit(main())
