"""``phi2 emulate``: the providers on loopback."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from phi2sdk.cli.errors import leaving_at_once
from phi2sdk.errors import ConfigurationError
from phi2sdk.secret import EMULATOR_KEY

__all__ = ["emulate"]


def emulate(
    model: Annotated[
        str | None, typer.Option(help="A checkpoint's folder, or demo for the bundled one.")
    ] = None,
    script: Annotated[
        Path | None, typer.Option(help="A file of answers (JSON, or one plain text).")
    ] = None,
    key: Annotated[str, typer.Option(help="The key that every provider accepts.")] = EMULATOR_KEY,
    ttft: Annotated[float, typer.Option(help="Seconds to the first token.")] = 0.0,
    per_token: Annotated[float, typer.Option(help="Seconds between tokens.")] = 0.0,
    port_base: Annotated[int, typer.Option(help="First of consecutive ports; 0: free ones.")] = 0,
    seconds: Annotated[
        float | None, typer.Option("--for", help="Stop by itself after so many seconds.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="Print the variables as one line of JSON.")
    ] = False,
) -> None:
    """Serve Azure, Clarifai, Hugging Face and OpenAI on loopback, to test against.

    It prints the variables to export, and serves until Ctrl-C.

    Exit status:

    - 0: stopped, by Ctrl-C too

    - 2: bad usage, or a port is taken
    """
    with leaving_at_once():
        from phi2sdk.emulator import serve as emulator

    try:
        emulator.serve(
            model=model,
            script=script,
            key=key,
            ttft=ttft,
            per_token=per_token,
            port_base=port_base,
            seconds=seconds,
            as_json=json,
            say=typer.echo,
            warn=partial(typer.echo, err=True),
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
