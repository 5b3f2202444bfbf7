"""``--budget-usd`` on the command line: what a run may cost is shown, agreed to, and kept to."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from phi2sdk.errors import ConfigurationError
from phi2sdk.report.format import dollars

if TYPE_CHECKING:
    from rich.console import Console

    from phi2sdk.measure.comparison import Comparison
    from phi2sdk.measure.journal import Recorded
    from phi2sdk.measure.run_budget import RunBudget

__all__ = ["BudgetPrompt"]


class BudgetPrompt:
    """A hard cap that somebody has agreed to.

    Args:
        usd: US dollars.
        agreed: They said so already (``--yes``).
        say: Where it is told.
    """

    def __init__(self, usd: float, agreed: bool, say: Console) -> None:
        self._usd = usd
        self._agreed = agreed
        self._say = say
        self._budget: RunBudget | None = None

    @property
    def stopped(self) -> bool:
        """Whether the run ended because of it."""
        return self._budget is not None and self._budget.stopped

    def agree(self, comparison: Comparison, recorded: Recorded) -> RunBudget:
        """Show what the run may cost, and ask.

        Raises:
            ConfigurationError: A target has no price, or they do not agree, or cannot be asked.
        """
        budget = comparison.budget(self._usd, recorded)
        forecast = budget.forecast(comparison.left(recorded))
        before = budget.spending.spent
        spent = (
            f" {dollars(before)} of it are spent, open requests at their worst." if before else ""
        )
        cost = (
            f"{forecast.requests} requests cost at most {dollars(forecast.usd)}, and "
            f"{dollars(forecast.worst)} if each is tried as often as it may be."
            if comparison.counted
            else "How many requests there are depends on how fast they are answered."
        )
        self._say.print(f"{cost} The budget is {dollars(self._usd)}: it is never exceeded.{spent}")
        if not comparison.counted or forecast.usd > budget.spending.left:
            self._say.print("The run may stop before its end; it can go on with a larger budget.")
        if not self._agreed:
            self._ask()
        self._budget = budget
        return budget

    def tell(self, folder: Path) -> None:
        """Say what was spent, and how to go on where the budget ended the run."""
        if self._budget is None:
            return
        spending = self._budget.spending
        self._say.print(
            f"Charged to the budget: {dollars(spending.spent + spending.held)} of "
            f"{dollars(self._usd)}, what nobody reported at its worst case."
        )
        if self.stopped:
            self._say.print(
                "Stopped by the budget. To go on, repeat the command with the options "
                f"--resume --out {folder} and a larger --budget-usd."
            )

    def _ask(self) -> None:
        if not sys.stdin.isatty():
            raise ConfigurationError(
                "a budget is agreed to before it is spent: say --yes where nobody can be asked"
            )
        self._say.print(f"Spend up to {dollars(self._usd)}? [y/N] ", end="")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise ConfigurationError("not agreed: nothing was sent")
