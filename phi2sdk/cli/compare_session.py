"""One session of a comparison on the command line: questions, progress, Ctrl-C, exit status."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from phi2sdk.cli.compare_run import Asked
from phi2sdk.cli.errors import DONE, FAILED, REQUIREMENT_FAILS
from phi2sdk.cli.progress import Planned, live
from phi2sdk.cli.resume import first_run, resume_command
from phi2sdk.cli.trust import ask_first
from phi2sdk.text import for_terminal

if TYPE_CHECKING:
    from rich.console import Console

    from phi2sdk.cli.budget_prompt import BudgetPrompt
    from phi2sdk.measure.comparison import Comparison
    from phi2sdk.measure.journal import Recorded
    from phi2sdk.pipeline import ComparisonRun
    from phi2sdk.report.schema import Report

T = TypeVar("T")

NO_TARGET = "No target is named and none is configured, so this is the demo."


def begin(asked: Asked, run: ComparisonRun, say: Console) -> None:
    """Check what can be checked before anything is opened, and ask for missing confirmations.

    Raises:
        ConfigurationError: Something must be corrected first.
    """
    names = run.check()
    if not run.demo:
        ask_first(names, asked.options.config)
        return
    if not asked.named:
        say.print(NO_TARGET)


def advise(asked: Asked, program: str, say: Console, *, more: float | None = None) -> None:
    """Print the command that continues the run.

    Args:
        asked: The run.
        program: The command as it was called.
        say: The console.
        more: A budget with which the run can end, in US dollars.
    """
    info = first_run(asked.folder).read_info()
    command = resume_command(program, asked.options, info, budget_usd=more)
    say.print(for_terminal(f"To continue the run: {command}"))


async def measure(
    run: ComparisonRun, say: Console, cap: BudgetPrompt | None = None
) -> tuple[Report | None, bool]:
    """Measure, and return the report of what was recorded and whether the run was interrupted."""
    interrupted = False
    try:
        await run.measure(
            agree=None if cap is None else cap.agree,
            watch=lambda comparison, recorded: live(
                say, _planned(comparison, recorded, priced=not run.demo)
            ),
            notice=partial(say.print, style="dim") if say.is_terminal else None,
        )
    except asyncio.CancelledError:
        interrupted = True
    return run.report(), interrupted


def _planned(comparison: Comparison, recorded: Recorded, *, priced: bool) -> dict[str, Planned]:
    """Return the planned requests of each target; the demo's example prices are left out."""
    left = Counter(key.target for key in comparison.left(recorded))
    done = Counter(key.target for key in recorded.done)
    return {
        name: Planned(
            left[name] if comparison.counted else None,
            done[name],
            candidate.price if priced else None,
        )
        for name, candidate in comparison.candidates.items()
    }


def status_of(report: Report, *, stopped: bool = False) -> int:
    """Return the exit status that a report stands for.

    Args:
        report: Of the run.
        stopped: Whether the budget stopped the run.
    """
    if any(not result.holds for result in report.requirements):
        return REQUIREMENT_FAILS
    failed = stopped or report.failed or not report.validity.valid
    return FAILED if failed else DONE


def interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine on an event loop of its own; Ctrl-C cancels it, so that it ends cleanly."""

    async def run() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with suppress(NotImplementedError, ValueError, RuntimeError):
            for name in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(name, task.cancel)
        return await work

    return asyncio.run(run())
