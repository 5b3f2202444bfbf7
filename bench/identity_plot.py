"""Draws the simulations of bench/identity.py.

    python bench/identity.py --simulate --pools POOLS --json identity-simulations.json
    python bench/identity_plot.py identity-simulations.json docs/compare

Several reports may be given before the folder: their rows are drawn together.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.common import peer_python

COLOURS = ("#3b82c4", "#c2703d", "#4d9a5b", "#a0609f", "#b08a2e")
INK = "#7a8594"
"""Of axes and words: readable on white and on black."""
SHOWN = {
    "t=0.8": "temperature 0.8",
    "top_p=0.9": "top_p 0.9",
    "int4": "weights in int4",
    "template=qa": "template qa",
    "route=0.2": "20% to another model",
}


def _style() -> None:
    import matplotlib as mpl

    words = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    )
    mpl.rcParams.update(
        {
            **words,
            "font.size": 9,
            "svg.fonttype": "none",
            "svg.hashsalt": "phi2sdk",
            "savefig.transparent": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    )


def power(rows: list[dict[str, Any]], path: Path) -> None:
    """The share of runs that are found against the number of calls, and what the plan said."""
    import matplotlib.pyplot as plt

    figure, axis = plt.subplots(figsize=(7, 4), layout="constrained")
    axis.axhspan(0.9, 1.0, color=INK, alpha=0.15, lw=0)
    planned = {row["what"].removeprefix("to find "): row for row in rows if "planned" in row}
    for colour, (name, shown) in zip(COLOURS, SHOWN.items(), strict=True):
        points = sorted((r["calls"], r["power"]) for r in rows if r.get("of") == name)
        if not points:
            continue
        axis.plot(*zip(*points, strict=True), marker="o", ms=3.5, lw=1.4, color=colour)
        calls, share = planned[name]["planned"], planned[name]["power"]
        axis.plot(
            [calls], [share], "D", ms=9, mfc="none", mec=colour, label=f"{shown}: plan {calls:,}"
        )
    axis.set_xscale("log")
    ticks = (10, 30, 100, 300, 1000)
    axis.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axis.set_xlabel("calls (logarithmic)")
    axis.set_ylabel("share of 100 runs that are found")
    axis.set_ylim(0, 1.03)
    axis.legend(frameon=False, loc="lower right", fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def size(rows: list[dict[str, Any]], path: Path) -> None:
    """False alarms of each test, with the bounds that chance allows."""
    import matplotlib.pyplot as plt
    from scipy import stats

    alarms = [row for row in rows if str(row.get("what", "")).startswith("false alarms, ")]
    alarms += [row for row in rows if "any of 4 honest" in str(row.get("what", ""))]
    alarms.sort(key=lambda row: (row["calls"], "any" in row["what"]), reverse=True)
    figure, axis = plt.subplots(figsize=(7, 0.24 * len(alarms) + 1.2), layout="constrained")
    for place, row in enumerate(alarms):
        low, high = stats.binom.ppf((0.01, 0.99), row["runs"], 0.05) / row["runs"]
        axis.plot([low, high], [place, place], lw=6, color=INK, alpha=0.25, solid_capstyle="butt")
        accused = "any" in row["what"]
        axis.plot(row["rate"], place, "D" if accused else "o", ms=5, color=COLOURS[accused])
    names = [
        f"{row['what'].removeprefix('false alarms, ').partition(', Holm')[0]}, {row['calls']:,}"
        for row in alarms
    ]
    axis.set_yticks(range(len(alarms)), names, fontsize=8)
    axis.axvline(0.05, color=INK, lw=0.8, ls=":")
    axis.set_xlim(-0.003, 0.1)
    axis.set_xlabel("share of runs with a false alarm at the level 0.05; bars: 99 % of chance")
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    """Draw the figures, in an environment of matplotlib if it is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return subprocess.run([peer_python("plot"), *sys.argv], check=False).returncode
    *reports, folder = map(Path, sys.argv[1:])
    rows = [
        row for report in reports for row in json.loads(report.read_text(encoding="utf-8"))["rows"]
    ]
    _style()
    power(rows, folder / "identity-power.svg")
    size(rows, folder / "identity-size.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
