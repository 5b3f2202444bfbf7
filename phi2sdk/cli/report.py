"""The command line of ``phi2 report``, which prints the result of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from phi2sdk.cli.errors import DONE, REQUIREMENT_FAILS
from phi2sdk.cli.options import flag, panel, percent
from phi2sdk.cli.output import console, print_document
from phi2sdk.errors import ConfigurationError
from phi2sdk.text import for_terminal

if TYPE_CHECKING:
    from phi2sdk.measure.folder import RunFolder
    from phi2sdk.measure.tokens import ReferenceTokenizer
    from phi2sdk.report.options import Analysis
    from phi2sdk.report.requirements import Requirement
    from phi2sdk.report.schema import Report

SECTIONS = "cost, identity, agreement, quality, latency or all"
_output, _analysis = panel("Output"), panel("Analysis")


def report(
    run: Annotated[Path, typer.Argument(help="Folder of the run.", metavar="RUN")],
    section: Annotated[
        list[str] | None,
        _output(
            metavar="NAME",
            help=f"Print a section instead of the overview: {SECTIONS}; repeatable.",
        ),
    ] = None,
    json: Annotated[bool, flag(_output, "--json", help="Print the report as JSON.")] = False,
    export: Annotated[
        Literal["csv"] | None,
        _output(metavar="FORMAT", help="Write the records into the folder: csv (records.csv)."),
    ] = None,
    volume: Annotated[
        float | None, _analysis(metavar="N", help="Compare costs at N answers per day.")
    ] = None,
    baseline: Annotated[
        str | None,
        _analysis(
            metavar="NAME", help="Compare costs with a model, such as gpt-4, or with a target."
        ),
    ] = None,
    margin: Annotated[
        str | None,
        _analysis(metavar="PERCENT", help="Difference in latency that counts as equivalent."),
    ] = None,
    slo: Annotated[
        str | None,
        _analysis(metavar="LIST", help="Latency limits in seconds, such as ttft=0.5,e2e=5."),
    ] = None,
    require: Annotated[
        list[str] | None,
        _analysis(
            metavar="RULE",
            help="Exit with status 1 unless the rule holds, such as "
            "'targets.gpu.latency.e2e.p95 < 2'; repeatable.",
        ),
    ] = None,
    config: Annotated[
        Path | None,
        _analysis(
            metavar="FILE",
            help="Configuration with prices (default: phi2.toml).",
            dir_okay=False,
        ),
    ] = None,
    tokenizer: Annotated[
        Path | None,
        _analysis(
            metavar="FILE",
            help="tokenizer.json to count with (default: that of the run).",
            dir_okay=False,
        ),
    ] = None,
) -> None:
    """Print the result of a run, and rebuild its reports with other options. No request is sent.

    An option that is not given keeps the value that it has in the run's report.json.
    The folder of an evaluation has a report of its own, with --json and --require only.

    Exit status:
      0  The result was printed, and every requirement holds.
      1  A requirement does not hold.
      2  The folder contains no run, or an option is wrong.
    """
    from dataclasses import replace

    from phi2sdk.analysis.metrics import parse_slo
    from phi2sdk.config.lookup import load_book
    from phi2sdk.measure.evaluations import EVALUATION
    from phi2sdk.measure.folder import RunFolder
    from phi2sdk.pipeline import report_of
    from phi2sdk.report.records_csv import write_csv
    from phi2sdk.report.requirements import Requirement

    rules = tuple(Requirement.parse(text) for text in require) if require else None
    if (run / EVALUATION).exists():
        others = (section, export, volume, baseline, margin, slo, config, tokenizer)
        raise typer.Exit(_evaluation(run, rules, others, json=json))
    subjects = _subjects(section or [])
    folder = RunFolder(run)
    given: dict[str, Any] = {
        "volume": volume,
        "baseline": baseline,
        "margin": percent(margin) if margin is not None else None,
        "slo": parse_slo(slo) if slo is not None else None,
        "requirements": rules,
    }
    changes = {name: value for name, value in given.items() if value is not None}
    asked = replace(analysis_like(_written(run)), book=load_book(config), **changes)
    asked.check(list(folder.read_info()["configuration"]["targets"]))
    made = report_of(folder, _tokenizer(folder, tokenizer), asked)
    _print(made, run, subjects, json=json)
    if export is not None:
        typer.echo(for_terminal(f"Records: {write_csv(folder.read(), run)}"), err=True)
    failed = any(not result.holds for result in made.requirements)
    raise typer.Exit(REQUIREMENT_FAILS if failed else DONE)


def _evaluation(
    run: Path, rules: Sequence[Requirement] | None, others: Sequence[object], *, json: bool
) -> int:
    """Print the result of an evaluation, and return the exit status.

    Raises:
        ConfigurationError: An option is given that is not for evaluations.
    """
    from phi2sdk.cli.evaluate import show_result
    from phi2sdk.evaluate.report import report_of

    if any(others):
        raise ConfigurationError(
            f"{run} is an evaluation, whose report has only the options --json and --require"
        )
    made = report_of(run, rules)
    show_result(made, run, json=json)
    return DONE if all(one.holds for one in made.requirements) else REQUIREMENT_FAILS


def _subjects(named: Sequence[str]) -> list[str]:
    """Return the subjects that ``--section`` names, which may be joined by commas."""
    from phi2sdk.report.overview import SUBJECTS

    names = [name.strip() for text in named for name in text.split(",")]
    for name in names:
        if name not in SUBJECTS and name != "all":
            raise ConfigurationError(f"--section {name!r} does not exist: use {SECTIONS}")
    return list(SUBJECTS) if "all" in names else names


def _print(report: Report, run: Path, subjects: Sequence[str], *, json: bool) -> None:
    from phi2sdk.report.requirements import requirement_line
    from phi2sdk.report.terminal import print_sections, show

    if not json and not subjects:
        resume = f"phi2 compare --resume --output {quote(str(run))}"
        show(report, console(), run, resume=resume)
        return
    if json:
        print_document(report.to_json())
    else:
        print_sections(report, subjects, console())
    for result in report.requirements:
        if not result.holds:
            typer.echo(for_terminal(requirement_line(result)), err=True)


def analysis_like(report: Report | None) -> Analysis:
    """Return the options of the analysis from which a report was built."""
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
    """Return the run's ``report.json``; ``None`` if it is missing or of another version."""
    from phi2sdk.measure.files import read_json
    from phi2sdk.report.schema import Report

    try:
        return Report.model_validate(read_json(run / "report.json"))
    except (FileNotFoundError, ValueError, ConfigurationError):
        return None


def _tokenizer(folder: RunFolder, given: Path | None) -> ReferenceTokenizer:
    """Return the tokenizer of the run, or the one that is given instead."""
    from phi2sdk.pipeline import run_tokenizer

    run = folder.read()
    found = run_tokenizer(run, given)
    counted = run.configuration["tokenizer"]
    if given is None and found.name != counted:
        raise ConfigurationError(
            f"the run counted tokens with {counted!r}, and this machine has {found.name!r}; name "
            "the tokenizer.json of the run with --tokenizer"
        )
    return found
