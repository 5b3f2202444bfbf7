"""The command line of ``phi2 evaluate``, which measures accuracy on benchmark tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phi2sdk.cli.budget_prompt import ask
from phi2sdk.cli.errors import DONE, FAILED, INTERRUPTED, REQUIREMENT_FAILS, leaving_at_once
from phi2sdk.cli.options import TargetConfig, complete_targets, flag, panel
from phi2sdk.cli.output import console, print_document, print_table
from phi2sdk.cli.session import command_to_resume, session
from phi2sdk.cli.trust import ask_first
from phi2sdk.errors import ConfigurationError
from phi2sdk.report.format import dollars
from phi2sdk.text import for_terminal

if TYPE_CHECKING:
    from rich.console import Console

    from phi2sdk.evaluate import Estimate, Evaluation, EvaluationSession
    from phi2sdk.report.evaluation_schema import EvaluationReport

_target, _tasks, _load = panel("Target"), panel("Tasks"), panel("Load")
_cost, _output = panel("Cost"), panel("Output")


def evaluate(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[fetch TASK...]",
            help="Download the data of these tasks, and evaluate nothing.",
            show_default=False,
        ),
    ] = None,
    target: Annotated[
        list[str] | None,
        _target(
            "--target",
            "-t",
            metavar="NAME",
            help="Target of phi2.toml, or a backend; repeatable (default: local).",
            autocompletion=complete_targets,
        ),
    ] = None,
    config: TargetConfig = None,
    tasks: Annotated[
        list[str] | None,
        _tasks(metavar="NAME,NAME", help="Tasks and groups: those of lm_eval, and demo_*."),
    ] = None,
    data: Annotated[
        Path | None,
        _tasks(
            metavar="DIR",
            help="Folder with the data: TASK/SPLIT.jsonl or .parquet (default: the bundled data, "
            "and the cache of the hub).",
        ),
    ] = None,
    limit: Annotated[
        int | None, _tasks(metavar="N", help="Largest number of items of each task (default: all).")
    ] = None,
    shots: Annotated[
        int | None,
        _tasks(metavar="K", help="Examples in each prompt (default: those of each task)."),
    ] = None,
    unsafe_code: Annotated[
        bool,
        flag(
            _tasks,
            "--unsafe-code",
            help="Execute programs of the model outside of the sandbox, with your rights.",
        ),
    ] = False,
    concurrency: Annotated[
        int | None,
        _load(
            metavar="N",
            help="Largest number of requests in flight of a target (default: 16, or twice the "
            "slots of a local target).",
        ),
    ] = None,
    budget_usd: Annotated[
        float | None,
        _cost(
            metavar="USD",
            help="Largest cost of all calls to providers, never exceeded (default: none).",
        ),
    ] = None,
    yes: Annotated[
        bool, flag(_cost, "--yes", "-y", help="Agree to the estimate in advance.")
    ] = False,
    output: Annotated[
        Path | None,
        _output(
            "--output",
            "-o",
            "--out",
            metavar="FOLDER",
            help="Folder of the run (default: phi2-evaluation-DATE-TIME).",
        ),
    ] = None,
    resume: Annotated[
        bool, flag(_output, "--resume", help="Continue the run in --output.")
    ] = False,
    require: Annotated[
        list[str] | None,
        _output(
            metavar="RULE",
            help="Exit with status 1 unless the rule holds, such as "
            "'evaluations.boolq.local.accuracy > 0.8'; repeatable.",
        ),
    ] = None,
    json: Annotated[bool, flag(_output, "--json", help="Print the report as JSON.")] = False,
    quiet: Annotated[
        bool, flag(_output, "--quiet", "-q", help="Print errors and results only.")
    ] = False,
) -> None:
    """Measure the accuracy of targets on benchmark tasks, and compare it item by item.

    Prompts and metrics are those of lm_eval. Answers are recorded as they arrive.
    If the command is interrupted or killed, repeat it with --resume: only requests
    in flight are sent again.

    Exit status:
      0    Every question has an answer, and every requirement holds.
      1    A requirement does not hold.
      2    The usage, the configuration or the data are wrong; nothing was sent.
      3    Some questions failed, or the budget or repeated failures stopped the run.
      130  Interrupted; the command that resumes the run is printed.
    """
    say = console(stderr=True)
    say.soft_wrap, say.quiet = True, quiet
    if words:
        _fetch(words)
        return
    if not tasks:
        raise ConfigurationError("no task is named: give --tasks, such as --tasks demo_yes_no")
    with leaving_at_once():
        from phi2sdk.evaluate import EvaluationSession
        from phi2sdk.evaluate.sandbox import UNSAFE
        from phi2sdk.report.requirements import Requirement

    if unsafe_code:
        say.print(f"{UNSAFE}.")
    targets = target or ["local"]
    if resume and output is None:
        raise ConfigurationError("--resume needs the folder of the run: give --output FOLDER")
    ask_first(targets, config)
    folder = output or Path(f"phi2-evaluation-{datetime.now():%Y%m%d-%H%M%S}")
    run = EvaluationSession(
        targets=targets,
        tasks=[name.strip() for several in tasks for name in several.split(",") if name.strip()],
        out=folder,
        config=config,
        data=data,
        limit=limit,
        shots=shots,
        budget_usd=budget_usd,
        concurrency=concurrency,
        resume=resume,
        unsafe_code=unsafe_code,
        requirements=tuple(Requirement.parse(text) for text in require) if require else None,
    )
    result = asyncio.run(_run(run, say, agreed=yes))
    if result is None:
        say.print("Interrupted; the requests in flight were abandoned, and are sent again.")
    else:
        _show(result, say)
        show_result(result.report, folder, json=json)
    if result is None or result.stopped:
        given = "" if output else f" --output {folder}"
        command = command_to_resume(resume=resume)
        say.print(for_terminal(f"To continue the run: {command}{given}"))
    if result is None or result.stopped == "interrupted":
        raise typer.Exit(INTERRUPTED)
    if any(not one.holds for one in result.report.requirements):
        raise typer.Exit(REQUIREMENT_FAILS)
    raise typer.Exit(FAILED if result.failed or result.stopped else DONE)


def show_result(report: EvaluationReport, folder: Path, *, json: bool) -> None:
    """Print the report of an evaluation.

    Args:
        report: The report.
        folder: The folder of the evaluation.
        json: Print the report as JSON, and on standard error the requirements that it misses.
    """
    from phi2sdk.report.evaluation_files import show_evaluation
    from phi2sdk.report.requirements import requirement_line

    if not json:
        show_evaluation(report, console(), folder)
        return
    print_document(report.to_json())
    for one in report.requirements:
        if not one.holds:
            typer.echo(for_terminal(requirement_line(one)), err=True)


def _fetch(words: Sequence[str]) -> None:
    """Download the data of tasks.

    Raises:
        ConfigurationError: The words are not ``fetch`` and names of tasks.
    """
    action, *names = words
    if action != "fetch" or not names:
        raise ConfigurationError(
            f"{action!r} is not an action: write phi2 evaluate fetch TASK, or name tasks with "
            "--tasks"
        )
    with leaving_at_once():
        from phi2sdk.evaluate import fetch

    found = fetch([name for several in names for name in several.split(",") if name])
    rows = [(name, f"{size:,}") for name, size in found.items()]
    print_table(("task", "items"), rows, console(), right=("items",))


async def _run(run: EvaluationSession, say: Console, *, agreed: bool) -> Evaluation | None:
    async with run:
        forecast = await run.prepare()
        calls = sum(one.calls for one in forecast)
        for note in run.notes:
            say.print(for_terminal(note))
        if calls:
            _show_estimate(run, forecast, say)
            if not agreed:
                ask("the evaluation", f"Ask {calls:,} questions?", say)
        return await session(run, calls, say, "questions")


def _show_estimate(run: EvaluationSession, forecast: Sequence[Estimate], say: Console) -> None:
    for one in forecast:
        cost = "The cost is unknown, because the target has no price."
        if one.usd is not None:
            cost = f"They cost about {dollars(one.usd)}"
            most = one.most_usd
            cost += "." if most is None else f", and at most {dollars(most)} without retries."
        say.print(
            for_terminal(
                f"{one.target}: {one.calls:,} questions with about {one.input_tokens:,} input "
                f"tokens and at most {one.output_tokens:,} output tokens. {cost}"
            )
        )
    if run.budget_usd is not None:
        before = run.before_usd
        spent = f"; {dollars(before)} are charged already" * (before > 0)
        say.print(f"The run never exceeds its budget of {dollars(run.budget_usd)}{spent}.")


def _show(result: Evaluation, say: Console) -> None:
    cost = "" if result.usd is None else f" Cost of the answers: {dollars(result.usd)}."
    say.print(
        f"{result.answered:,} of {result.rows:,} questions have an answer, {result.failed:,} have "
        f"an error. {result.calls:,} calls were recorded.{cost}"
    )
    if result.again:
        say.print(
            f"At most {result.again:,} calls were made twice, because a process ended before the "
            "first answer was recorded."
        )
    if result.stopped == "budget":
        say.print("The budget stopped the run. Continue it with a larger --budget-usd.")
    elif result.stopped == "failures":
        say.print(
            for_terminal(f"The run stopped, because many questions failed in a row: {result.error}")
        )
    elif result.stopped:
        say.print("Interrupted.")
