"""The command line of the comparison: ``phi2 compare`` and ``python -m phi2sdk.compare``."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import typer
from rich.console import Console

from phi2sdk.cli.compare_options import CompareOptions, takes
from phi2sdk.cli.errors import DONE, FAILED, INTERRUPTED, REQUIREMENT_FAILS, leaving_at_once
from phi2sdk.cli.options import IN_THE_TABLE, advice_as_options
from phi2sdk.cli.output import console, log_to, print_document
from phi2sdk.cli.trust import ask_first
from phi2sdk.text import for_terminal

if TYPE_CHECKING:
    from phi2sdk.cli.budget_prompt import BudgetPrompt
    from phi2sdk.cli.compare_run import Asked
    from phi2sdk.cli.progress import Planned
    from phi2sdk.measure.comparison import Comparison
    from phi2sdk.measure.journal import Recorded
    from phi2sdk.pipeline import ComparisonRun
    from phi2sdk.report.schema import Report

__all__ = ["app", "compare", "measure"]

T = TypeVar("T")

NO_TARGET = "No target is named and none is configured, so this is the demo. "


@takes(CompareOptions)
@advice_as_options(on_unsupported=IN_THE_TABLE)
def compare(options: CompareOptions, context: typer.Context) -> None:
    """Compare targets on the same prompts: latency, cost, and output agreement.

    Exit status:
      0    The comparison is done, and every requirement holds.
      1    A requirement does not hold.
      2    The usage or the configuration is wrong; nothing was sent.
      3    Requests failed, the run is invalid, or the budget stopped it.
      130  Interrupted; the command that continues the run is printed.
    """
    with leaving_at_once():
        from phi2sdk.cli.compare_run import Asked

    say = Console(stderr=True, soft_wrap=True, quiet=options.quiet, markup=False, highlight=False)
    if options.verbose:
        log_to(say)
    given = {
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }
    asked = Asked.of(options, given, say.print)
    work = _compare
    raise typer.Exit(work(asked, context.command_path, say))


app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog="Example: python -m phi2sdk.compare paragraphs.txt --target gpu --output run/")(
    compare
)


def _compare(asked: Asked, program: str, say: Console) -> int:
    """Make one run, print its report, and return the exit status."""
    from phi2sdk.cli.budget_prompt import BudgetPrompt
    from phi2sdk.measure.folder import RunFolder

    options, run = asked.options, asked.run(asked.load())
    begin(asked, run, say)
    cap = None
    if options.budget_usd is not None:
        cap = BudgetPrompt(options.budget_usd, options.yes, say)
    report, interrupted = interruptible(measure(run, say, cap))
    if report is not None:
        _show(report, json=options.json)
        say.print(for_terminal(f"The run is in {run.out}"))
    if cap is not None:
        cap.tell()
    if interrupted:
        say.print("Interrupted." if report else "Interrupted: nothing was sent.")
    if report is not None and (interrupted or (cap and cap.stopped)):
        advise(asked, program, say, more=cap.enough(RunFolder(run.out).recorded()) if cap else None)
    if interrupted:
        return INTERRUPTED
    assert report is not None, "a run that is not interrupted has a report"
    return status_of(report, stopped=cap is not None and cap.stopped)


def begin(asked: Asked, run: ComparisonRun, say: Console) -> None:
    """Check what can be checked before anything is opened, and ask for missing confirmations.

    Raises:
        ConfigurationError: Something must be corrected first.
    """
    from phi2sdk.report.overview import DEMO

    names = run.check()
    if not run.demo:
        ask_first(names, asked.options.config)
        return
    say.print(f"{'' if asked.named else NO_TARGET}Demo: {DEMO}", style="bold")


def advise(asked: Asked, program: str, say: Console, *, more: float | None = None) -> None:
    """Print the command that continues the run.

    Args:
        asked: The run.
        program: The command as it was called.
        say: The console.
        more: A budget with which the run can end, in US dollars.
    """
    from phi2sdk.cli.resume import first_run, resume_command

    options = asked.options
    assert options.output is not None
    info = first_run(options.output).read_info()
    command = resume_command(program, options, info, budget_usd=more)
    say.print(for_terminal(f"To continue the run: {command}"))


async def measure(
    run: ComparisonRun, say: Console, cap: BudgetPrompt | None = None
) -> tuple[Report | None, bool]:
    """Measure, and return the report of what was recorded and whether the run was interrupted."""
    from phi2sdk.cli.progress import live

    interrupted = False
    try:
        await run.measure(
            agree=None if cap is None else cap.agree,
            watch=lambda comparison, recorded: live(say, _planned(comparison, recorded)),
            notice=partial(say.print, style="dim") if say.is_terminal else None,
        )
    except asyncio.CancelledError:
        interrupted = True
    return run.report(), interrupted


def _planned(comparison: Comparison, recorded: Recorded) -> dict[str, Planned]:
    from phi2sdk.cli.progress import Planned

    left = Counter(key.target for key in comparison.left(recorded))
    done = Counter(key.target for key in recorded.done)
    return {
        name: Planned(left[name] if comparison.counted else None, done[name], candidate.price)
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
    """Run a coroutine on an event loop of its own; Ctrl-C cancels it, so that it ends in order."""

    async def run() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None
        with suppress(NotImplementedError, ValueError, RuntimeError):
            for name in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(name, task.cancel)
        return await work

    return asyncio.run(run())


def _show(report: Report, *, json: bool) -> None:
    if json:
        print_document(report.to_json())
        return
    from phi2sdk.report.terminal import show

    show(report, console())
