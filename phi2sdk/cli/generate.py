"""The command line of ``phi2 generate``, which answers one prompt."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated

import typer

from phi2sdk.cli.options import RequestOptions, advice_as_options, flag, panel, takes
from phi2sdk.cli.output import console, log_to, plain, print_json
from phi2sdk.cli.receipt import print_answered
from phi2sdk.cli.trust import ask_first
from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.completion import Completion
from phi2sdk.errors import ConfigurationError
from phi2sdk.prompts import Prompt
from phi2sdk.text import for_terminal

_output = panel("Output")


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateOptions(RequestOptions):
    """The options of ``phi2 generate``, as they were typed."""

    stream: Annotated[bool, flag(_output, "--stream", help="Print the text as it arrives.")] = False
    receipt: Annotated[
        bool,
        flag(
            _output,
            "--receipt",
            help="Print what was sent, with latency, tokens and cost, on standard error.",
        ),
    ] = False
    json: Annotated[
        bool, flag(_output, "--json", help="Print the answer and its receipt as JSON.")
    ] = False
    verbose: Annotated[
        bool,
        flag(_output, "--verbose", "-v", help="Print each request and retry on standard error."),
    ] = False


@takes(GenerateOptions)
def generate(options: GenerateOptions, _: typer.Context) -> None:
    """Answer one prompt.

    Exit status:
      0    The prompt was answered.
      2    The usage or the configuration is wrong; nothing was sent.
      3    The request failed.
      130  Interrupted.
    """
    if options.stream and options.json:
        raise ConfigurationError("--json prints the whole answer at once: leave out --stream")
    if options.verbose:
        log_to(console(stderr=True))
    ask_first([options.target], options.config)
    with advice_as_options():
        # Standard input is read before the loop runs, which would keep Ctrl-C from the reading.
        prompt = options.prompt()
        asyncio.run(_answer(prompt, options))


async def _answer(prompt: Prompt, options: GenerateOptions) -> None:
    async with AsyncPhi2Client(
        options.target,
        config=options.config,
        on_unsupported=options.on_unsupported,
        **options.settings(),
    ) as phi:
        running = phi.stream(prompt, options.sampling())
        midway = False
        try:
            async with running:
                async for chunk in running:
                    if options.stream:
                        typer.echo(for_terminal(chunk.text), nl=False)
                        midway = True
        except BaseException:
            if midway:
                typer.echo()  # the message of the failure begins on a line of its own
            raise
        completion = running.completion
        if options.json:
            print_json(_plain(completion))
            return
        typer.echo("" if options.stream else for_terminal(completion.text))
        if options.receipt:
            print_answered(completion, console(stderr=True))


def _plain(completion: Completion) -> dict[str, object]:
    """Return an answer as JSON types, with its latencies in seconds in place of clock readings."""
    account: dict[str, object] = plain(completion)
    timing = completion.timing
    return {**account, "timing": {"ttft": timing.ttft, "e2e": timing.e2e}}
