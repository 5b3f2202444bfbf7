"""The command line of ``phi2 report``: the reports of a run, made again from its records."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phi2sdk.cli.errors import DONE, REQUIREMENT_FAILS
from phi2sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from phi2sdk.measure.folder import RunFolder
    from phi2sdk.measure.tokens import ReferenceTokenizer
    from phi2sdk.report.options import Analysis
    from phi2sdk.report.schema import Report

__all__ = ["analysis_like", "report"]


def report(
    run: Annotated[Path, typer.Argument(help="The folder of the run.", metavar="RUN")],
    volume: Annotated[
        float | None, typer.Option(help="Summaries a day: who is cheapest there.")
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="How many times cheaper than it: a model as gpt-4, or a target."),
    ] = None,
    margin: Annotated[
        str | None,
        typer.Option(help="Latencies within it count as equivalent.", metavar="PERCENT"),
    ] = None,
    slo: Annotated[
        str | None, typer.Option(help="Service levels, as in ttft=0.5,e2e=5 (seconds): goodput.")
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(help="What must hold, as in 'targets.azure.latency.e2e.p95 < 2'; repeatable."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Where own prices are; phi2.toml here by default.", dir_okay=False),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="The tokenizer.json that answers are counted with.", dir_okay=False),
    ] = None,
) -> None:
    """Make the reports of a run again, asking otherwise of the same numbers; nothing is sent.

    What is not asked anew stays as the run's report.json has it. Prints the page to open.

    Exit status:

    - 0: done, and every requirement holds

    - 1: a requirement fails

    - 2: this is not the folder of a run, or an option is wrong
    """
    from dataclasses import replace

    from phi2sdk.analysis.metrics import parse_slo
    from phi2sdk.cli.options import percent
    from phi2sdk.config.lookup import load_book
    from phi2sdk.measure.folder import RunFolder
    from phi2sdk.pipeline import report_of
    from phi2sdk.report.files import HTML
    from phi2sdk.report.requirements import Requirement

    folder = RunFolder(run)
    asked = replace(analysis_like(_written(run)), book=load_book(config))
    if volume is not None:
        asked = replace(asked, volume=volume)
    if baseline is not None:
        asked = replace(asked, baseline=baseline)
    if margin is not None:
        asked = replace(asked, margin=percent(margin))
    if slo is not None:
        asked = replace(asked, slo=parse_slo(slo))
    if require:
        asked = replace(asked, requirements=tuple(Requirement.parse(text) for text in require))
    asked.check(list(folder.read_info()["configuration"]["targets"]))
    made = report_of(folder, _tokenizer(folder, tokenizer), asked)
    typer.echo(run / HTML)
    failed = any(not result.holds for result in made.requirements)
    raise typer.Exit(REQUIREMENT_FAILS if failed else DONE)


def analysis_like(report: Report | None) -> Analysis:
    """What was asked of the numbers when this report was made."""
    from phi2sdk.report.options import Analysis
    from phi2sdk.report.requirements import Requirement

    if report is None:
        return Analysis()
    goodputs = (target.goodput for target in report.targets.values())
    baseline = report.baseline
    return Analysis(
        margin=report.run.margin,
        slo=next((goodput.slo for goodput in goodputs if goodput is not None), {}),
        requirements=tuple(Requirement.parse(one.requirement) for one in report.requirements),
        volume=report.volume.per_day if report.volume else None,
        baseline=baseline.name if baseline else None,
        tokenizer_ratio=baseline.tokenizer_ratio if baseline else 1.0,
    )


def _written(run: Path) -> Report | None:
    """The run's ``report.json``; ``None`` where there is none, or one of another version."""
    from phi2sdk.measure.files import read_json
    from phi2sdk.report.schema import Report

    try:
        return Report.model_validate(read_json(run / "report.json"))
    except (FileNotFoundError, ValueError, ConfigurationError):
        return None


def _tokenizer(folder: RunFolder, given: Path | None) -> ReferenceTokenizer:
    """The run's own tokenizer, or the one that is given in its place."""
    from phi2sdk.pipeline import run_tokenizer

    run = folder.read()
    found = run_tokenizer(run, given)
    counted = run.configuration["tokenizer"]
    if given is None and found.name != counted:
        raise ConfigurationError(
            f"the run counted with {counted!r}, and here is {found.name!r}: give --tokenizer"
        )
    return found
