"""The options of the analysis of a run, which can be changed without a new run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from phi2sdk.analysis.baseline import Baseline, find_baseline
from phi2sdk.analysis.breakeven import HIGHEST
from phi2sdk.analysis.text_similarity import check_encoder
from phi2sdk.errors import ConfigurationError
from phi2sdk.pricing.book import PriceBook, price_book
from phi2sdk.report.requirements import Requirement

__all__ = ["Analysis"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """The options of an analysis.

    Attributes:
        margin: Ratios from ``1 / (1 + margin)`` to ``1 + margin`` count as equivalent.
        slo: The service levels, in seconds by metric.
        requirements: The rules that must hold.
        volume: Answers per day at which costs are compared; ``None``: only busy time is counted.
        baseline: A model of the price book, or a target, to compare costs with.
        tokenizer_ratio: The tokens of the baseline per measured token.
        book: The price book.
        quality_model: The folder of a sentence-transformers model, which compares answers with
            the reference texts of the input by their embeddings.

    Raises:
        ConfigurationError: The margin or the volume is not above 0.
    """

    margin: float = 0.05
    slo: Mapping[str, float] = field(default_factory=dict)
    requirements: tuple[Requirement, ...] = ()
    volume: float | None = None
    baseline: str | None = None
    tokenizer_ratio: float = 1.0
    book: PriceBook = field(default_factory=price_book)
    quality_model: Path | None = None

    def __post_init__(self) -> None:
        if not 0 < self.margin < 10:
            raise ConfigurationError(f"margin {self.margin:g} must be above 0, as in 5%")
        if self.volume is not None and not 0 < self.volume <= HIGHEST:
            raise ConfigurationError(
                f"volume {self.volume:g} must be above 0 and at most {HIGHEST:g} a day"
            )

    def check(self, targets: Sequence[str]) -> None:
        """Check that the requirements, the baseline and the quality model exist.

        Raises:
            ConfigurationError: One of them does not exist, with similar names in the message; or
                the package that reads the quality model is not installed.
        """
        for requirement in self.requirements:
            requirement.check(targets)
        self.found_baseline(targets)
        if self.quality_model is not None:
            check_encoder(self.quality_model)

    def found_baseline(self, targets: Sequence[str]) -> Baseline | None:
        """Return the baseline, if one is named.

        Raises:
            ConfigurationError: The baseline is neither a target nor in the price book.
        """
        if self.baseline is None:
            return None
        return find_baseline(
            self.baseline, self.book, targets, tokenizer_ratio=self.tokenizer_ratio
        )
