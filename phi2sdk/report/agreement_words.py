"""Who answers like whom, as a matrix and sentences, the same on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from phi2sdk.report.money_words import Section
from phi2sdk.report.schema import Report
from phi2sdk.report.schema_agreement import AgreementReport
from phi2sdk.report.words import UNKNOWN

__all__ = ["sections"]

WIDEST = 12
"""So many targets side by side fit into 80 columns."""


def sections(report: Report) -> Iterator[Section]:
    """The matrix, and why each target's answers differ from the reference's."""
    names = list(report.targets)
    if len(names) < 2 or not report.pairs:
        return
    for start in range(0, len(names), WIDEST):
        rows = [
            (f"{row} {name}", *(_cell(report, name, other) for other in names[start:][:WIDEST]))
            for row, name in enumerate(names, start=1)
        ]
        shown = range(start + 1, min(start + WIDEST, len(names)) + 1)
        yield Section(
            "Equal answers, in % (below the diagonal: edit similarity)",
            ("target", *map(str, shown)),
            rows,
            list(_lines(report)) if start + WIDEST >= len(names) else (),
        )


def _cell(report: Report, row: str, column: str) -> str:
    if row == column:
        own = report.targets[row].self_agreement
        return _percent(own, "exact_cut")
    names = list(report.targets)
    above = names.index(row) < names.index(column)
    pair = report.pairs.get(f"{row}:{column}") or report.pairs.get(f"{column}:{row}")
    return _percent(pair.agreement if pair else None, "exact_cut" if above else "edit_similarity")


def _percent(found: AgreementReport | None, what: str) -> str:
    value = getattr(found, what) if found else None
    if value is None:
        return UNKNOWN
    # Only what is all of it, or nothing of it, reads as such.
    rounded = min(99.0, max(1.0, value.value * 100)) if 0 < value.value < 1 else value.value * 100
    return f"{rounded:.0f}"


def _lines(report: Report) -> Iterator[str]:
    for name, target in report.targets.items():
        if target.diagnosis is not None:
            yield f"{name}: {target.diagnosis.sentence}"
    yield (
        "Diagonal: a target with itself, the ceiling of what it can have in common with others. "
        "Answers are cut at the stop first; edit similarity is in tokens."
    )
