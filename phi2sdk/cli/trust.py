"""The command line of ``phi2 trust``, which confirms where a file may send secrets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from phi2sdk.cli.options import flag, panel
from phi2sdk.cli.output import console, print_table
from phi2sdk.config import Target, load_config, resolve
from phi2sdk.config import trust as confirmations
from phi2sdk.errors import ConfigurationError
from phi2sdk.text import for_terminal

if TYPE_CHECKING:
    from rich.console import Console

_option = panel()


def trust(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Configuration file.", dir_okay=False)
    ],
    yes: Annotated[bool, flag(_option, "--yes", "-y", help="Confirm without a question.")] = False,
    revoke: Annotated[
        bool, flag(_option, "--revoke", help="Remove all confirmations of the file.")
    ] = False,
) -> None:
    """Show which secrets a configuration file sends to which hosts, and confirm them.

    Secrets that the file sends to the own hosts of a provider, or to the host that the
    environment names, need no confirmation and are not listed. The command itself
    sends nothing.

    Exit status:
      0  The secrets are confirmed, or none needs a confirmation.
      2  The secrets are not confirmed, or the file is wrong.
    """
    say = console(stderr=True)
    shown = for_terminal(str(file.resolve()))
    if revoke:
        count = confirmations.revoke(file)
        say.print(f"{count} confirmation{'' if count == 1 else 's'} for {shown} removed.")
        return
    found = _sendings(load_config(file).values(), say)
    known = confirmations.confirmed()
    missing = [one for one in found if one.key not in known]
    if not missing:
        state = "Every secret is confirmed" if found else "No secret needs a confirmation"
        say.print(f"{state} in {shown}.")
        return
    if not yes and not _terminal():
        _show(missing, say)
        raise ConfigurationError(
            "nothing was confirmed, because there is no terminal to ask on: add --yes to confirm "
            "the secrets that are listed above"
        )
    if not _agreed(missing, say, yes=yes):
        raise ConfigurationError("nothing was confirmed, because you did not agree")
    confirmations.confirm(missing)
    say.print(f"Confirmed. phi2 trust {for_terminal(str(file))} --revoke removes it again.")


def ask_first(targets: Sequence[str], config: Path | None) -> None:
    """Ask on a terminal to confirm the secrets that the named targets send.

    Without a terminal, or without consent, nothing is confirmed, and opening the target fails.
    """
    if not _terminal():
        return
    say = console(stderr=True)
    named = (resolve(name, config) for name in targets)
    found = [one for one in _sendings(named, say) if one.present]
    known = confirmations.confirmed() if found else set()
    missing = [one for one in found if one.key not in known]
    if missing and _agreed(missing, say, yes=False):
        confirmations.confirm(missing)


def _sendings(targets: Iterable[Target], say: Console) -> list[confirmations.Sending]:
    found = []
    for target in targets:
        if target.file is None:
            continue
        try:
            found += confirmations.sendings(target, os.environ)
        except ConfigurationError as error:  # a package is missing, so the target sends nothing
            say.print(f"{for_terminal(target.name)}: {for_terminal(error.message)}")
    return found


def _agreed(missing: Sequence[confirmations.Sending], say: Console, *, yes: bool) -> bool:
    _show(missing, say)
    if yes:
        return True
    say.print(
        "Confirm only hosts that you know. May this file send these secrets, now and later? [y/N] ",
        end="",
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _show(missing: Sequence[confirmations.Sending], say: Console) -> None:
    say.print(f"{for_terminal(missing[0].file)} sends these secrets to these hosts:")
    columns = ("target", "secret (environment variable)", "host")
    rows = ((one.target, one.variable, one.host) for one in missing)
    print_table(columns, rows, say, fold=columns)


def _terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
