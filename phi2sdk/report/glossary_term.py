"""A term of the glossary."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Term:
    """A term and its definition.

    Attributes:
        name: The term, as the tables and the text write it.
        meaning: The definition: one complete sentence that can be read alone.
        more: Further sentences, for readers of the glossary.
        formula: How the number is computed, if it has a formula.
    """

    name: str
    meaning: str
    more: str = ""
    formula: str = ""

    @property
    def text(self) -> str:
        """The whole definition: meaning, further sentences and formula."""
        formula = f"Formula: {self.formula}." if self.formula else ""
        return " ".join(part for part in (self.meaning, self.more, formula) if part)
