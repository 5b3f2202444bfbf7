"""The command line of ``phi2 explain``, which shows a request without sending it."""

from __future__ import annotations

import asyncio
import json as jsons
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import typer

from phi2sdk import backends
from phi2sdk import config as configuration
from phi2sdk.cli.options import RequestOptions, advice_as_options, flag, panel, takes
from phi2sdk.cli.output import console, plain, print_json
from phi2sdk.cli.receipt import print_receipt
from phi2sdk.cli.trust import ask_first
from phi2sdk.completion import Receipt, Request
from phi2sdk.config.environment import FromEnvironment
from phi2sdk.errors import ConfigurationError
from phi2sdk.secret import Secret
from phi2sdk.transport.preview import RequestPreview, command

_NO_CALL = {
    True: "runs in this process: there is no request to show",
    False: "has a backend that does not show its requests",
}
"""Why there is no request, by whether the target is local."""

_output = panel("Output")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainOptions(RequestOptions):
    """The options of ``phi2 explain``, as they were typed."""

    stream: Annotated[
        bool,
        flag(
            _output,
            "--stream/--no-stream",
            help="Show the request for a stream, as generate sends it, or for one response "
            "(default: --stream).",
        ),
    ] = True
    curl: Annotated[
        bool,
        flag(
            _output,
            "--curl",
            help="Print the exact request as a cURL command, with the key as a shell variable.",
        ),
    ] = False
    json: Annotated[
        bool, flag(_output, "--json", help="Print the request and its receipt as JSON.")
    ] = False


@takes(ExplainOptions)
def explain(options: ExplainOptions, _: typer.Context) -> None:
    """Show the request that generate would send, and how each parameter is sent.

    The prompt is not sent. An OpenAI-compatible server may be asked for its software.

    Exit status:
      0    The request was shown.
      2    The usage or the configuration is wrong, the route does not support a
           parameter, or there is no request to show with --curl.
    """
    ask_first([options.target], options.config)
    with advice_as_options():
        prompt, sampling = options.prompt(), options.sampling()
        chosen = configuration.resolve(options.target, options.config)
        request = Request(prompt, sampling, options.stream)
        receipt, call = asyncio.run(_explained(chosen, request, options))
    said = None if call is None else command(call, _variables(chosen, os.environ))
    if options.json:
        print_json({**plain(receipt), "call": _plain_call(call), "command": said})
        return
    if options.curl and said is None:
        raise ConfigurationError(
            f"there is no cURL command: the target {options.target} "
            f"{_NO_CALL[receipt.provider == 'local']}. Leave out --curl"
        )
    print_receipt(receipt, console(stderr=options.curl), request=_described(receipt, call))
    if said is not None and options.curl:
        sys.stdout.write(f"{said}\n")


async def _explained(
    target: configuration.Target, request: Request, options: ExplainOptions
) -> tuple[Receipt, RequestPreview | None]:
    backend = target.open(on_unsupported=options.on_unsupported, program=options.settings())
    try:
        await backend.detect()
        return backend.explain(request), backend.outgoing(request)
    finally:
        await backend.close()


def _variables(target: configuration.Target, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that may hold the keys of a target: those of the file come first."""
    named = [
        setting.variable
        for setting in target.settings.values()
        if isinstance(setting, FromEnvironment)
    ]
    names = (*named, *backends.find(target.backend).environment.values())
    return {name: environ[name] for name in names if name in environ}


def _plain_call(call: RequestPreview | None) -> object:
    if call is None:
        return None
    return {
        "protocol": call.protocol,
        "url": call.url,
        "headers": {
            name: "***" if isinstance(value, Secret) else value
            for name, value in call.headers.items()
        },
        "streamed": call.streamed,
        "body": jsons.loads(call.body),
    }


def _described(receipt: Receipt, call: RequestPreview | None) -> dict[str, str]:
    if call is None:
        return {"request": f"The target {_NO_CALL[receipt.provider == 'local']}."}
    return {"request": call.url, "reply": "stream" if call.streamed else "whole"}
