"""The ``phi2`` command and its subcommands; :mod:`phi2sdk.cli` starts it."""

from __future__ import annotations

from typing import Annotated

import typer

from phi2sdk import __version__
from phi2sdk.cli.compare import compare
from phi2sdk.cli.diff import diff
from phi2sdk.cli.doctor import doctor
from phi2sdk.cli.emulate import CONTEXT, emulate
from phi2sdk.cli.explain import explain
from phi2sdk.cli.generate import generate
from phi2sdk.cli.memory import memory
from phi2sdk.cli.plan import plan
from phi2sdk.cli.prices import prices
from phi2sdk.cli.report import report
from phi2sdk.cli.trust import trust

__all__ = ["app"]

app = typer.Typer(
    name="phi2",
    help="Run Phi-2 anywhere, and compare the places.",
    epilog="Example: phi2 compare --demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Show the version and leave.")] = False,
) -> None:
    if version:
        typer.echo(f"phi2sdk {__version__}")
        raise typer.Exit


app.command(epilog="Example: phi2 compare paragraphs.txt --target gpu --target azure -o run/")(
    compare
)
app.command(epilog="Example: phi2 report run/ --volume 10000 --baseline gpt-4")(report)
app.command(epilog="Example: phi2 diff run-monday run-tuesday")(diff)
app.command(epilog="Example: phi2 plan --detect int4 --power 0.95 --prompts asked.txt")(plan)
app.command(epilog='Example: phi2 generate "Explain tides." --target local --max-tokens 100')(
    generate
)
app.command(epilog='Example: phi2 explain "Explain tides." --target azure --top-k 50 --curl')(
    explain
)
app.command(epilog="Example: phi2 doctor --config phi2.toml")(doctor)
app.command(epilog="Example: phi2 trust phi2.toml")(trust)
app.command(epilog="Example: phi2 memory --context 2048 --batch 8 --dtype float16")(memory)
app.command(epilog="Example: phi2 prices gpt-4 --check")(prices)
app.command(
    epilog="Example: phi2 emulate --model demo -- python my_program.py", context_settings=CONTEXT
)(emulate)
