"""The report in a notebook: small HTML that takes the page's own colors."""

from __future__ import annotations

from phi2sdk.notebook import SMALL, block, line, table
from phi2sdk.report.latency import verdicts
from phi2sdk.report.overview import failures, in_short, notes, overview
from phi2sdk.report.requirements import requirement_line
from phi2sdk.report.schema import Report

__all__ = ["ShownReport"]


class ShownReport(Report):
    """A report that a notebook shows as a table with its verdicts."""

    def _repr_html_(self) -> str:
        section = overview(self)
        return block(
            line(self.validity.sentence),
            table(
                [(column.title, column.meaning) for column in section.columns],
                [[cell.text for cell in row] for row in section.rows],
            ),
            *(line(text) for text in verdicts(self)),
            *(line(requirement_line(result)) for result in self.requirements),
            *(line(text[:300], SMALL) for text in failures(self)),
            *(line(text, SMALL) for text in notes(self)),
            line(in_short(self), "font-weight:bold"),
        )
