"""What follows the table of a report, in order, the same on the terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from phi2sdk.report import (
    agreement as agreement_words,
)
from phi2sdk.report import (
    identity as identity_words,
)
from phi2sdk.report import (
    money_words,
)
from phi2sdk.report import (
    quality as quality_words,
)
from phi2sdk.report.money_words import Section
from phi2sdk.report.schema import Report

__all__ = ["sections"]


def sections(report: Report) -> Iterator[Section]:
    """Who is the same model, who answers alike, how well, what it costs, the decision last."""
    yield from identity_words.sections(report)
    yield from agreement_words.sections(report)
    yield from quality_words.sections(report)
    yield from money_words.sections(report)
