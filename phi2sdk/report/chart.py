"""The curve of cost per summary over volume, as SVG and PNG."""

from __future__ import annotations

import io
from importlib.util import find_spec
from pathlib import Path

from phi2sdk.measure.files import write_file
from phi2sdk.report.schema import Report

__all__ = ["CHARTS", "draw_cost_curve"]

CHARTS = ("cost.svg", "cost.png")
# Okabe and Ito's colours, which people with colour-blindness can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_DASHES = ("-", "--", "-.", ":")


def draw_cost_curve(report: Report, folder: Path) -> tuple[Path, ...]:
    """Draw the curve into ``cost.svg`` and ``cost.png``; nothing where there is none to draw.

    Args:
        report: With a curve of at least two targets.
        folder: Where the files go.
    """
    curve = report.cost_curve
    if curve is None or len(curve.usd_per_summary) < 2 or find_spec("matplotlib") is None:
        return ()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # A fixed salt and no date: the same report gives the same file.
    with rc_context({"svg.hashsalt": "phi2sdk", "svg.fonttype": "path", "font.size": 10}):
        figure = Figure(figsize=(8, 5), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, costs) in enumerate(curve.usd_per_summary.items()):
            simulated = report.targets[name].simulated
            axes.plot(
                curve.volumes,
                costs,
                color=_COLOURS[number % len(_COLOURS)],
                linestyle=_DASHES[number // len(_COLOURS) % len(_DASHES)],
                linewidth=2,
                label=f"{name} (simulated)" if simulated else name,
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        _mark_changes(report, axes)
        if report.volume is not None:
            axes.axvline(report.volume.per_day, color="0.4", linewidth=1, linestyle=":")
            axes.annotate(
                f"{report.volume.per_day:,.0f} a day",
                (report.volume.per_day, 0.99),
                xycoords=("data", "axes fraction"),
                xytext=(4, 0),
                textcoords="offset points",
                va="top",
                color="0.3",
            )
        axes.set_xlabel("summaries a day")
        axes.set_ylabel("USD per summary, idle time included")
        axes.set_title("Cost of a summary over volume", loc="left")
        axes.grid(visible=True, which="major", color="0.9")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
        figure.savefig(png, format="png", dpi=150)
    for name, drawn in zip(CHARTS, (svg, png), strict=True):
        write_file(folder / name, drawn.getvalue())
    return tuple(folder / name for name in CHARTS)


def _mark_changes(report: Report, axes: object) -> None:
    """A dot with its interval where two options change places."""
    import numpy as np
    from matplotlib.axes import Axes

    assert isinstance(axes, Axes)
    curve = report.cost_curve
    assert curve is not None
    lowest, highest = curve.volumes[0], curve.volumes[-1]
    for found in report.break_even.values():
        volume = found.volume
        if volume is None or found.above is None or not lowest <= volume.value <= highest:
            continue
        costs = curve.usd_per_summary[found.changes[0].cheaper]
        at = float(np.exp(np.interp(np.log(volume.value), np.log(curve.volumes), np.log(costs))))
        low = max(volume.low or lowest, lowest)
        high = highest if volume.high is None else min(volume.high, highest)
        axes.plot([low, high], [at, at], color="0.2", linewidth=3, alpha=0.4)
        axes.plot([volume.value], [at], marker="o", color="0.2", markersize=5)
