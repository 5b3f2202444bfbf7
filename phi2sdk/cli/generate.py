"""The command line of ``phi2 generate``, which answers one prompt."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

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
from phi2sdk.cli.output import console, log_to, plain, print_json
from phi2sdk.cli.receipt import print_answered
from phi2sdk.cli.trust import ask_first
from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.completion import Completion
from phi2sdk.errors import ConfigurationError
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import Sampling
from phi2sdk.text import for_terminal

__all__ = ["generate"]

_output = panel("Output")


def generate(
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
        bool, _output("--stream", metavar=FLAG, help="Print the text as it arrives.")
    ] = False,
    receipt: Annotated[
        bool,
        _output(
            "--receipt",
            metavar=FLAG,
            help="Print what was sent, with latency, tokens and cost, on standard error.",
        ),
    ] = False,
    json: Annotated[
        bool,
        _output("--json", metavar=FLAG, help="Print the answer and its receipt as JSON."),
    ] = False,
    verbose: Annotated[
        bool,
        _output(
            "--verbose", "-v", metavar=FLAG, help="Print each request and retry on standard error."
        ),
    ] = False,
) -> None:
    """Answer one prompt.

    Exit status:
      0    The prompt was answered.
      2    The usage or the configuration is wrong; nothing was sent.
      3    The request failed.
      130  Interrupted.
    """
    if stream and json:
        raise ConfigurationError("--json prints the whole answer at once: leave out --stream")
    if verbose:
        log_to(console(stderr=True))
    settings: dict[str, Any] = {} if model is None else {"model": model}

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
        async with AsyncPhi2Client(
            target, config=config, on_unsupported=on_unsupported, **settings
        ) as phi:
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
                    typer.echo()  # the message of the failure begins on a line of its own
                raise
            completion = running.completion
            if json:
                print_json(_plain(completion))
                return
            typer.echo("" if stream else for_terminal(completion.text))
            if receipt:
                print_answered(completion, console(stderr=True))

    ask_first([target], config)
    with advice_as_options():
        # Standard input is read before the loop runs, which would keep Ctrl-C from the reading.
        prompt = asked_prompt(text, format, allow_control_tokens=allow_control_tokens)
        asyncio.run(answer(prompt))


def _plain(completion: Completion) -> dict[str, object]:
    """Return an answer as JSON types, with its latencies in seconds in place of clock readings."""
    account: dict[str, object] = plain(completion)
    timing = completion.timing
    return {**account, "timing": {"ttft": timing.ttft, "e2e": timing.e2e}}
