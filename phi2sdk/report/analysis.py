"""What is asked of the numbers once they are there; asking otherwise needs no new run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from phi2sdk.errors import ConfigurationError
from phi2sdk.report.require import Requirement

__all__ = ["Analysis"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """How to judge.

    Attributes:
        margin: Ratios from ``1 / (1 + margin)`` to ``1 + margin`` count as equivalent.
        slo: Service levels: seconds by metric.
        requirements: What must hold.

    Raises:
        ConfigurationError: The margin is not above 0.
    """

    margin: float = 0.05
    slo: Mapping[str, float] = field(default_factory=dict)
    requirements: tuple[Requirement, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < self.margin < 10:
            raise ConfigurationError(f"margin {self.margin:g} must be above 0, as in 5%")

    def check(self, targets: Sequence[str]) -> None:
        """See whether every requirement names something that a report has.

        Raises:
            ConfigurationError: One does not; the message lists near ones.
        """
        for requirement in self.requirements:
            requirement.check(targets)
