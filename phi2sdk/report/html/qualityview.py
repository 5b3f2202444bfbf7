"""How good the answers are, as a table with intervals and what chance alone would give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from phi2sdk.report.html.cells import Cell, rate, score
from phi2sdk.report.schema import Interval, LikenessReport, QualityReport, Report

__all__ = ["COLUMNS", "Quality", "quality"]

COLUMNS = (
    ("rouge_l", "ROUGE-L", "longest common subsequence of words with the input's reference"),
    ("chrf", "chrF", "shared pieces of characters with the input's reference"),
    ("cosine", "cosine", "of embeddings, with the input's reference"),
    ("faithful", "faithful", "share of a summary's numbers and names that its source has"),
    ("unsupported", "unsupported", "prompts with a number or a name that the source lacks"),
    ("tokens", "tokens", "median length of an answer"),
    ("length_ratio", "length", "length over that of the input's reference, in words"),
    ("past_first_sentence", "verbose", "share of words behind the first sentence"),
)
"""``(key, title, meaning)``."""

_RATES = frozenset({"unsupported", "past_first_sentence"})


@dataclass(frozen=True, slots=True)
class Quality:
    """The columns that somebody has a number in, and each target's cells."""

    columns: tuple[tuple[str, str, str], ...]
    rows: Mapping[str, Mapping[str, Cell]]
    unknown: tuple[str, ...]


def quality(report: Report) -> Quality | None:
    """The section on quality; ``None`` where nothing is known of any target."""
    found = {n: t.quality for n, t in report.targets.items() if t.quality is not None}
    columns = tuple(
        column
        for column in COLUMNS
        if any(getattr(one, column[0]) is not None for one in found.values())
    )
    if not columns:
        return None
    reasons = {f"{key}: {why}" for one in found.values() for key, why in one.unknown.items()}
    return Quality(
        columns,
        {name: {key: _cell(one, key) for key, _, _ in columns} for name, one in found.items()},
        tuple(sorted(reasons)),
    )


def _cell(found: QualityReport, key: str) -> Cell:
    value: LikenessReport | Interval | None = getattr(found, key)
    if isinstance(value, LikenessReport):
        made = score(value.value)
        chance = "unknown" if value.baseline is None else f"{value.baseline:.3f}"
        return replace(made, below=f"chance {chance}")
    if key in _RATES:
        return rate(value)
    if value is None:
        return Cell("unknown", about="not known; this is not zero")
    digits = 0 if key == "tokens" else 2
    if value.low is None or value.high is None:
        return Cell(f"{value.value:.{digits}f}", sort=value.value)
    ends = f"{value.low:.{digits}f} – {value.high:.{digits}f}"
    return Cell(f"{value.value:.{digits}f}", ends, value.value)
