"""Write the report of bench/client.py into docs/how-it-works/performance.md, between its marks.

python bench/client.py --json client.json
python bench/client_docs.py client.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from common import HERE

PAGE = HERE.parent / "docs" / "how-it-works" / "performance.md"
BEGIN, END = "<!-- client figures: begin -->", "<!-- client figures: end -->"
HEADINGS = {
    "client": {
        "client": "client",
        "rps": "requests/s",
        "rps_quarters": "requests/s, quartiles",
        "cpu_ms": "CPU per request (ms)",
        "sync_p50_ms": "synchronous p50 (ms)",
    },
    "stream": {
        "stream": "client",
        "lag_p50_ms": "delay p50 (ms)",
        "lag_p99_ms": "delay p99 (ms)",
        "cpu_ms_a_chunk": "CPU per chunk (ms)",
    },
    "first_client": {
        "first_client": "client",
        "seconds": "time until built (s)",
        "mib": "memory (MiB)",
        "seconds_to_first_answer": "time until first answer (s)",
    },
    "layer": {
        "layer": "layer",
        "what": "content",
        "cpu_us": "CPU per request (µs)",
        "adds_us": "added CPU (µs)",
        "times_aiohttp": "ratio to aiohttp",
    },
}
TITLES = {
    "client": "Throughput and CPU with 64 requests in flight on one core:",
    "stream": "Delay of a chunk from sending to reading, with 64 streams of 20 chunks/s:",
    "first_client": "Building the first client of a process, including imports:",
    "layer": "CPU per request that each layer of the client adds:",
}


def figures(report: dict[str, Any]) -> str:
    """Return the figures in Markdown."""
    machine = report["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    parts = [
        f"`{report['command']}` on {report['date'][:10]}: {machine['cpu']}, "
        f"{machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}; load average "
        f"at the end {machine['load']}. Versions: {versions}.",
        "| check | value | bound | |\n|---|---|---|---|\n"
        + "\n".join(
            f"| `{c['name']}` | {'-' if c['value'] is None else format(c['value'], '.3g')} "
            f"| {c['op']} {c['bound']:g} | {'holds' if c['holds'] else 'does not hold'} |"
            for c in report["checks"]
        ),
    ]
    for kind, headings in HEADINGS.items():
        rows = [row for row in report["rows"] if kind in row]
        if rows:
            head = "| " + " | ".join(headings.values()) + " |"
            lines = ["| " + " | ".join(_cell(row[key]) for key in headings) + " |" for row in rows]
            parts.append(TITLES[kind])
            parts.append("\n".join([head, "|" + "---|" * len(headings), *lines]))
    parts += [f"Note: {note}." for note in report["notes"]]
    return "\n\n".join(parts)


def _cell(value: Any) -> str:
    return "-" if value is None else str(value)


def main() -> None:
    """Replace the figures between the marks."""
    report = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    text = f"{before}{BEGIN}\n\n{figures(report)}\n\n{END}{after}"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
