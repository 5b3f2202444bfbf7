"""The command line of the comparison: ``phi2 compare`` and ``python -m phi2sdk.compare``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from phi2sdk.cli.compare_options import CompareOptions
from phi2sdk.cli.errors import INTERRUPTED, leaving_at_once
from phi2sdk.cli.options import IN_THE_TABLE, advice_as_options, single_command, takes
from phi2sdk.cli.output import console, log_to, print_document

if TYPE_CHECKING:
    from phi2sdk.cli.compare_run import Asked
    from phi2sdk.report.schema import Report


@takes(CompareOptions)
@advice_as_options(on_unsupported=IN_THE_TABLE)
def compare(options: CompareOptions, context: typer.Context) -> None:
    """Compare targets on the same prompts: latency, cost, and output agreement.

    Exit status:
      0    The comparison is done, and every requirement holds.
      1    A requirement does not hold.
      2    The usage or the configuration is wrong; nothing was sent.
      3    Requests failed, the run is invalid, or the budget stopped it.
      130  Interrupted; the command that resumes the run is printed.
    """
    with leaving_at_once():
        from phi2sdk.cli.compare_run import Asked
        from phi2sdk.cli.sweep import sweep

    say = Console(stderr=True, soft_wrap=True, quiet=options.quiet, markup=False, highlight=False)
    if options.verbose:
        log_to(say)
    given = {
        name
        for name in context.params
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    }
    asked = Asked.of(options, given, say.print)
    work = sweep if asked.options.sweep else _compare
    raise typer.Exit(work(asked, context.command_path, say))


app = single_command(compare, "python -m phi2sdk.compare paragraphs.txt --target gpu --output run/")


def _compare(asked: Asked, program: str, say: Console) -> int:
    """Make one run, print its report, and return the exit status."""
    from phi2sdk.cli.budget_prompt import BudgetPrompt
    from phi2sdk.cli.compare_session import advise, begin, interruptible, measure, status_of
    from phi2sdk.measure.folder import RunFolder

    options, run = asked.options, asked.run(asked.load())
    begin(asked, run, say)
    cap = None
    if options.budget_usd is not None:
        cap = BudgetPrompt(options.budget_usd, options.yes, say)
    report, interrupted = interruptible(measure(run, say, cap))
    if report is not None:
        _show(report, run.out, json=options.json)
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


def _show(report: Report, folder: Path, *, json: bool) -> None:
    if json:
        print_document(report.to_json())
        return
    from phi2sdk.report.terminal import show

    show(report, console(), folder)
