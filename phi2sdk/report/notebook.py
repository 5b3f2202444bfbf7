"""The report in a notebook: small HTML that takes the colors of the notebook's page."""

from __future__ import annotations

from phi2sdk.notebook import SMALL, block, line, table
from phi2sdk.report.notes import ON_SCREEN, notes
from phi2sdk.report.overview import decision_lines, failures, legend, overview, simulated
from phi2sdk.report.schema import Report


class ShownReport(Report):
    """A report that a notebook shows as the first screen: validity, decision, table, notes."""

    def _repr_html_(self) -> str:
        section = overview(self)
        return block(
            line(self.validity.sentence),
            line(simulated(self) or ""),
            *(line(text, "font-weight:bold") for text in decision_lines(self)[:1]),
            *(line(text) for text in decision_lines(self)[1:]),
            table(
                [(column.title, column.meaning) for column in section.columns],
                [[cell.text for cell in row] for row in section.rows],
            ),
            line(legend(self), SMALL),
            *(line(text) for text in notes(self)[:ON_SCREEN]),
            *(line(text[:300], SMALL) for text in failures(self)),
        )
