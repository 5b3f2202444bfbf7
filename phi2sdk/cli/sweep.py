"""``phi2 compare --sweep``: one run for each request rate, and their results in one table.

Each rate has a run of its own in a folder of the output folder, so that journal, report and
resumption are those of any run.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from phi2sdk.cli.compare_session import advise, begin, interruptible, measure, status_of
from phi2sdk.cli.errors import INTERRUPTED
from phi2sdk.cli.output import console, print_document
from phi2sdk.cli.resume import first_run
from phi2sdk.errors import ConfigurationError
from phi2sdk.measure.files import write_file
from phi2sdk.measure.folder import RunFolder
from phi2sdk.measure.schedule import Load
from phi2sdk.report.sweep import sweep_of, table
from phi2sdk.report.terminal import print_section

if TYPE_CHECKING:
    from rich.console import Console

    from phi2sdk.cli.compare_run import Asked
    from phi2sdk.pipeline import ComparisonRun
    from phi2sdk.report.schema import Report

RESULT = "sweep.json"


def sweep(asked: Asked, program: str, say: Console) -> int:
    """Make the runs of a sweep, print its table, and return the exit status."""
    options, folder = asked.options, asked.folder
    rates = _rates(options.sweep or "")
    if not options.resume:
        _check_place(folder)
    runs = [asked.run(Load("poisson", rate=rate), folder / f"rate-{rate:g}") for rate in rates]
    for run in runs[1:]:
        run.check()
    begin(asked, runs[0], say)
    reports, interrupted = interruptible(_measure(runs, say))
    if reports:
        found = sweep_of(reports, runs[0].analysis.slo)
        document = found.model_dump_json(by_alias=True, indent=2)
        write_file(folder / RESULT, document + "\n")
        if options.json:
            print_document(document)
        else:
            print_section(table(found), console())
    if interrupted:
        say.print("Interrupted." if reports else "Interrupted: nothing was sent.")
        if reports:
            advise(asked, program, say)
        return INTERRUPTED
    return max(map(status_of, reports.values()))


async def _measure(runs: list[ComparisonRun], say: Console) -> tuple[dict[str, Report], bool]:
    """The reports by the names of their folders, and whether the sweep was interrupted."""
    reports: dict[str, Report] = {}
    for number, run in enumerate(runs, start=1):
        rate = run.settings.load.rate
        say.print(f"Run {number} of {len(runs)}: {rate:g} requests per second to each target")
        report, interrupted = await measure(run, say)
        if report is not None:
            reports[run.out.name] = report
        if interrupted:
            return reports, True
    return reports, False


def _rates(text: str) -> list[float]:
    """The rates of ``--sweep`` in ascending order.

    Raises:
        ConfigurationError: One is not a number above 0.
    """
    try:
        rates = sorted({float(part) for part in text.split(",")})
        if not all(0 < rate < float("inf") for rate in rates):
            raise ValueError
    except ValueError:
        raise ConfigurationError(
            f"--sweep {text!r} is not a list of rates above 0: write it as in --sweep 1,2,4"
        ) from None
    return rates


def _check_place(folder: Path) -> None:
    if first_run(folder).path != folder:
        raise ConfigurationError(
            f"{folder} contains a sweep already: add --resume to continue it, or choose another "
            "--output"
        )
    RunFolder(folder).check_place(resume=False)
