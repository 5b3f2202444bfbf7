"""Plot the report of bench/client.py.

    python bench/client.py --json client.json
    python bench/client_plot.py client.json docs/how-it-works/client.svg

If matplotlib is not installed, the command creates an environment for it on first use.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from common import peer_python

OURS, THEIRS = "#1f5fa8", "#b9bfc7"


def draw(report: dict[str, Any], path: Path) -> None:
    """Draw four sorted bar charts, with phi2sdk in another color and in bold."""
    import matplotlib as mpl
    import matplotlib.pyplot as plt

    mpl.rcParams.update({"font.size": 8, "svg.fonttype": "none", "svg.hashsalt": "phi2sdk"})
    panels = (
        ("Requests/s, 64 in flight, one core", "client", "rps", False),
        ("CPU per request (ms)", "client", "cpu_ms", True),
        ("First client: import and build (s)", "first_client", "seconds", True),
        ("Delay of a chunk, p99 of 64 streams (ms)", "stream", "lag_p99_ms", True),
    )
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.5), layout="constrained")
    for axis, (title, kind, figure_of, less_is_better) in zip(axes.flat, panels, strict=True):
        rows = [row for row in report["rows"] if kind in row]
        rows.sort(key=lambda row: row[figure_of], reverse=less_is_better)
        names = [row[kind] for row in rows]
        values = [row[figure_of] for row in rows]
        colors = [OURS if name.startswith("phi2sdk") else THEIRS for name in names]
        bars = axis.barh(names, values, color=colors)
        axis.bar_label(bars, fmt="%.3g", padding=2)
        axis.set_xscale("log")
        axis.set_xlim(min(values) / 2, max(values) * 4)
        axis.set_title(title, loc="left", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
        for label in axis.get_yticklabels():
            if label.get_text() == "phi2sdk":
                label.set_fontweight("bold")
    machine = report["machine"]
    figure.supxlabel(
        f"{machine['cpu']}, {machine['cores']} cores, Python {machine['python']}, "
        f"{report['date'][:10]}; logarithmic scales",
        fontsize=7,
    )
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main() -> int:
    """Draw the plot, in another environment if matplotlib is not installed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("picture", type=Path, nargs="?", default=Path("client.svg"))
    given = parser.parse_args()
    if importlib.util.find_spec("matplotlib") is None:
        python = peer_python("plot")
        return subprocess.run([python, *sys.argv], check=False).returncode
    draw(json.loads(given.report.read_text(encoding="utf-8")), given.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
