"""``phi2 generate``: one prompt, one answer."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Console
from rich.pretty import pprint

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
from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.completion import Completion, Receipt
from phi2sdk.errors import ConfigurationError
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import Sampling
from phi2sdk.text import for_terminal

__all__ = ["generate"]


def generate(
    text: Text = None,
    target: Target = "local",
    config: Config = None,
    format: Format = "instruct",
    stream: Annotated[bool, typer.Option("--stream", help="Print the text as it comes.")] = False,
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
    receipt: Annotated[
        bool, typer.Option("--receipt", help="Show on standard error what was really asked.")
    ] = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the answer with its account as JSON.")
    ] = False,
) -> None:
    """Answer one prompt.

    Exit status:

    - 0: answered

    - 2: bad usage or configuration; nothing was sent

    - 3: the request failed

    - 130: interrupted
    """
    if stream and json:
        raise ConfigurationError("--json is the whole answer at once: leave out --stream")

    async def answer(prompt: Prompt) -> None:
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
            midway = False
            try:
                async with running:
                    async for chunk in running:
                        if stream:
                            typer.echo(for_terminal(chunk.text), nl=False)
                            midway = True
            except BaseException:
                if midway:
                    typer.echo()  # what comes now begins a line of its own
                raise
            completion = running.completion
            if json:
                print_json(_plain(completion))
            else:
                typer.echo("" if stream else for_terminal(completion.text))
            if receipt:
                _show_receipt(completion.receipt)

    ask_first([target], config)
    with advice_as_options():
        # Standard input is read before the loop runs, which would keep Ctrl-C from the reading.
        prompt = asked_prompt(text, format, allow_control_tokens=allow_control_tokens)
        asyncio.run(answer(prompt))


def _plain(completion: Completion) -> dict[str, object]:
    """The answer for programs, with the two times that its clock readings stand for."""
    account: dict[str, object] = plain(completion)
    timing = completion.timing
    return {**account, "timing": {"ttft": timing.ttft, "e2e": timing.e2e}}


def _show_receipt(receipt: Receipt) -> None:
    pprint(plain(receipt), console=Console(stderr=True), expand_all=True)
