"""The command line of ``phi2 init``, which writes a first configuration file."""

from __future__ import annotations

import asyncio
import os
import shlex
from contextlib import suppress
from datetime import date as Date  # noqa: N812 - a field is called `date`
from pathlib import Path
from typing import Annotated

from phi2sdk.backends.engine.memory import this_device
from phi2sdk.cli.options import flag, panel
from phi2sdk.cli.output import console, print_lines
from phi2sdk.config.lookup import DEFAULT_CONFIG
from phi2sdk.config.starter import starter
from phi2sdk.config.target import Target
from phi2sdk.errors import ConfigurationError, Phi2Error

_option = panel()


def init(
    output: Annotated[
        Path,
        _option(
            "--output", "-o", metavar="FILE", help=f"File to write (default: {DEFAULT_CONFIG})."
        ),
    ] = Path(DEFAULT_CONFIG),
    force: Annotated[
        bool, flag(_option, "--force", "-f", help="Replace the file if it exists.")
    ] = False,
) -> None:
    """Write a commented configuration file from what the environment configures.

    The file has a target for each provider whose environment variables are set, and
    for the local model if its weights are on this machine. It names the variables and
    contains none of their values. The command sends no request.

    Exit status:
      0  The file was written.
      2  The file exists, or cannot be written.
    """
    here = this_device()
    device = f"{here.name}, {here.memory_bytes / 1e9:.0f} GB of memory free"
    made = starter(os.environ, device=device, local=_why_not_local(), today=Date.today())
    try:
        with open(output, "w" if force else "x", encoding="utf-8") as file:
            file.write(made.text)
    except FileExistsError as error:
        raise ConfigurationError(
            f"{output} exists, so nothing was written: choose another file with --output, or "
            "replace it with --force"
        ) from error
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror}") from error
    named = ", ".join(made.targets)
    lines = [f"Wrote {output} with {f'the targets {named}' if named else 'no target in use'}."]
    lines += [f"{name} is not in use: {reason}" for name, reason in made.missing.items()]
    config = "" if str(output) == DEFAULT_CONFIG else f" --config {shlex.quote(str(output))}"
    lines.append(f"Next step: phi2 doctor{config} checks every target.")
    print_lines(console(), *lines)


def _why_not_local() -> str | None:
    """Return why the local model cannot be used now; ``None`` if its weights are here."""
    try:
        backend = Target("local", "local").open()
    except Phi2Error as error:
        return error.message

    async def check() -> str | None:
        try:
            await backend.check()
        except Phi2Error as error:
            return error.message
        finally:
            with suppress(Phi2Error):
                await backend.close()
        return None

    return asyncio.run(check())
