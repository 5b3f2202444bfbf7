"""``phi2 explain``: what would be sent, without sending it."""

from __future__ import annotations

import asyncio
import json as jsons
import os
import sys
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text as Line

from phi2sdk import backends
from phi2sdk import config as configuration
from phi2sdk.cli.options import (
    AllowControlTokens,
    Config,
    Format,
    MaxTokens,
    MinP,
    OnUnsupported,
    RepetitionPenalty,
    Seed,
    Stop,
    Target,
    Temperature,
    Text,
    TopK,
    TopP,
    advice_as_options,
    asked_prompt,
)
from phi2sdk.cli.output import plain, print_json
from phi2sdk.cli.trust import ask_first
from phi2sdk.completion import Receipt, Request
from phi2sdk.config.environment import FromEnvironment
from phi2sdk.errors import ConfigurationError
from phi2sdk.sampling import Sampling
from phi2sdk.secret import Secret
from phi2sdk.text import for_terminal
from phi2sdk.transport.preview import RequestPreview, command

__all__ = ["explain"]

_NO_CALL = {
    True: "answers in this process: there is no wire",
    False: "has a backend that does not tell what it sends: there is no call to show",
}
"""By whether the target is local."""


def explain(
    text: Text = None,
    target: Target = "local",
    config: Config = None,
    format: Format = "instruct",
    stream: Annotated[
        bool, typer.Option(help="The call for a stream, as generate makes it, or for one reply.")
    ] = True,
    max_tokens: MaxTokens = 256,
    temperature: Temperature = 0.0,
    top_p: TopP = 1.0,
    top_k: TopK = None,
    min_p: MinP = 0.0,
    repetition_penalty: RepetitionPenalty = 1.0,
    seed: Seed = None,
    stop: Stop = None,
    on_unsupported: OnUnsupported = "raise",
    allow_control_tokens: AllowControlTokens = False,
    curl: Annotated[
        bool,
        typer.Option(
            "--curl", help="Print the very call as a cURL command, its key as a shell variable."
        ),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print it all as JSON.")] = False,
) -> None:
    """Show what generate would send, and what becomes of each parameter. No prompt is sent.

    Exit status:

    - 0: shown

    - 2: bad usage or configuration, a parameter that the route cannot do, or no wire for --curl
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
        receipt, call = asyncio.run(_explained(chosen, request, on_unsupported))
    said = None if call is None else command(call, _variables(chosen, os.environ))
    if json:
        print_json({**plain(receipt), "call": _plain_call(call), "command": said})
        return
    if curl and said is None:
        raise ConfigurationError(
            f"the target {target} {_NO_CALL[receipt.provider == 'local']}, and so no command"
        )
    _show(receipt, call, Console(stderr=curl, highlight=False, soft_wrap=False))
    if said is not None and curl:
        sys.stdout.write(f"{said}\n")


async def _explained(
    target: configuration.Target, request: Request, on_unsupported: OnUnsupported
) -> tuple[Receipt, RequestPreview | None]:
    backend = target.open(on_unsupported=on_unsupported)
    try:
        await backend.detect()
        return backend.explain(request), backend.outgoing(request)
    finally:
        await backend.close()


def _variables(target: configuration.Target, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that may hold the target's keys: those of the file, then the backend's own."""
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


def _show(receipt: Receipt, call: RequestPreview | None, console: Console) -> None:
    about = {
        "target": f"{receipt.target} ({receipt.provider})",
        "route": receipt.route,
        "call": _NO_CALL[receipt.provider == "local"] if call is None else call.url,
        "reply": "a stream" if call is not None and call.streamed else "whole",
        "prompt": f"{len(receipt.prompt.encode())} bytes: {_short(receipt.prompt)}",
    }
    if call is None:
        del about["reply"]
    if receipt.server is not None:
        about["server"] = str(receipt.server)
    if receipt.wrapped:
        about["wrapped"] = "goes as a chat message: the model reads it inside a template"
    for name, value in about.items():
        console.print(Line(f"{name:<8} {for_terminal(value)}"))
    console.print()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for title in ("parameter", "fate", "on the wire", "note"):
        table.add_column(title, overflow="fold", no_wrap=title in ("parameter", "fate"))
    for fate in receipt.parameters:
        wire = ", ".join(f"{key}={_json(value)}" for key, value in fate.wire.items())
        cells = (fate.name, fate.fate, wire or "-", fate.note)
        table.add_row(*(Line(for_terminal(cell)) for cell in cells))
    console.print(table)


def _json(value: object) -> str:
    return jsons.dumps(value, ensure_ascii=False)


def _short(text: str, most: int = 160) -> str:
    shown = _json(text)
    return shown if len(shown) <= most else f"{shown[:most]}..."
