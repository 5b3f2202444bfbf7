"""The records, prices, spending and paired answers of a run, grouped for its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date as Date  # noqa: N812 - a field is called `date`
from typing import Any, Literal

from phi2sdk.analysis.agreement import Pairing, pair_up
from phi2sdk.analysis.cost import Spend, spend_of
from phi2sdk.analysis.metrics import Metric, latencies
from phi2sdk.measure.folder import Run
from phi2sdk.measure.gpu_power import price_of
from phi2sdk.measure.records import Record
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.pricing.price import Price
from phi2sdk.report.options import Analysis

Records = Mapping[str, Sequence[Record]]


@dataclass(frozen=True, slots=True)
class Measured:
    """The records of a run, and the values that several subjects of the report derive from them.

    Attributes:
        run: The run.
        tokenizer: The reference tokenizer, which counts the tokens of all targets.
        analysis: The options of the analysis.
        greedy: The measured requests by target, in the order of the prompts.
        warmups: The requests before the run.
        sampled: The requests of the sampled arm.
        prices: The price of each target; ``None`` if it has none.
        spends: The spending of each target; ``None`` if it is not known.
    """

    run: Run
    tokenizer: ReferenceTokenizer
    analysis: Analysis
    greedy: Records
    warmups: Records
    sampled: Records
    prices: Mapping[str, Price | None]
    spends: Mapping[str, Spend | None]
    _pairings: dict[tuple[str, str], Pairing] = field(default_factory=dict)

    @classmethod
    def of(
        cls, run: Run, tokenizer: ReferenceTokenizer, analysis: Analysis | None = None
    ) -> Measured:
        """Group the records of a run, and add up their cost."""
        names = list(run.configuration["targets"])
        arms: dict[str, dict[str, list[Record]]] = {
            arm: {name: [] for name in names} for arm in ("warmup", "greedy", "sampled")
        }
        for record in run.recorded.done.values():
            arms[record.key.arm][record.key.target].append(record)
        for records in arms["greedy"].values():
            records.sort(key=lambda r: (r.key.prompt, r.key.repetition))
        prices = {name: price_of(run, name, arms["greedy"][name]) for name in names}
        spends: dict[str, Spend | None] = {}
        for name, price in prices.items():
            records, warmups = arms["greedy"][name], arms["warmup"][name]
            spends[name] = (
                spend_of(price, records, run.prompts.__getitem__, tokenizer, warmups)
                if price is not None and records
                else None
            )
        return cls(
            run,
            tokenizer,
            analysis or Analysis(),
            arms["greedy"],
            arms["warmup"],
            arms["sampled"],
            prices,
            spends,
        )

    @property
    def latencies(self) -> tuple[Metric, ...]:
        """The latencies of a report, in its order."""
        return latencies(self.tokenizer)

    @property
    def targets(self) -> Mapping[str, Mapping[str, Any]]:
        """The configuration of each target."""
        found: Mapping[str, Mapping[str, Any]] = self.run.configuration["targets"]
        return found

    @property
    def demo(self) -> bool:
        """True if the run compared the targets of the demo, whose prices are examples."""
        return bool(self.run.configuration.get("demo"))

    @property
    def reference(self) -> str | None:
        """The target that the others are compared with."""
        found: str | None = self.run.configuration.get("reference")
        return found

    @property
    def basis(self) -> Literal["busy", "window"]:
        """The time that throughput refers to: busy time, because a sequential load has gaps."""
        return "busy" if self.run.configuration["load"]["kind"] == "sequential" else "window"

    @property
    def unique_prefix(self) -> bool:
        """True if each repetition had another prompt, so that repetitions cannot be compared."""
        return bool(self.run.configuration.get("unique_prefix"))

    @property
    def began(self) -> Date:
        """The day on which the run began."""
        return Date.fromisoformat(self.run.info["started"][:10])

    def simulated(self, name: str) -> bool:
        """Return whether an emulator answers for a target."""
        return bool(self.targets[name]["simulated"])

    def pairing(self, a: str, b: str) -> Pairing:
        """Return the greedy answers of two targets, paired by prompt and repetition."""
        if (a, b) not in self._pairings:
            self._pairings[a, b] = pair_up(self.greedy[a], self.greedy[b])
        return self._pairings[a, b]
