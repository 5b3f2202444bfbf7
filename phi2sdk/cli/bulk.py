"""The command line of ``phi2 bulk``, which answers each row of a large input."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from phi2sdk.cli.budget_prompt import ask
from phi2sdk.cli.errors import DONE, FAILED, INTERRUPTED, leaving_at_once
from phi2sdk.cli.options import (
    IN_THE_TABLE,
    MaxTokens,
    Seed,
    TargetConfig,
    Temperature,
    TopP,
    advice_as_options,
    complete_formats,
    complete_targets,
    flag,
    panel,
)
from phi2sdk.cli.output import console
from phi2sdk.cli.session import command_to_resume, session
from phi2sdk.cli.trust import ask_first
from phi2sdk.prompts import FORMATS, known_format
from phi2sdk.report.format import dollars
from phi2sdk.sampling import Sampling
from phi2sdk.text import for_terminal

if TYPE_CHECKING:
    from rich.console import Console

    from phi2sdk.bulk import BulkResult, BulkRun, Estimate

_input, _target, _load = panel("Input"), panel("Target"), panel("Load")
_cost, _output = panel("Cost"), panel("Output")


@advice_as_options(on_unsupported=IN_THE_TABLE)
def bulk(
    input: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="Texts: a .jsonl, .csv or .parquet file, a pattern of such files in quotation "
            "marks, or - for JSON Lines on standard input.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="Folder of the run.", show_default=False)
    ],
    column: Annotated[
        str, _input(metavar="NAME", help="Column with the texts (default: text).")
    ] = "text",
    id: Annotated[
        str | None,
        _input(
            metavar="NAME",
            help="Column with the ids (default: id, or the number of the row without one).",
        ),
    ] = None,
    task: Annotated[
        Literal["summarize", "prompt"],
        _input(
            metavar="NAME",
            help="Task for each text: summarize it, or send it as a prompt (default: summarize).",
        ),
    ] = "summarize",
    format: Annotated[
        str,
        _input(
            metavar="NAME",
            help=f"Format of --task prompt: {', '.join(FORMATS)} (default: instruct).",
            autocompletion=complete_formats,
        ),
    ] = "instruct",
    allow_control_tokens: Annotated[
        bool, flag(_input, "--allow-control-tokens", help="Allow <|endoftext|> in the texts.")
    ] = False,
    target: Annotated[
        list[str] | None,
        _target(
            "--target",
            "-t",
            metavar="NAME",
            help="Target of phi2.toml, or a backend; several are tried in this order for each row "
            "(default: local).",
            autocompletion=complete_targets,
        ),
    ] = None,
    config: TargetConfig = None,
    max_tokens: MaxTokens = 256,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    seed: Seed = None,
    concurrency: Annotated[
        int | None,
        _load(
            metavar="N",
            help="Largest number of requests in flight of a process (default: 32, or twice the "
            "slots of a local target).",
        ),
    ] = None,
    rate: Annotated[
        str | None,
        _load(metavar="R/s", help="Largest number of calls, such as 50/s (default: no limit)."),
    ] = None,
    ray: Annotated[
        str | None,
        _load(
            metavar="local|auto|ADDRESS",
            help="Send from the nodes of a Ray cluster, one process for each node, or for each GPU "
            "with a local target (default: send from this process).",
        ),
    ] = None,
    budget_usd: Annotated[
        float | None,
        _cost(metavar="USD", help="Largest cost of the run, never exceeded (default: none)."),
    ] = None,
    yes: Annotated[
        bool, flag(_cost, "--yes", "-y", help="Agree to the estimate in advance.")
    ] = False,
    output_format: Annotated[
        Literal["jsonl", "parquet"] | None,
        _output(
            metavar="jsonl|parquet",
            help="Format of the output (default: parquet if the input is Parquet, else jsonl).",
        ),
    ] = None,
    resume: Annotated[
        bool,
        flag(
            _output, "--resume", help="Continue the run in OUT; rows with an error are tried again."
        ),
    ] = False,
    quiet: Annotated[
        bool, flag(_output, "--quiet", "-q", help="Print errors only, no progress.")
    ] = False,
) -> None:
    """Summarize each row of a large input, and write one row of output for each id.

    Answers are recorded as they arrive. If the command is interrupted or killed,
    repeat it with --resume: only requests in flight are sent again.

    Exit status:
      0    Every row has an answer.
      2    The usage, the configuration or the input is wrong; nothing was sent.
      3    Some rows failed, or the budget or repeated failures stopped the run.
      130  Interrupted; the command that resumes the run is printed.
    """
    with leaving_at_once():
        from phi2sdk.bulk import BulkRun, Question
        from phi2sdk.client.limits import parse_rate

    say = console(stderr=True)
    say.soft_wrap, say.quiet = True, quiet
    targets = target or ["local"]
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    ask_first(targets, config)
    run = BulkRun(
        input=input,
        out=out,
        targets=targets,
        question=Question(task, known_format(format), sampling, allow_control_tokens),
        config=config,
        column=column,
        id=id,
        concurrency=concurrency,
        rate=None if rate is None else parse_rate(rate),
        budget_usd=budget_usd,
        output_format=output_format,
        resume=resume,
        ray=ray,
    )
    forecast = run.prepare()  # before the loop runs, which would keep Ctrl-C from the reading
    if forecast.rows:
        _show_estimate(run, forecast, say)
        if not yes:
            ask("the run", f"Send {forecast.rows:,} requests?", say)
    result = asyncio.run(session(run, forecast.rows, say, "rows"))
    if result is None:
        say.print("Interrupted; the requests in flight were abandoned, and are sent again.")
    else:
        _show(result, say)
    if result is None or result.stopped:
        say.print(for_terminal(f"To continue the run: {command_to_resume(resume=resume)}"))
    if result is None or result.stopped == "interrupted":
        raise typer.Exit(INTERRUPTED)
    raise typer.Exit(FAILED if result.failed or result.stopped else DONE)


def _show_estimate(run: BulkRun, forecast: Estimate, say: Console) -> None:
    if forecast.usd is None:
        cost = "The cost is unknown, because a target has no price or is charged by time."
    else:
        cost = f"They cost about {dollars(forecast.usd)} if each answer has all its tokens"
        most = forecast.most_usd
        cost += "." if most is None else f", and at most {dollars(most)} without retries."
    say.print(
        f"{forecast.rows:,} rows to send: about {forecast.input_tokens:,} input tokens and at most "
        f"{forecast.output_tokens:,} output tokens. {cost}"
    )
    if run.budget_usd is None:
        return
    spent = f"; {dollars(forecast.before_usd)} are charged already" * (forecast.before_usd > 0)
    say.print(f"The run never exceeds its budget of {dollars(run.budget_usd)}{spent}.")


def _show(result: BulkResult, say: Console) -> None:
    cost = "" if result.usd is None else f" Cost of the answers: {dollars(result.usd)}."
    say.print(
        f"{result.answered:,} of {result.rows:,} rows have an answer, {result.failed:,} have an "
        f"error. {result.calls:,} calls were recorded.{cost}"
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
            for_terminal(f"The run stopped, because many rows failed in a row: {result.error}")
        )
    elif result.stopped:
        say.print("Interrupted.")
    if result.output is not None:
        retry = ". Rows with an error are tried again with --resume" if result.failed else ""
        say.print(for_terminal(f"Output: {result.output}{retry}."))
