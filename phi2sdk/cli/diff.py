"""``phi2 diff``: two runs compared on one screen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from phi2sdk.cli.options import flag, panel, percent
from phi2sdk.cli.output import console, print_document
from phi2sdk.text import for_terminal

if TYPE_CHECKING:
    from rich.console import Console

    from phi2sdk.report.diff import Diff

_option = panel()


def diff(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="Folder of the earlier run.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Folder of the later run.")],
    margin: Annotated[
        str,
        _option(
            help="Difference that counts as equivalent, in percent (default: 5%).",
            metavar="PERCENT",
        ),
    ] = "5%",
    tokenizer: Annotated[
        Path | None,
        _option(
            help="tokenizer.json that compares answers (default: that of run A).",
            metavar="FILE",
            dir_okay=False,
        ),
    ] = None,
    json: Annotated[bool, flag(_option, "--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare two runs: latency, cost, identity and answers of each target.

    A change is reported if chance does not explain it. Invalid runs are named first.

    Exit status:
      0  The comparison was printed.
      2  A folder contains no run, or an option is wrong.
    """
    from phi2sdk.measure.folder import RunFolder
    from phi2sdk.pipeline import run_tokenizer
    from phi2sdk.report.diff import diff_runs

    first, second = RunFolder(run_a).read(), RunFolder(run_b).read()
    reference = run_tokenizer(first, tokenizer)
    found = diff_runs(first, second, reference, margin=percent(margin))
    if json:
        print_document(found.model_dump_json(by_alias=True))
        return
    show(found, console())


def show(found: Diff, console: Console) -> None:
    """Print a comparison of two runs."""
    from phi2sdk.report.diff import headline, table
    from phi2sdk.report.terminal import print_section

    for line in headline(found):
        style = "bold red" if "not valid" in line else ""
        console.print(Text(for_terminal(line), style=style))
    console.print()
    print_section(table(found), console)
