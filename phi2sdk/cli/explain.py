"""The command line of ``phi2 explain``, which shows a request without sending it."""

from __future__ import annotations

import asyncio
import json as jsons
import os
import sys
from collections.abc import Mapping
from typing import Annotated

from phi2sdk import backends
from phi2sdk import config as configuration
from phi2sdk.cli.options import (
    FLAG,
    AllowControlTokens,
    Format,
    MaxTokens,
    MinP,
    Model,
    OnUnsupported,
    RepetitionPenalty,
    Seed,
    Stop,
    Target,
    TargetConfig,
    Temperature,
    Text,
    TopK,
    TopP,
    advice_as_options,
    asked_prompt,
    panel,
)
from phi2sdk.cli.output import console, plain, print_json
from phi2sdk.cli.receipt import print_receipt
from phi2sdk.cli.trust import ask_first
from phi2sdk.completion import Receipt, Request
from phi2sdk.config.environment import FromEnvironment
from phi2sdk.errors import ConfigurationError
from phi2sdk.sampling import Sampling
from phi2sdk.secret import Secret
from phi2sdk.transport.preview import RequestPreview, command

__all__ = ["explain"]

_NO_CALL = {
    True: "runs in this process: there is no request to show",
    False: "has a backend that does not show its requests",
}
"""Why there is no request, by whether the target is local."""

_output = panel("Output")


def explain(
    text: Text = None,
    target: Target = "local",
    model: Model = None,
    config: TargetConfig = None,
    format: Format = "instruct",
    allow_control_tokens: AllowControlTokens = False,
    max_tokens: MaxTokens = 256,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = None,
    min_p: MinP = 0.0,
    repetition_penalty: RepetitionPenalty = 1.0,
    seed: Seed = None,
    stop: Stop = None,
    on_unsupported: OnUnsupported = "raise",
    stream: Annotated[
        bool,
        _output(
            "--stream/--no-stream",
            metavar=FLAG,
            help="Show the request for a stream, as generate sends it, or for one response "
            "(default: --stream).",
        ),
    ] = True,
    curl: Annotated[
        bool,
        _output(
            "--curl",
            metavar=FLAG,
            help="Print the exact request as a cURL command, with the key as a shell variable.",
        ),
    ] = False,
    json: Annotated[
        bool,
        _output("--json", metavar=FLAG, help="Print the request and its receipt as JSON."),
    ] = False,
) -> None:
    """Show the request that generate would send, and how each parameter is sent.

    The prompt is not sent. An OpenAI-compatible server may be asked for its software.

    Exit status:
      0    The request was shown.
      2    The usage or the configuration is wrong, the route does not support a
           parameter, or there is no request to show with --curl.
    """
    ask_first([target], config)
    with advice_as_options():
        prompt = asked_prompt(text, format, allow_control_tokens=allow_control_tokens)
        sampling = Sampling(
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            min_p=min_p,
            repetition_penalty=repetition_penalty,
            seed=seed,
            stop=tuple(stop or ()),
        )
        chosen = configuration.resolve(target, config)
        request = Request(prompt, sampling, stream)
        receipt, call = asyncio.run(_explained(chosen, request, on_unsupported, model))
    said = None if call is None else command(call, _variables(chosen, os.environ))
    if json:
        print_json({**plain(receipt), "call": _plain_call(call), "command": said})
        return
    if curl and said is None:
        raise ConfigurationError(
            f"there is no cURL command: the target {target} "
            f"{_NO_CALL[receipt.provider == 'local']}. Leave out --curl"
        )
    print_receipt(receipt, console(stderr=curl), request=_described(receipt, call))
    if said is not None and curl:
        sys.stdout.write(f"{said}\n")


async def _explained(
    target: configuration.Target,
    request: Request,
    on_unsupported: OnUnsupported,
    model: str | None,
) -> tuple[Receipt, RequestPreview | None]:
    program = {} if model is None else {"model": model}
    backend = target.open(on_unsupported=on_unsupported, program=program)
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
