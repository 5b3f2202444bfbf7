"""The parts of ``report.json`` about greedy answers: are they alike, and if not, why?"""

from __future__ import annotations

from phi2sdk.measure.diagnosis import Cause, Kind
from phi2sdk.report.schema_base import Interval, Part

__all__ = ["AgreementReport", "DiagnosisReport", "RegretReport", "UnexplainedReport"]


class AgreementReport(Part):
    """How alike two targets' greedy answers are, over ``prompts`` with an answer from both.

    ``first_divergence``: the median number of tokens before answers part (Kaplan-Meier: equal
    answers are censored at their length), with its interval; null where most do not. ``parted``:
    how many prompts' answers do.
    """

    prompts: int
    missing: int
    exact_bytes: Interval | None = None
    exact_normalized: Interval | None = None
    exact_cut: Interval | None = None
    parted: int | None = None
    first_divergence: float | None = None
    first_divergence_low: float | None = None
    first_divergence_high: float | None = None
    prefix_fraction: Interval | None = None
    edit_similarity: Interval | None = None


class UnexplainedReport(Part):
    """The worst token that was no close call for the reference; the first token is 1."""

    prompt: str
    token: int
    regret: float


class RegretReport(Part):
    """How much likelier the local reference's own choice was than a target's tokens; nats.

    ``off`` of all ``tokens`` were not the likeliest (``rate``). ``at_divergence``: the median
    where answers part from the reference's. Up to ``tie`` the reference might have chosen
    otherwise: at least 0.01, and twice what its weights do to themselves in other precisions.
    """

    answers: int
    tokens: int
    off: int
    rate: float | None
    at_divergence: float | None
    maximum: float
    tie: float


class DiagnosisReport(Part):
    """Why a target's greedy answers differ from the reference's, on ``differ`` of ``prompts``.

    ``cause``: what most differences show; ``kinds``: how many prompts by kind of difference.
    ``varies``: prompts that the target did not answer the same way each time. ``cut_at``: tokens
    of its answers, where all were cut at one place. ``regret``: null without local weights.
    """

    cause: Cause
    sentence: str
    prompts: int
    differ: int
    kinds: dict[Kind, int]
    varies: int
    cut_at: int | None = None
    unexplained: UnexplainedReport | None = None
    regret: RegretReport | None = None
