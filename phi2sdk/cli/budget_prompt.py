"""``--budget-usd`` on the command line: the user sees what a run may cost, and agrees to it."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING

from phi2sdk.errors import ConfigurationError
from phi2sdk.report.format import dollars

if TYPE_CHECKING:
    from rich.console import Console

    from phi2sdk.measure.comparison import Comparison
    from phi2sdk.measure.journal import Recorded
    from phi2sdk.measure.run_budget import RunBudget


class BudgetPrompt:
    """A cap on the cost of a run that the user agrees to before anything is sent.

    Args:
        usd: The cap in US dollars.
        agreed: True if the user agreed already, with ``--yes``.
        say: The console for questions and results.
    """

    def __init__(self, usd: float, agreed: bool, say: Console) -> None:
        self._usd = usd
        self._agreed = agreed
        self._say = say
        self._comparison: Comparison | None = None
        self._budget: RunBudget | None = None

    @property
    def stopped(self) -> bool:
        """True if the budget ended the run."""
        return self._budget is not None and self._budget.stopped

    def agree(self, comparison: Comparison, recorded: Recorded) -> RunBudget:
        """Show what the run may cost, and ask for consent.

        Raises:
            ConfigurationError: A target has no price, or the user does not agree, or there is no
                terminal to ask on.
        """
        budget = comparison.budget(self._usd, recorded)
        forecast = comparison.forecast(budget, recorded)
        before = budget.spending.spent
        spent = (
            f" Earlier sessions spent {dollars(before)} of it, with unfinished requests counted "
            "at their maximum cost."
            if before
            else ""
        )
        cost = (
            f"{forecast.requests} requests cost at most {dollars(forecast.usd)}, or at most "
            f"{dollars(forecast.worst)} with all retries."
            if comparison.counted
            else "The number of requests depends on the latency of the targets."
        )
        self._say.print(f"{cost} The run never exceeds its budget of {dollars(self._usd)}.{spent}")
        if not comparison.counted or forecast.usd > budget.spending.left:
            self._say.print(
                "The budget may stop the run before its end; the run can be continued with a "
                "larger budget."
            )
        if not self._agreed:
            ask("the budget", f"Spend up to {dollars(self._usd)}?", self._say)
        self._comparison, self._budget = comparison, budget
        return budget

    def tell(self) -> None:
        """Print what was charged to the budget."""
        if self._budget is None:
            return
        self._say.print(
            f"Charged to the budget: {dollars(self._charged)} of {dollars(self._usd)}. A request "
            "without reported usage is charged at its maximum cost."
        )
        if self.stopped:
            self._say.print("The budget stopped the run.")

    def enough(self, recorded: Recorded) -> float | None:
        """Return a budget that suffices for the rest of the run, in US dollars.

        Args:
            recorded: All that is recorded of the run.

        Returns:
            ``None`` if the budget did not stop the run.
        """
        if self._budget is None or self._comparison is None or not self.stopped:
            return None
        if not self._comparison.counted:
            return 2 * self._usd
        rest = self._comparison.forecast(self._budget, recorded).worst
        return _rounded_up(self._charged + rest)

    @property
    def _charged(self) -> float:
        assert self._budget is not None
        return self._budget.spending.spent + self._budget.spending.held


def ask(what: str, question: str, say: Console) -> None:
    """Ask on the terminal before money is spent.

    Args:
        what: What needs the consent, such as ``the budget``.
        question: The question.
        say: The console.

    Raises:
        ConfigurationError: The user does not agree, or there is no terminal to ask on.
    """
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"{what} needs your consent, and there is no terminal to ask on: add --yes to agree to "
            "it"
        )
    say.print(f"{question} [y/N] ", end="")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigurationError(f"you did not agree to {what}: nothing was sent")


def _rounded_up(usd: float) -> float:
    """The next larger number with two significant digits; sums of costs are not exact."""
    step = 10.0 ** (math.floor(math.log10(usd)) - 1)
    return float(f"{(math.floor(usd / step + 1e-6) + 1) * step:.6g}")
