"""The ``phi2`` command and its subcommands; :mod:`phi2sdk.cli` starts it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from phi2sdk import __version__
from phi2sdk.cli.bulk import bulk
from phi2sdk.cli.compare import compare
from phi2sdk.cli.diff import diff
from phi2sdk.cli.doctor import doctor
from phi2sdk.cli.emulate import CONTEXT, emulate
from phi2sdk.cli.evaluate import evaluate
from phi2sdk.cli.explain import explain
from phi2sdk.cli.generate import generate
from phi2sdk.cli.init import init
from phi2sdk.cli.memory import memory
from phi2sdk.cli.options import HELP
from phi2sdk.cli.plan import plan
from phi2sdk.cli.prices import prices
from phi2sdk.cli.report import report
from phi2sdk.cli.serve import serve
from phi2sdk.cli.trust import trust

app = typer.Typer(
    name="phi2",
    help="Run Phi-2 on this machine or at a provider, and compare providers.",
    epilog="Example: phi2 compare --demo",
    no_args_is_help=True,
    rich_markup_mode="rich",
    context_settings=HELP,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[
        bool, typer.Option("--version", metavar="", help="Print the version and exit.")
    ] = False,
) -> None:
    if version:
        typer.echo(f"phi2sdk {__version__}")
        raise typer.Exit


def _add(panel: str, command: Callable[..., Any], example: str, **settings: Any) -> None:
    app.command(epilog=f"Example: phi2 {example}", rich_help_panel=panel, **settings)(command)


COMPARE, SEND, SET_UP = "Compare providers", "Send requests", "Set up and test"
_add(COMPARE, compare, "compare paragraphs.txt --target gpu --target azure --output run/")
_add(COMPARE, evaluate, "evaluate --target local --target azure --tasks demo_yes_no --output run/")
_add(COMPARE, report, "report run/ --volume 10000 --baseline gpt-4")
_add(COMPARE, diff, "diff run-monday/ run-tuesday/")
_add(COMPARE, plan, "plan --detect int4 --power 0.95 --prompts prompts.txt")
_add(COMPARE, prices, "prices gpt-4 --check")
_add(SEND, generate, 'generate "Explain tides." --target local --max-tokens 100')
_add(SEND, bulk, "bulk paragraphs.jsonl summaries/ --target azure --rate 50/s --budget-usd 20")
_add(SEND, explain, 'explain "Explain tides." --target azure --top-k 50 --curl')
_add(SEND, serve, "serve --target azure --target local --budget-usd 5")
_add(SET_UP, init, "init --output phi2.toml")
_add(SET_UP, doctor, "doctor --config phi2.toml")
_add(SET_UP, trust, "trust phi2.toml")
_add(SET_UP, memory, "memory --context 2048 --batch 8 --dtype float16")
_add(SET_UP, emulate, "emulate --model demo -- python my_program.py", context_settings=CONTEXT)
