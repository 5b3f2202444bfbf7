"""Generate one answer as a server does: its end, and the text that each token releases."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from phi2sdk.emulator.engine import Decoding, Engine, Token

Finish = Literal["length", "eos", "stop"]

FINISH: dict[Finish, str] = {"eos": "stop", "stop": "stop", "length": "length"}
"""The finish reasons of the OpenAI protocol."""


@dataclass(frozen=True, slots=True)
class GenerationStep:
    """A generated token, the text that is sent with it, and the finish reason of the last token."""

    token: Token
    text: str
    finish: Finish | None = None


async def keeping_stops(
    engine: Engine, prompt: str, decoding: Decoding
) -> AsyncGenerator[GenerationStep, None]:
    """Generate as TGI does: the text of every token is sent, and the stop text too.

    A stop counts only if the whole output ends with it after a token; a stop that ends inside a
    token is ignored. The length limit is checked before end-of-text and stops.
    """
    output = ""
    count = 0
    async with _tokens(engine, prompt, decoding) as tokens:
        async for token in tokens:
            count += 1
            text = "" if token.special else token.text
            output += text
            finish: Finish | None = None
            if count >= decoding.max_tokens:
                finish = "length"
            elif token.special:
                finish = "eos"
            elif any(output.endswith(stop) for stop in decoding.stop):
                finish = "stop"
            yield GenerationStep(token, text, finish)
            if finish is not None:
                return
    raise RuntimeError("the engine ended without end-of-text before max_tokens")


async def removing_stops(
    engine: Engine, prompt: str, decoding: Decoding
) -> AsyncGenerator[GenerationStep, None]:
    """Generate as OpenAI's servers do: text from the first stop on is not sent.

    Text that may be the beginning of a stop is held back until it is decided.
    """
    held = ""
    count = 0
    async with _tokens(engine, prompt, decoding) as tokens:
        async for token in tokens:
            count += 1
            if token.special:
                yield GenerationStep(token, held, "eos")
                return
            held += token.text
            found = [at for stop in decoding.stop if (at := held.find(stop)) >= 0]
            if found:
                yield GenerationStep(token, held[: min(found)], "stop")
                return
            if count >= decoding.max_tokens:
                yield GenerationStep(token, held, "length")
                return
            keep = _possible_stop(held, decoding.stop)
            release, held = held[: len(held) - keep], held[len(held) - keep :]
            yield GenerationStep(token, release)
    raise RuntimeError("the engine ended without end-of-text before max_tokens")


def _possible_stop(text: str, stops: tuple[str, ...]) -> int:
    """Return the number of characters at the end of ``text`` that may begin a stop."""
    longest = 0
    for stop in stops:
        for length in range(min(len(stop) - 1, len(text)), longest, -1):
            if stop.startswith(text[-length:]):
                longest = length
                break
    return longest


@asynccontextmanager
async def _tokens(
    engine: Engine, prompt: str, decoding: Decoding
) -> AsyncGenerator[AsyncIterator[Token], None]:
    """Yield the iterator of the engine, and close it on exit if it can be closed."""
    tokens = engine.tokens(prompt, decoding)
    try:
        yield tokens
    finally:
        if isinstance(tokens, AsyncGenerator):
            await tokens.aclose()


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """A whole answer."""

    steps: tuple[GenerationStep, ...]

    @property
    def text(self) -> str:
        """Return the text that is sent."""
        return "".join(step.text for step in self.steps)

    @property
    def finish(self) -> Finish:
        """Return the finish reason."""
        return self.steps[-1].finish or "length"

    @property
    def count(self) -> int:
        """Return the number of generated tokens, with end-of-text and removed stop text."""
        return len(self.steps)


async def complete(steps: AsyncGenerator[GenerationStep, None]) -> GeneratedText:
    """Generate the whole answer."""
    async with aclosing(steps):
        return GeneratedText(tuple([step async for step in steps]))
