"""The command line of ``phi2 emulate``, which serves the emulators of the providers."""

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

__all__ = ["CONTEXT", "app", "emulate"]


def emulate(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            help="Run this command with the environment variables of the emulators, and stop when "
            "it ends. Default: print the variables, and serve until Ctrl-C.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Weights that answer: a checkpoint folder, or demo for the bundled checkpoint.",
            rich_help_panel="Answers",
        ),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(
            help="File with the answers: a JSON text, list or object, or plain text.",
            rich_help_panel="Answers",
        ),
    ] = None,
    ttft: Annotated[
        float,
        typer.Option(
            help="Time to the first token, in seconds.",
            metavar="SECONDS",
            rich_help_panel="Answers",
        ),
    ] = 0.0,
    per_token: Annotated[
        float,
        typer.Option(
            help="Time between tokens, in seconds.", metavar="SECONDS", rich_help_panel="Answers"
        ),
    ] = 0.0,
    provider: Annotated[
        list[str] | None,
        typer.Option(
            help="Provider to serve: azure, clarifai, hf or openai. Repeatable. Default: all that "
            "are installed.",
            rich_help_panel="Server",
        ),
    ] = None,
    key: Annotated[
        str, typer.Option(help="API key that every provider accepts.", rich_help_panel="Server")
    ] = EMULATOR_KEY,
    port_base: Annotated[
        int,
        typer.Option(
            help="First of consecutive ports. 0 takes free ports.",
            metavar="PORT",
            rich_help_panel="Server",
        ),
    ] = 0,
    host: Annotated[
        str, typer.Option(help="Address to listen on.", rich_help_panel="Server")
    ] = "127.0.0.1",
    allow_public_bind: Annotated[
        bool,
        typer.Option(
            "--allow-public-bind",
            help="Allow a --host that other machines can reach.",
            rich_help_panel="Server",
        ),
    ] = False,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--for",
            help="Stop after this many seconds.",
            metavar="SECONDS",
            rich_help_panel="Server",
        ),
    ] = None,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the variables as one line of JSON.", rich_help_panel="Output"
        ),
    ] = False,
) -> None:
    """Serve emulators of Azure, Clarifai, Hugging Face and OpenAI on this machine, for tests.

    The command prints the environment variables that point clients at the emulators, and serves
    until Ctrl-C. With COMMAND, it runs COMMAND with these variables set instead.

    Exit status:

    - 0: the emulators were stopped, also by Ctrl-C

    - 2: an option is wrong, a port is taken, or COMMAND cannot be started

    - otherwise the exit status of COMMAND
    """
    with leaving_at_once():
        from phi2sdk.emulator.serve import serve

    try:
        status = serve(
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
            command=command or (),
            as_json=json,
            say=typer.echo,
            warn=partial(typer.echo, err=True),
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
    raise typer.Exit(status)


CONTEXT = {"allow_interspersed_args": False}
"""Options after the first word of COMMAND belong to COMMAND."""

app = typer.Typer(
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(
    epilog="Example: python -m phi2sdk.emulator --model demo -- python my_program.py",
    context_settings=CONTEXT,
)(emulate)
