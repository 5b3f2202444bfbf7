"""``phi2 doctor``: what is ready, and what to do about the rest."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from phi2sdk.command import FAILED
from phi2sdk.config import configured
from phi2sdk.doctor import Finding, examine
from phi2sdk.json_out import print_json
from phi2sdk.prompt_options import Config
from phi2sdk.text import for_terminal
from phi2sdk.trust_cli import ask_first

__all__ = ["doctor"]


def doctor(
    config: Config = None,
    json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Say which targets are configured, installed and reachable, and what to do about the rest.

    Exit status:

    - 0: every target that phi2.toml or the environment configures is ready, or there is none

    - 2: phi2.toml is wrong

    - 3: a configured target is not ready

    - 130: interrupted
    """
    ask_first(list(configured(config)), config)
    findings = asyncio.run(examine(config))
    if json:
        print_json(findings)
    else:
        table = Table(box=None, pad_edge=False)
        for column in ("target", "backend", "state", "what to do"):
            table.add_column(column, overflow="fold")
        for finding in findings:
            table.add_row(*(Text(for_terminal(cell)) for cell in _cells(finding)))
        Console().print(table)
    if any(finding.configured and not finding.ok for finding in findings):
        raise typer.Exit(FAILED)


def _cells(finding: Finding) -> tuple[str, str, str, str]:
    state = "ready" if finding.ok else "not ready" if finding.configured else "not configured"
    said = f"{state}: {finding.state}" if finding.state else state
    return finding.target, finding.backend, said, finding.remedy
