"""Write the reports of bench/measure.py and bench/report.py into docs/how-it-works/performance.md.

python bench/measure.py --json measure.json
python bench/report.py --json report.json
python bench/measure_docs.py measure.json report.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "how-it-works" / "performance.md"
BEGIN, END = "<!-- measurement figures: begin -->", "<!-- measurement figures: end -->"
SECTION = f"""
## Measurement

The error of reported times: the time that a tool reports minus the time at a server whose send
times are known. [Measurement](../compare/measurement.md) defines the times.

{BEGIN}
{END}
"""
HEADINGS = {
    "tool": "tool",
    "streams": "streams",
    "scenario": "scenario",
    "ttft_p50_ms": "TTFT error p50 (ms)",
    "ttft_p99_ms": "TTFT error p99 (ms)",
    "e2e_p50_ms": "E2E error p50 (ms)",
    "e2e_p99_ms": "E2E error p99 (ms)",
    "tpot_share": "TPOT error",
    "requests": "requests",
    "seconds": "time (s)",
    "cpu_seconds": "CPU time (s)",
    "peak_mib": "memory (MiB)",
    "journal_mib": "journal (MiB)",
}


def figures(report: dict[str, Any]) -> str:
    """Return a report in Markdown."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    columns = [key for key in HEADINGS if any(key in row for row in report["rows"])]
    rows = [[_cell(key, row.get(key)) for key in columns] for row in report["rows"]]
    checks = [
        [f"`{c['name']}`", _cell("", c["value"]), f"{c['op']} {c['bound']:g}", _verdict(c)]
        for c in report["checks"]
    ]
    parts = [
        f"`{report['command']}` on {report['date'][:10]}: {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; load average "
        f"at the end {machine['load']}. Versions: {versions}.",
        _table(["check", "value", "bound", ""], checks),
        _table([HEADINGS[key] for key in columns], rows),
        *(f"Note: {note}." for note in report["notes"]),
    ]
    return "\n\n".join(parts)


def _verdict(check: dict[str, Any]) -> str:
    reason = f" ({check['reason']})" if check.get("reason") else ""
    return ("holds" if check["holds"] else "does not hold") + reason.replace("|", "/")


def _cell(name: str, value: Any) -> str:
    if value is None or value != value:  # NaN: the tool does not report it
        return "-"
    if name == "tpot_share":
        return f"{value:.2%}"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _table(titles: list[str], rows: list[list[str]]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Replace the figures between the marks, adding the section if it is missing."""
    reports = [json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]
    page = PAGE.read_text(encoding="utf-8")
    if BEGIN not in page:
        page = page.rstrip("\n") + "\n" + SECTION
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    shown = "\n\n".join(figures(report) for report in reports)
    PAGE.write_text(f"{before}{BEGIN}\n\n{shown}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
