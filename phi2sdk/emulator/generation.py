"""One answer as a server makes it: where it ends, and which text each token releases."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from phi2sdk.emulator.engine import Decoding, Engine, Token

__all__ = [
    "GeneratedText",
    "Finish",
    "GenerationStep",
    "complete",
    "keeping_stops",
    "removing_stops",
]

Finish = Literal["length", "eos", "stop"]


@dataclass(frozen=True, slots=True)
class GenerationStep:
    """One generated token, the text released with it, and why it is the last, if it is."""

    token: Token
    text: str
    finish: Finish | None = None


async def keeping_stops(
    engine: Engine, prompt: str, decoding: Decoding
) -> AsyncGenerator[GenerationStep, None]:
    """Generate as TGI does: every token's text goes out, the stop text included.

    A stop counts only where the whole output ends with it after a token; one that ends inside a
    token is passed over. The length limit is looked at before end-of-text and stops.
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
    """Generate as OpenAI's servers do: text from the first stop on never leaves.

    Text that could still become a stop is held back until it is clear.
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
    """How many characters at the end of ``text`` may be the beginning of a stop."""
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
    """The engine's iterator, closed on the way out where it can be closed."""
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
        """The text that leaves the server."""
        return "".join(step.text for step in self.steps)

    @property
    def finish(self) -> Finish:
        """Why it ended."""
        return self.steps[-1].finish or "length"

    @property
    def count(self) -> int:
        """Generated tokens, end-of-text and removed stop text included."""
        return len(self.steps)


async def complete(steps: AsyncGenerator[GenerationStep, None]) -> GeneratedText:
    """Run to the end."""
    async with aclosing(steps):
        return GeneratedText(tuple([step async for step in steps]))
