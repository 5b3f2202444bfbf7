"""Plot the report of bench/local.py.

    python bench/local_plot.py local.json docs/how-it-works/local.svg docs/how-it-works/local.png

If matplotlib is not installed, the command creates an environment for it on first use.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import peer_python

OURS, THEIRS = "#1f5fa8", "#b9bfc7"


def draw(report: dict[str, Any], paths: list[Path]) -> None:
    """Draw a bar chart for each comparison: medians, with the range of the rounds."""
    if importlib.util.find_spec("matplotlib") is None:
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            file.write(json.dumps(report))
            file.flush()
            command = [peer_python("plot"), Path(__file__), file.name, *paths]
            subprocess.run(command, check=True)
        return
    import matplotlib as mpl

    mpl.use("Agg")
    mpl.rcParams.update({"font.size": 8, "svg.fonttype": "none", "svg.hashsalt": "phi2sdk"})
    import matplotlib.pyplot as plt

    panels: dict[str, list[dict[str, Any]]] = {}
    for row in report["rows"]:
        if "median" in row:
            same = panels.setdefault(row["what"], [])
            if not any(other["who"] == row["who"] for other in same):
                same.append(row)
    heights = [len(rows) + 1 for rows in panels.values()]
    figure, axes = plt.subplots(
        len(panels),
        1,
        figsize=(7, 0.32 * sum(heights) + 0.8),
        height_ratios=heights,
        layout="constrained",
        squeeze=False,
    )
    for axis, (what, rows) in zip(axes.flat, panels.items(), strict=True):
        rows.sort(key=lambda row: row["median"])
        colors = [OURS if row["who"].startswith("ours") else THEIRS for row in rows]
        medians = [row["median"] for row in rows]
        spread = [
            [row["median"] - row["least"] for row in rows],
            [row["most"] - row["median"] for row in rows],
        ]
        error = {"elinewidth": 0.7, "ecolor": "#444444"}
        names = [f"{row['who']}: {_shown(row['median'])}" for row in rows]
        axis.barh(names, medians, color=colors, xerr=spread, error_kw=error)
        axis.set_title(what, loc="left", fontsize=9)
        axis.spines[["top", "right"]].set_visible(False)
    machine = report["machine"]
    figure.supxlabel(
        f"tokens/s, median and range of the rounds; {machine['cpu']}, {machine['cores']} cores, "
        f"{report['date'][:10]}",
        fontsize=7,
    )
    for path in paths:
        svg = path.suffix == ".svg"
        figure.savefig(path, dpi=150, metadata={"Date": None} if svg else None)
    plt.close(figure)


def _shown(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def main() -> int:
    """Draw the plot of a report into the given files."""
    report, *paths = map(Path, sys.argv[1:])
    draw(json.loads(report.read_text(encoding="utf-8")), paths)
    return 0


if __name__ == "__main__":
    sys.exit(main())
