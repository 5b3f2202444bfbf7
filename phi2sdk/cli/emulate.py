"""The command line of ``phi2 emulate``, which serves the emulators of the providers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from phi2sdk.cli.errors import leaving_at_once
from phi2sdk.cli.options import flag, panel, single_command
from phi2sdk.errors import ConfigurationError
from phi2sdk.secret import EMULATOR_KEY

if TYPE_CHECKING:
    from phi2sdk.emulator import Provider

_answers, _server, _output = panel("Answers"), panel("Server"), panel("Output")


def emulate(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            help="Run this command with the variables of the emulators, and stop when it ends.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str | None,
        _answers(
            "--model",
            "-m",
            metavar="NAME",
            help="Weights that answer: a checkpoint folder, or demo (default: a fixed text).",
        ),
    ] = None,
    script: Annotated[
        Path | None,
        _answers(metavar="FILE", help="Answers: a JSON text, list or object, or plain text."),
    ] = None,
    ttft: Annotated[
        float, _answers(metavar="SECONDS", help="Time to first token (default: 0).")
    ] = 0.0,
    per_token: Annotated[
        float, _answers(metavar="SECONDS", help="Time between tokens (default: 0).")
    ] = 0.0,
    provider: Annotated[
        list[str] | None,
        _server(
            metavar="NAME",
            help="azure, clarifai, hf or openai; repeatable (default: all that are installed).",
        ),
    ] = None,
    key: Annotated[
        str,
        _server(
            metavar="KEY", help=f"API key that every provider accepts (default: {EMULATOR_KEY})."
        ),
    ] = EMULATOR_KEY,
    port_base: Annotated[
        int, _server(metavar="PORT", help="First of consecutive ports (default: free ports).")
    ] = 0,
    host: Annotated[
        str, _server(metavar="HOST", help="Address to listen on (default: 127.0.0.1).")
    ] = "127.0.0.1",
    allow_public_bind: Annotated[
        bool,
        flag(_server, "--allow-public-bind", help="Allow a --host that other machines can reach."),
    ] = False,
    seconds: Annotated[
        float | None,
        _server("--for", metavar="SECONDS", help="Stop after this time (default: until Ctrl-C)."),
    ] = None,
    json: Annotated[
        bool, flag(_output, "--json", help="Print the variables as one line of JSON.")
    ] = False,
) -> None:
    """Serve emulators of Azure, Clarifai, Hugging Face and OpenAI on loopback, for tests.

    The command prints the environment variables that point clients at the emulators,
    and serves until Ctrl-C. With COMMAND, it runs COMMAND with these variables set.

    Exit status:
      0  The emulators were stopped, also by Ctrl-C.
      2  The usage is wrong, a port is taken, or COMMAND cannot be started.
      The exit status of COMMAND is passed on.
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

app = single_command(
    emulate,
    "python -m phi2sdk.emulator --model demo -- python my_program.py",
    context_settings=CONTEXT,
)
