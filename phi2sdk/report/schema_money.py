"""The parts of ``report.json`` about choosing by cost: baseline, volume, break-even, decision.

Money is US dollars. A target without a number is there as null, and ``unknown`` says why.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from phi2sdk.report.schema_base import Interval, Name, Part

__all__ = [
    "BaselineReport",
    "BreakEvenReport",
    "ChangeReport",
    "ChoiceReport",
    "ClaimReport",
    "CurveReport",
    "DecisionReport",
    "QualityReport",
    "SensitivityReport",
    "VolumeReport",
]


class ClaimReport(Part):
    """A published ratio, and what can be said of it.

    ``original`` is the traceable original's own arithmetic at this run's output/input ratio.
    """

    value: float
    source: str
    date: str
    note: str = ""
    output_per_input: float | None = None
    original: float | None = None


class SensitivityReport(Part):
    """How many times cheaper ``target`` were with one assumption changed.

    ``seconds``: how long a summary may take on that GPU, at full use, to reach the published
    ratio.
    """

    factor: Literal["output/input", "utilisation", "GPU"]
    target: Name
    setting: str
    value: float
    times: float
    seconds: float | None = None


class QualityReport(Part):
    """How a live baseline answered: its quality beside its price."""

    ok: int
    attempted: int
    exact_cut: Interval | None = None
    edit_similarity: Interval | None = None
    reference: Name | None = None


class BaselineReport(Part):
    """How many times cheaper than the baseline each target is.

    ``times_cheaper`` takes the price as it stands (machine time: busy seconds, or at a stated
    utilisation); ``at_volume`` pays machines for whole days at the given volume. ``usd_input``
    and ``usd_output`` are per 1M tokens; null, as ``source`` and ``date``, for a live baseline
    that has none.
    """

    name: str
    live: bool
    usd_input: float | None = None
    usd_output: float | None = None
    source: str | None = None
    date: str | None = None
    stale: bool = False
    tokenizer_ratio: float = 1.0
    published: ClaimReport
    times_cheaper: dict[Name, Interval | None]
    at_volume: dict[Name, Interval | None] = Field(default_factory=dict)
    unknown: dict[Name, str] = Field(default_factory=dict)
    assumptions: tuple[str, ...] = ()
    sensitivity: tuple[SensitivityReport, ...] = ()
    quality: QualityReport | None = None


class ChangeReport(Part):
    """From ``volume`` summaries a day on, ``cheaper`` is the cheaper one of two."""

    volume: float
    cheaper: Name


class BreakEvenReport(Part):
    """The pair ``a:b`` over the volume of a day.

    ``volume`` is where the cheaper one changes first; null where it does not. ``changes`` lists
    every change; ``agreement`` is the share of resamples with the same ends.
    """

    below: Name | None
    above: Name | None
    volume: Interval | None
    changes: tuple[ChangeReport, ...] = ()
    agreement: float
    simulated: bool = False
    sentence: str


class CurveReport(Part):
    """US dollars per acceptable summary over summaries a day, idle time included."""

    volumes: tuple[float, ...]
    usd_per_summary: dict[Name, tuple[float, ...]]


class VolumeReport(Part):
    """What a summary costs at ``per_day``, idle time included, and who is cheapest there."""

    per_day: float
    cheapest: Name | None
    usd_per_summary: dict[Name, Interval | None]
    machines: dict[Name, int] = Field(default_factory=dict)
    sentence: str


class ChoiceReport(Part):
    """A target as something to choose. ``cost`` is per summary, at the volume if one is given.

    ``p95`` null with ``p95_above`` set: so many requests failed that it is only known to be
    above that.
    """

    cost: Interval | None
    p95: float | None
    p95_above: float | None = None
    agreement: float | None
    identity: str
    valid: bool
    dominated_by: tuple[Name, ...] = ()
    fails: tuple[str, ...] = ()
    simulated: bool = False


class DecisionReport(Part):
    """Who is chosen, of all targets, and what would change that."""

    basis: str
    choices: dict[Name, ChoiceReport]
    winner: Name | None
    sentence: str
    would_change: tuple[str, ...] = ()
