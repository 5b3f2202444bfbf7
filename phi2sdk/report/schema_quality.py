"""The part of ``report.json`` about how good the answers are."""

from __future__ import annotations

from pydantic import Field

from phi2sdk.report.schema_base import Interval, Part

__all__ = ["LikenessReport", "QualityReport"]


class LikenessReport(Part):
    """A likeness ``value`` over ``prompts``, beside that of shuffled pairs (``baseline``).

    ``above_chance`` is (value - baseline) / (1 - baseline); null where there is no other prompt
    to compare with, or chance alone gives 1.
    """

    prompts: int
    value: Interval
    baseline: float | None
    above_chance: float | None


class QualityReport(Part):
    """Content of a target's answers; never evidence of identity. ``unknown`` says why null.

    ``rouge_l``, ``chrf`` and ``cosine`` compare with the input's references. ``faithful``: the
    share of a summary's numbers and names that its source has; ``unsupported``: the rate of
    prompts with one that it lacks. ``tokens``: median length; ``length_ratio``: over the
    reference's, in words. ``past_first_sentence``: the share of words behind the first sentence.
    """

    prompts: int
    rouge_l: LikenessReport | None = None
    chrf: LikenessReport | None = None
    cosine: LikenessReport | None = None
    faithful: LikenessReport | None = None
    unsupported: Interval | None = None
    tokens: Interval | None = None
    length_ratio: Interval | None = None
    past_first_sentence: Interval | None = None
    unknown: dict[str, str] = Field(default_factory=dict)
