"""The command line of the comparison: ``phi2 compare`` and ``python -m phi2sdk.compare``."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console

from phi2sdk.cli.errors import DONE, FAILED, INTERRUPTED, REQUIREMENT_FAILS, leaving_at_once
from phi2sdk.cli.options import (
    IN_THE_TABLE,
    AllowControlTokens,
    Honest,
    Identity,
    IdentityModel,
    IdentityOptions,
    IdentityPrompts,
    Logprobs,
    Suspect,
    advice_as_options,
    complete_formats,
    complete_targets,
    percent,
)
from phi2sdk.cli.output import print_document
from phi2sdk.cli.trust import ask_first
from phi2sdk.errors import ConfigurationError
from phi2sdk.prompts import FORMATS, known_format
from phi2sdk.text import for_terminal

if TYPE_CHECKING:
    from phi2sdk.cli.budget_prompt import BudgetPrompt
    from phi2sdk.cli.progress import Planned
    from phi2sdk.measure.comparison import Comparison
    from phi2sdk.measure.journal import Recorded
    from phi2sdk.measure.workload import Task, Workload
    from phi2sdk.pipeline import ComparisonRun
    from phi2sdk.report.schema import Report

__all__ = ["app", "compare"]

T = TypeVar("T")

NO_TARGET = "No target is named and none is configured, so this is the demo. "


@advice_as_options(on_unsupported=IN_THE_TABLE)
def compare(
    input: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT",
            help="Paragraphs or prompts: a .jsonl, .csv or .txt file, or - for standard input. "
            "The demo brings its own.",
        ),
    ] = None,
    task: Annotated[
        Literal["summarize", "prompt"],
        typer.Option(help="Ask for a summary of each text, or send the text in --format."),
    ] = "summarize",
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            help="A target of phi2.toml or a backend; repeatable.",
            autocompletion=complete_targets,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="The configuration; phi2.toml here by default.", dir_okay=False),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            help=f"Prompt format of task prompt: {', '.join(FORMATS)}.",
            autocompletion=complete_formats,
        ),
    ] = "instruct",
    allow_control_tokens: AllowControlTokens = False,
    demo: Annotated[bool, typer.Option("--demo", help="Compare the demo's targets.")] = False,
    load: Annotated[
        Literal["sequential", "closed", "poisson"], typer.Option(help="How requests follow.")
    ] = "sequential",
    concurrency: Annotated[
        int, typer.Option(help="Requests under way for each target, with --load closed.")
    ] = 1,
    rate: Annotated[
        float | None, typer.Option(help="Requests a second and target, with --load poisson.")
    ] = None,
    repeat: Annotated[int | None, typer.Option(help="How often each prompt is asked. [2]")] = None,
    duration: Annotated[
        float | None,
        typer.Option(help="Seconds to measure, in place of --repeat: the prompts over and over."),
    ] = None,
    unique_prefix: Annotated[
        bool,
        typer.Option("--unique-prefix", help="A prefix for each repetition: no cache answers."),
    ] = False,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="The tokenizer.json that all answers are counted with.", dir_okay=False),
    ] = None,
    warmup: Annotated[int, typer.Option(help="Requests a target before the run.")] = 1,
    seed: Annotated[int, typer.Option(help="Of order, arrivals and sampling.")] = 0,
    max_tokens: Annotated[int, typer.Option(help="At most so many tokens an answer.")] = 128,
    timeout: Annotated[float, typer.Option(help="Seconds for a request, retries included.")] = 60,
    reference: Annotated[
        str | None, typer.Option(help="Whom the others are compared with. [the first local one]")
    ] = None,
    margin: Annotated[
        str, typer.Option(help="Latencies within it count as equivalent.", metavar="PERCENT")
    ] = "5%",
    slo: Annotated[
        str | None, typer.Option(help="Service levels, as in ttft=0.5,e2e=5 (seconds): goodput.")
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(
            help="What must hold, as in 'targets.azure.latency.e2e.p95 < 2'; repeatable. Status "
            "1 and junit.xml where one does not."
        ),
    ] = None,
    volume: Annotated[
        float | None, typer.Option(help="Summaries a day: who is cheapest there.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="How many times cheaper than it: a model as gpt-4, or a target."),
    ] = None,
    tokenizer_ratio: Annotated[
        float, typer.Option(help="The baseline's tokens for each token that was measured.")
    ] = 1.0,
    quality_model: Annotated[
        Path | None,
        typer.Option(
            help="A sentence-transformers model's folder: how near answers come to references.",
            file_okay=False,
        ),
    ] = None,
    identity: Identity = None,
    identity_prompts: IdentityPrompts = None,
    identity_model: IdentityModel = None,
    honest: Honest = None,
    suspect: Suspect = None,
    logprobs: Logprobs = 0,
    budget_usd: Annotated[
        float | None,
        typer.Option(help="A hard cap on what the run may cost; it stops in order before it."),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Spend up to the budget without being asked.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The run's folder. [phi2-run-<date>-<time>]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print report.json.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only the result.")] = False,
) -> None:
    """Compare targets on the same prompts: how fast, how dear, and do they answer alike.

    Exit status:

    - 0: done, and every requirement holds

    - 1: a requirement fails

    - 2: bad usage or configuration; nothing was sent

    - 3: done, but with failed requests, an invalid run, or stopped by the budget

    - 130: interrupted; to go on, repeat the command with --resume and --out
    """
    with leaving_at_once():
        from phi2sdk.analysis.metrics import parse_slo
        from phi2sdk.cli.budget_prompt import BudgetPrompt
        from phi2sdk.config.lookup import load_book
        from phi2sdk.measure.comparison import Settings
        from phi2sdk.measure.schedule import Load
        from phi2sdk.measure.workload import read_workload
        from phi2sdk.pipeline import ComparisonRun
        from phi2sdk.report.options import Analysis
        from phi2sdk.report.overview import DEMO
        from phi2sdk.report.requirements import Requirement

    if resume and out is None:
        raise ConfigurationError("--resume needs --out: the folder of the run to go on with")
    if repeat is not None and duration is not None:
        raise ConfigurationError("--duration takes the place of --repeat: give one of them")
    if task == "summarize" and known_format(format) != "instruct" and identity_prompts is None:
        raise ConfigurationError(
            f"--format {format} has no effect on --task summarize, whose template is fixed: add "
            "--task prompt, or leave out --format"
        )
    say = Console(stderr=True, soft_wrap=True, quiet=quiet, markup=False, highlight=False)
    targets = target or []
    asked_for, demo = demo, demo or not (targets or _configured(config))
    read = partial(
        read_workload,
        format=known_format(format),
        allow_control_tokens=allow_control_tokens,
        notice=say.print,
    )
    sampled = IdentityOptions.of(
        identity, identity_prompts, identity_model, honest, suspect, read=read, demo=demo
    )
    settings = Settings(
        load=Load(load, concurrency, rate),
        repetitions=2 if repeat is None else repeat,
        duration=duration,
        unique_prefix=unique_prefix,
        warmup=warmup,
        seed=seed,
        max_tokens=max_tokens,
        timeout=timeout,
        reference=reference,
        identity=sampled.calls,
        identity_concurrency=sampled.concurrency,
        logprobs=logprobs,
    )
    analysis = Analysis(
        margin=percent(margin),
        slo=parse_slo(slo) if slo else {},
        requirements=tuple(Requirement.parse(text) for text in require or []),
        volume=volume,
        baseline=baseline,
        tokenizer_ratio=tokenizer_ratio,
        book=load_book(config),
        quality_model=quality_model,
    )
    workload = _workload(input, task, read, demo=demo)
    folder = out or Path(datetime.now().strftime("phi2-run-%Y%m%d-%H%M%S"))
    run = ComparisonRun(
        workload=workload,
        out=folder,
        targets=targets,
        config=config,
        tokenizer=tokenizer,
        settings=settings,
        analysis=analysis,
        demo=demo,
        resume=resume,
        identity_prompts=sampled.prompts,
        identity=sampled.check,
    )
    names = run.check()
    if not demo:
        ask_first(names, config)
    if demo:
        say.print(f"{'' if asked_for else NO_TARGET}Demo: {DEMO}", style="bold")
    cap = None if budget_usd is None else BudgetPrompt(budget_usd, yes, say)
    status, report = _interruptible(_measure(run, cap, say))
    if report is not None:
        _show(report, json=json)
        files = ", ".join(sorted(p.name for p in folder.iterdir() if not p.name.startswith(".")))
        say.print(for_terminal(f"The run is in {folder}: {files}"))
    if cap is not None:
        cap.tell(folder)
    if status == INTERRUPTED:
        repeat_it = f"To go on, repeat the command with the options --resume --out {folder}."
        say.print(f"Interrupted: {'nothing was sent' if report is None else repeat_it}")
    raise typer.Exit(status)


app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog="Example: python -m phi2sdk.compare paragraphs.txt --target gpu --out run/")(
    compare
)


def _configured(config: Path | None) -> bool:
    from phi2sdk.config.lookup import configured

    return bool(configured(config))


def _workload(
    input: str | None, task: Task, read: Callable[[str, Task], Workload], *, demo: bool
) -> Workload:
    if input is not None:
        return read(input, task)
    if not demo:
        raise ConfigurationError(
            "nothing to ask: give a .jsonl, .csv or .txt file, or - for standard input"
        )
    from phi2sdk.demo.targets import demo_workload

    return demo_workload()


async def _measure(
    run: ComparisonRun, cap: BudgetPrompt | None, say: Console
) -> tuple[int, Report | None]:
    """The exit status, and the report of what was recorded."""
    from phi2sdk.cli.progress import live

    interrupted = False
    try:
        await run.measure(
            agree=None if cap is None else cap.agree,
            watch=lambda comparison, recorded: live(say, _planned(comparison, recorded)),
            notice=partial(say.print, style="dim"),
        )
    except asyncio.CancelledError:
        interrupted = True
    report = run.report()
    if report is None:
        return INTERRUPTED, None
    stopped = cap is not None and cap.stopped
    return INTERRUPTED if interrupted else _status(report, stopped=stopped), report


def _planned(comparison: Comparison, recorded: Recorded) -> dict[str, Planned]:
    from phi2sdk.cli.progress import Planned

    left = Counter(key.target for key in comparison.left(recorded))
    done = Counter(key.target for key in recorded.done)
    return {
        name: Planned(left[name] if comparison.counted else None, done[name], candidate.price)
        for name, candidate in comparison.candidates.items()
    }


def _status(report: Report, *, stopped: bool = False) -> int:
    if any(not result.holds for result in report.requirements):
        return REQUIREMENT_FAILS
    failed = stopped or report.failed or not report.validity.valid
    return FAILED if failed else DONE


def _interruptible(work: Coroutine[Any, Any, T]) -> T:
    """Run on an event loop of our own; Ctrl-C cancels the work, which then ends in order."""

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

    show(report, Console(width=None if sys.stdout.isatty() else 80, highlight=False))
