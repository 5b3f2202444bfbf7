"""``phi2 trust``: confirm which secrets a configuration file may send, and to which hosts."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from phi2sdk.config import Target, load_config, resolve
from phi2sdk.config import trust as confirmations
from phi2sdk.errors import ConfigurationError
from phi2sdk.text import for_terminal

__all__ = ["ask_first", "trust"]


def trust(
    file: Annotated[Path, typer.Argument(help="The configuration file.", dir_okay=False)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Confirm without a question.")] = False,
    revoke: Annotated[
        bool, typer.Option("--revoke", help="Forget all that was confirmed for the file.")
    ] = False,
) -> None:
    """Show which secrets a configuration file sends to which hosts, and confirm them.

    A secret that the file sends to the provider's own hosts, or to the host that the environment
    names, needs no confirmation and is not listed.

    Exit status:

    - 0: confirmed, or there is nothing to confirm

    - 2: not confirmed, or the file is wrong
    """
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    shown = for_terminal(str(file.resolve()))
    if revoke:
        count = confirmations.revoke(file)
        console.print(f"{count} confirmation{'' if count == 1 else 's'} for {shown} removed.")
        return
    found = _sendings(load_config(file).values(), console)
    known = confirmations.confirmed()
    missing = [one for one in found if one.key not in known]
    if not missing:
        state = "Everything is confirmed that" if found else "Nothing needs a confirmation that"
        console.print(f"{state} {shown} sends.")
        return
    if not yes and not _terminal():
        _show(missing, console)
        raise ConfigurationError(
            "nobody can be asked without a terminal, so nothing was confirmed: add --yes to "
            "confirm what is listed above"
        )
    if not _agreed(missing, console, yes=yes):
        raise ConfigurationError("nothing was confirmed")
    confirmations.confirm(missing)
    console.print(f"Confirmed. phi2 trust {for_terminal(str(file))} --revoke takes it back.")


def ask_first(targets: Sequence[str], config: Path | None) -> None:
    """Ask about what is not confirmed of the named targets, if a terminal is there to ask on.

    Without a terminal, or without consent, nothing is confirmed: opening the target then fails.
    """
    if not _terminal():
        return
    console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
    named = (resolve(name, config) for name in targets)
    found = [one for one in _sendings(named, console) if one.present]
    known = confirmations.confirmed() if found else set()
    missing = [one for one in found if one.key not in known]
    if missing and _agreed(missing, console, yes=False):
        confirmations.confirm(missing)


def _sendings(targets: Iterable[Target], console: Console) -> list[confirmations.Sending]:
    found = []
    for target in targets:
        if target.file is None:
            continue
        try:
            found += confirmations.sendings(target, os.environ)
        except ConfigurationError as error:  # a package is missing: it cannot send anything
            console.print(f"{for_terminal(target.name)}: {for_terminal(error.message)}")
    return found


def _agreed(missing: Sequence[confirmations.Sending], console: Console, *, yes: bool) -> bool:
    _show(missing, console)
    if yes:
        return True
    console.print("Confirm only hosts that you know. Send them, now and in future? [y/N] ", end="")
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _show(missing: Sequence[confirmations.Sending], console: Console) -> None:
    console.print(f"{for_terminal(missing[0].file)} sends these secrets to these hosts:")
    table = Table(box=None, pad_edge=False)
    for column in ("target", "secret (environment variable)", "host"):
        table.add_column(column, overflow="fold")
    for one in missing:
        table.add_row(*(Text(for_terminal(cell)) for cell in (one.target, one.variable, one.host)))
    console.print(table)


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
