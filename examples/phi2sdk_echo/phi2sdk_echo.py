"""A backend for phi2sdk that answers with the last words of the prompt."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from time import perf_counter_ns
from typing import ClassVar

from phi2sdk.backends.base import Backend, Capabilities, OnUnsupported
from phi2sdk.completion import Chunk, Count, Done, Event, Opened, Request, Sent, Usage
from phi2sdk.errors import ConfigurationError
from phi2sdk.sampling import Dialect, Rule

__all__ = ["EchoBackend"]

VOICES: Mapping[str, Callable[[str], str]] = {"plain": str, "loud": str.upper}

DIALECT = Dialect(
    "echo",
    {
        "max_tokens": Rule("limit"),
        "temperature": Rule("warmth"),
        "stop": Rule("until", limit=1),  # the client cuts the text at the others
    },
)


class EchoBackend(Backend):
    """A backend that repeats the last words of the prompt.

    Args:
        voice: ``plain``, or ``loud`` for capital letters.
        words: Maximum number of words.
    """

    provider: ClassVar[str] = "echo"
    environment: ClassVar[Mapping[str, str]] = {"voice": "ECHO_VOICE"}

    def __init__(
        self,
        *,
        voice: str = "plain",
        words: int = 8,
        target: str | None = None,
        on_unsupported: OnUnsupported = "raise",
    ) -> None:
        super().__init__(target=target, on_unsupported=on_unsupported)
        if voice not in VOICES:
            raise ConfigurationError(f"voice {voice!r} does not exist; use {' or '.join(VOICES)}")
        self._say, self._words = VOICES[voice], words

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(counts_tokens=True)

    @property
    def dialect(self) -> Dialect:
        return DIALECT

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        wire, receipt = self.prepare(request)  # refuses parameters without a rule
        heard = request.prompt.text.split()
        said = heard[-self._words :][: int(str(wire["limit"]))]
        yield Sent(perf_counter_ns(), receipt, request.stream)
        yield Opened(perf_counter_ns(), model="echo-1", input=Count(len(heard)))
        for word in said:
            text = f" {self._say(word)}"
            yield Chunk(text, text, perf_counter_ns(), tokens=1)
        usage = Usage(input=Count(len(heard)), output_billed=Count(len(said)))
        yield Done(perf_counter_ns(), "stop", usage, model="echo-1")

    async def check(self) -> str:
        return "is always available"
