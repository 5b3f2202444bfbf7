"""Options that several commands share, and the completion of their values."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from phi2sdk import backends, prompts
from phi2sdk.config.lookup import DEFAULT_CONFIG, load_config
from phi2sdk.errors import ConfigurationError, InvalidRequest
from phi2sdk.prompts import FORMATS, Prompt, known_format

__all__ = [
    "AllowControlTokens",
    "Config",
    "Format",
    "IN_THE_TABLE",
    "MaxTokens",
    "MinP",
    "OnUnsupported",
    "RepetitionPenalty",
    "Seed",
    "Stop",
    "Target",
    "Temperature",
    "Text",
    "TopK",
    "TopP",
    "advice_as_options",
    "asked_prompt",
    "complete_formats",
    "complete_targets",
    "percent",
]


def complete_targets(ctx: typer.Context, incomplete: str) -> Iterator[tuple[str, str]]:
    """Targets of the configuration that the line names, and the backends, with what they are.

    A configuration that cannot be read offers nothing: Tab is no place for a complaint.
    """
    try:
        configured = load_config(ctx.params.get("config") or DEFAULT_CONFIG)
    except ConfigurationError:
        configured = {}
    for name, target in configured.items():
        if name.startswith(incomplete):
            yield name, f"{target.backend}, of {ctx.params.get('config') or DEFAULT_CONFIG}"
    for name in backends.known():
        if name.startswith(incomplete) and name not in configured:
            yield name, "backend"


def complete_formats(incomplete: str) -> list[str]:
    """Prompt formats."""
    return [name for name in FORMATS if name.startswith(incomplete)]


Text = Annotated[
    str | None, typer.Argument(help="The prompt's text; standard input when left out or -.")
]
Target = Annotated[
    str,
    typer.Option(
        "--target",
        "-t",
        help="A target of phi2.toml, or a backend.",
        autocompletion=complete_targets,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", help="The configuration; phi2.toml here by default.", dir_okay=False),
]
Format = Annotated[
    str, typer.Option(help=f"Prompt format: {', '.join(FORMATS)}.", autocompletion=complete_formats)
]
MaxTokens = Annotated[int, typer.Option(help="At most so many tokens.")]
Temperature = Annotated[float, typer.Option(help="0 is greedy.")]
TopP = Annotated[float, typer.Option(help="1 is off.")]
TopK = Annotated[int | None, typer.Option(help="Off when left out.")]
MinP = Annotated[float, typer.Option(help="0 is off.")]
RepetitionPenalty = Annotated[float, typer.Option(help="1 is off.")]
Seed = Annotated[int | None, typer.Option(help="Makes a sampled answer repeatable.")]
Stop = Annotated[
    list[str] | None,
    typer.Option(help="End the answer before this text, as before the format's; repeatable."),
]
OnUnsupported = Annotated[
    Literal["raise", "warn"],
    typer.Option(help="About a parameter that the route cannot do: refuse, or go without."),
]
AllowControlTokens = Annotated[
    bool, typer.Option("--allow-control-tokens", help="Allow <|endoftext|> in prompts.")
]

IN_THE_TABLE = 'set on_unsupported = "warn" in the target\'s table of phi2.toml'
"""The advice of a command that has no ``--on-unsupported``."""


def asked_prompt(text: str | None, format: str, *, allow_control_tokens: bool) -> Prompt:
    """The prompt that was asked for, from standard input where the text is left out or ``-``.

    Raises:
        InvalidRequest: It is empty, is not UTF-8, or holds a control token.
        ConfigurationError: There is no such format.
    """
    given = _standard_input() if text in (None, "-") else str(text)
    return prompts.render(given, known_format(format), allow_control_tokens=allow_control_tokens)


@contextmanager
def advice_as_options(
    *, on_unsupported: str = "give --on-unsupported warn"
) -> Generator[None, None, None]:
    """Let errors that advise a programmer advise the option of the command instead.

    Args:
        on_unsupported: What to do about a parameter that a route cannot do.
    """
    options = {
        "pass allow_control_tokens=True": "give --allow-control-tokens",
        'pass on_unsupported="warn"': on_unsupported,
    }
    try:
        yield
    except InvalidRequest as error:
        for advice, option in options.items():
            error.message = error.message.replace(advice, option)
        raise


def _standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"standard input is not UTF-8 (byte {error.start}): convert it first"
        ) from error


def percent(text: str) -> float:
    """``5%`` or ``5`` as 0.05.

    Raises:
        ConfigurationError: It is no number above 0 and below 100.
    """
    try:
        value = float(text.strip().removesuffix("%")) / 100
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise ConfigurationError(
            f"margin {text!r} is no percentage above 0 and below 100: write it as in 5%"
        )
    return value
