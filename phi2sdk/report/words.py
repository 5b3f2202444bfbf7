"""How numbers are written, the same in every dress of a report."""

from __future__ import annotations

from phi2sdk.report.schema import (
    AgreementReport,
    CostReport,
    Interval,
    QuantileReport,
    Report,
    RequirementReport,
)

__all__ = [
    "DEMO",
    "agreement_cell",
    "cost_cell",
    "how_often",
    "notes",
    "quantile_cell",
    "requirement_line",
    "seconds",
    "so_far",
    "usd",
]

DEMO = (
    "a small model of this package answers here, and over every provider's protocol on loopback. "
    "Latencies and prices of emulated providers are simulated."
)
UNKNOWN = "-"
SIMULATED = "~"
TOO_FEW = "*"


def seconds(value: float) -> str:
    """Three significant digits, in ms below a second."""
    if value < 1:
        return f"{_digits(value * 1e3)} ms"
    return f"{_digits(value)} s"


def usd(value: float) -> str:
    """Dollars, as many digits as it takes to see something."""
    if value == 0:
        return "$0"
    return f"${value:.2f}" if value >= 1 else f"${value:.2g}" if value >= 1e-4 else f"${value:.1e}"


def quantile_cell(quantile: QuantileReport | None, *, simulated: bool = False) -> str:
    """A quantile; censored as ``>60 s``, marked where n is too small or the time simulated."""
    if quantile is None:
        return UNKNOWN
    mark = SIMULATED if simulated else ""
    if quantile.value is None:
        above = quantile.censored_above
        return "failed" if above is None else f">{seconds(above)}"
    few = TOO_FEW if quantile.low is None and quantile.high is None else ""
    return f"{mark}{seconds(quantile.value)}{few}"


def cost_cell(cost: CostReport | None) -> str:
    """Dollars per thousand summaries."""
    if cost is None:
        return "unknown"
    mark = SIMULATED if cost.simulated else ""
    return f"{mark}{usd(cost.per_summary.value * 1000)}"


def agreement_cell(agreement: AgreementReport | None, what: str) -> str:
    """A rate or similarity of an agreement, in percent or as a number."""
    value: Interval | None = getattr(agreement, what) if agreement else None
    if value is None:
        return UNKNOWN
    if what.startswith("exact"):
        return f"{value.value:.0%}"
    return f"{value.value:.3f}"


def requirement_line(result: RequirementReport) -> str:
    """A requirement and what became of it."""
    value = "" if result.value is None else f": it is {result.value:.4g}"
    ends = (
        ""
        if result.low is None or result.high is None
        else (f" [{result.low:.4g}, {result.high:.4g}]")
    )
    reason = "" if result.reason is None else f" ({result.reason})"
    return f"{result.outcome}: {result.requirement}{value}{ends}{reason}"


def how_often(report: Report) -> str:
    """How often each prompt was asked."""
    run = report.run
    if run.duration is None:
        return f"{run.repetitions}"
    return f"up to {run.repetitions} in {run.duration:g} s"


def so_far(report: Report) -> str:
    """How much of a run that was cut short is there."""
    run = report.run
    if run.duration is None:
        return f"{run.recorded} of {run.requests} requests are recorded"
    return f"{run.seconds:.0f} of {run.duration:g} s were measured"


def notes(report: Report) -> list[str]:
    """What a reader must know to read the table."""
    said = []
    if any(target.simulated for target in report.targets.values()):
        said.append(
            f"{SIMULATED} simulated: an emulator on this machine answered, so this is neither a "
            "provider's latency nor its bill."
        )
    if _any_too_few(report):
        said.append(
            f"{TOO_FEW} too few prompts for a 95 % interval of this number (a median needs 6, a "
            "p95 72): read it as an example."
        )
    if report.run.tokenizer_estimated:
        said.append(
            "Tokens are estimated, since there is no tokenizer on this machine: give --tokenizer "
            "with the tokenizer.json of Phi-2 to count them."
        )
    if report.run.unique_prefix:
        said.append(
            "Each repetition began with a line of its own, so that no cache could answer: targets "
            "are compared within a repetition, and no target with itself."
        )
    if any(not target.streams for target in report.targets.values()):
        said.append("TTFT - : the route does not stream, and runs on to its end before it answers.")
    if any(target.wrapped for target in report.targets.values()):
        wrapped = ", ".join(name for name, t in report.targets.items() if t.wrapped)
        said.append(f"{wrapped}: the route wraps the prompt in a template, so answers must differ.")
    if any(target.cost is None for target in report.targets.values()):
        said.append("unknown: no price was given; it is not zero.")
    return said


def _any_too_few(report: Report) -> bool:
    summaries = [
        summary
        for target in report.targets.values()
        for summary in (target.latency.ttft, target.latency.e2e)
        if summary is not None
    ]
    return any(
        q.value is not None and q.low is None and q.high is None
        for summary in summaries
        for q in (summary.p50, summary.p95)
    )


def _digits(value: float) -> str:
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
