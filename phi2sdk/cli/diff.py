"""The command line of ``phi2 diff``: two runs side by side."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from phi2sdk.cli.output import print_document
from phi2sdk.text import for_terminal

if TYPE_CHECKING:
    from phi2sdk.report.diff import Change, Diff

__all__ = ["diff"]


def diff(
    run_a: Annotated[Path, typer.Argument(help="The folder of the earlier run.")],
    run_b: Annotated[Path, typer.Argument(help="The folder of the later run.")],
    margin: Annotated[
        str, typer.Option(help="Latencies within it count as equivalent.", metavar="PERCENT")
    ] = "5%",
    tokenizer: Annotated[
        Path | None,
        typer.Option(help="The tokenizer.json that answers are compared by.", dir_okay=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the comparison as JSON.")] = False,
) -> None:
    """Compare two runs: what changed, and whether that is more than chance."""
    from phi2sdk.cli.options import percent
    from phi2sdk.measure.folder import RunFolder
    from phi2sdk.pipeline import run_tokenizer
    from phi2sdk.report.diff import diff_runs

    first, second = RunFolder(run_a).read(), RunFolder(run_b).read()
    reference = run_tokenizer(first, tokenizer)
    found = diff_runs(first, second, reference, margin=percent(margin))
    if json:
        print_document(found.model_dump_json(by_alias=True))
        return
    show(found, Console(width=None if sys.stdout.isatty() else 80, highlight=False))


def show(found: Diff, console: Console) -> None:
    """Print a comparison of two runs."""
    for line in found.configuration:
        console.print(Text(for_terminal(f"configuration {line}")))
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("target", "latency", "A", "B", "B / A", "p", "B is"):
        table.add_column(
            Text(title, style="bold"), justify="left" if title == "target" else "right"
        )
    for name, target in found.targets.items():
        for change in target.changes:
            table.add_row(*(Text(for_terminal(cell)) for cell in (name, *_cells(change))))
    console.print(table)
    for line in _lines(found):
        console.print(Text(for_terminal(line)))


def _lines(found: Diff) -> Iterator[str]:
    from phi2sdk.report.section import rate

    for name, target in found.targets.items():
        same = rate(target.agreement.exact_cut).text
        yield (
            f"{name}: {same} of {target.agreement.prompts} answers are the same; failed "
            f"{target.failed_a} before, {target.failed_b} now"
        )
    for names, where in ((found.only_a, "A"), (found.only_b, "B")):
        if names:
            yield f"only in {where}: {', '.join(names)}"


def _cells(change: Change) -> tuple[str, ...]:
    from phi2sdk.report.format import seconds

    ends = (
        ""
        if change.low is None or change.high is None
        else (f" [{change.low:.2f}, {change.high:.2f}]")
    )
    ratio = "-" if change.ratio is None else f"{change.ratio:.2f}{ends}"
    return (
        change.metric,
        "-" if change.a is None else seconds(change.a),
        "-" if change.b is None else seconds(change.b),
        ratio,
        "-" if change.p is None else f"{change.p:.2g}",
        change.verdict,
    )
