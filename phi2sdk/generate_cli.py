"""``phi2 generate``: one prompt, one answer."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.pretty import pprint

from phi2sdk import prompts
from phi2sdk.async_client import AsyncPhi2Client
from phi2sdk.completion import Receipt
from phi2sdk.errors import InvalidRequest
from phi2sdk.prompts import FORMATS, known_format
from phi2sdk.sampling import Sampling
from phi2sdk.terminal import printable

__all__ = ["generate"]

_AS_OPTIONS = {
    "pass allow_control_tokens=True": "give --allow-control-tokens",
    'pass on_unsupported="warn"': "give --on-unsupported warn",
}
"""What an error advises a programmer -> what it means here."""


def generate(
    text: Annotated[
        str | None, typer.Argument(help="The prompt's text; standard input when left out or -.")
    ] = None,
    target: Annotated[
        str, typer.Option("--target", "-t", help="A target of phi2.toml, or a backend.")
    ] = "local",
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", help="The configuration; phi2.toml here by default.", dir_okay=False
        ),
    ] = None,
    format: Annotated[str, typer.Option(help=f"Prompt format: {', '.join(FORMATS)}.")] = "instruct",
    stream: Annotated[bool, typer.Option("--stream", help="Print the text as it comes.")] = False,
    max_tokens: Annotated[int, typer.Option(help="At most so many tokens.")] = 256,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="1 is off.")] = 1.0,
    top_k: Annotated[int | None, typer.Option(help="Off when left out.")] = None,
    min_p: Annotated[float, typer.Option(help="0 is off.")] = 0.0,
    repetition_penalty: Annotated[float, typer.Option(help="1 is off.")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Makes a sampled answer repeatable.")] = None,
    stop: Annotated[
        list[str] | None,
        typer.Option(help="End the answer before this text, as before the format's; repeatable."),
    ] = None,
    on_unsupported: Annotated[
        Literal["raise", "warn"],
        typer.Option(help="About a parameter that the route cannot do: refuse, or go without."),
    ] = "raise",
    allow_control_tokens: Annotated[
        bool,
        typer.Option("--allow-control-tokens", help="Let the prompt contain <|endoftext|>."),
    ] = False,
    receipt: Annotated[
        bool, typer.Option("--receipt", help="Show on standard error what was really asked.")
    ] = False,
) -> None:
    """Answer one prompt.

    Exit status:

    - 0: answered

    - 2: bad usage or configuration; nothing was sent

    - 3: the request failed

    - 130: interrupted
    """

    async def answer() -> None:
        given = _standard_input() if text in (None, "-") else str(text)
        prompt = prompts.render(
            given, known_format(format), allow_control_tokens=allow_control_tokens
        )
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
        async with AsyncPhi2Client(target, config=config, on_unsupported=on_unsupported) as phi:
            running = phi.stream(prompt, sampling)
            async with running:
                async for chunk in running:
                    if stream:
                        typer.echo(printable(chunk.text), nl=False)
            completion = running.completion
            typer.echo("" if stream else printable(completion.text))
            if receipt:
                _show_receipt(completion.receipt)

    try:
        asyncio.run(answer())
    except InvalidRequest as error:
        for advice, option in _AS_OPTIONS.items():
            error.message = error.message.replace(advice, option)
        raise


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"standard input is not UTF-8 (byte {error.start}): convert it first"
        ) from error


def _show_receipt(receipt: Receipt) -> None:
    pprint(asdict(receipt), console=Console(stderr=True), expand_all=True)
