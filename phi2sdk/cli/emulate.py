"""``phi2 emulate``: the providers on loopback."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from phi2sdk.cli.errors import leaving_at_once
from phi2sdk.errors import ConfigurationError
from phi2sdk.secret import EMULATOR_KEY

if TYPE_CHECKING:
    from phi2sdk.emulator import Provider

__all__ = ["app", "emulate"]


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
    provider: Annotated[
        list[str] | None,
        typer.Option(help="Serve azure, clarifai, hf or openai only; repeatable."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    allow_public_bind: Annotated[
        bool,
        typer.Option("--allow-public-bind", help="Allow a --host that is not loopback."),
    ] = False,
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
        from phi2sdk.emulator.serve import serve

    try:
        serve(
            model=model,
            script=script,
            key=key,
            ttft=ttft,
            per_token=per_token,
            port_base=port_base,
            seconds=seconds,
            host=host,
            allow_public=allow_public_bind,
            providers=cast("list[Provider] | None", provider),
            as_json=json,
            say=typer.echo,
            warn=partial(typer.echo, err=True),
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(epilog="Example: python -m phi2sdk.emulator --model demo --ttft 0.2")(emulate)
