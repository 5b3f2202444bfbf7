"""What is asked of the numbers once they are there; asking otherwise needs no new run."""

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
    """How to judge.

    Attributes:
        margin: Ratios from ``1 / (1 + margin)`` to ``1 + margin`` count as equivalent.
        slo: Service levels: seconds by metric.
        requirements: What must hold.
        volume: Summaries a day at which to compare costs; ``None``: busy time only.
        baseline: A model of the price book, or a target, that the others are compared with.
        tokenizer_ratio: The baseline's tokens for each token that was measured.
        book: The price book.
        quality_model: The folder of a sentence-transformers model, which gives the likeness of
            answers to the input's references by their embeddings.

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
        """See whether every requirement names something that a report has, and the baseline.

        Raises:
            ConfigurationError: One does not; the message lists near ones. The quality model is
                not there, or what reads it.
        """
        for requirement in self.requirements:
            requirement.check(targets)
        self.found_baseline(targets)
        if self.quality_model is not None:
            check_encoder(self.quality_model)

    def found_baseline(self, targets: Sequence[str]) -> Baseline | None:
        """The baseline, if one was named.

        Raises:
            ConfigurationError: It is neither a target nor in the price book.
        """
        if self.baseline is None:
            return None
        return find_baseline(
            self.baseline, self.book, targets, tokenizer_ratio=self.tokenizer_ratio
        )
