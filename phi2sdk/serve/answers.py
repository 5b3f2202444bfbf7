"""Answers to one prompt: whole, or in pieces as they arrive, with what was asked for."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from phi2sdk.completion import Completion, Count
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import Sampling
from phi2sdk.serve.calls import Call
from phi2sdk.serve.logprobs import Generated, Released, of_generated, of_prompt, shown
from phi2sdk.serve.models import Model
from phi2sdk.transport.openai_wire import WireToken, usage

__all__ = ["Answer", "Ask", "Piece", "used"]

_FINISH = {"filter": "content_filter"}


@dataclass(frozen=True, slots=True)
class Ask:
    """One prompt, and what the response must contain.

    Attributes:
        model: The model.
        prompt: The prompt.
        number: The position of the prompt in the request.
        sampling: The sampling parameters; ``None`` if nothing is generated.
        deadline: Time on the clock ``monotonic`` at which the request gives up.
        top: Number of most likely tokens at each position; ``None`` for no log-probabilities.
        echo: Whether the response begins with the prompt.
        strip: Whether white space at both ends of the text is left out.
    """

    model: Model
    prompt: Prompt
    number: int
    sampling: Sampling | None
    deadline: float
    top: int | None = None
    echo: bool = False
    strip: bool = False


class Piece(NamedTuple):
    """A piece of an answer, with the tokens that it makes visible."""

    text: str
    tokens: Sequence[WireToken] | None = None


@dataclass(slots=True)
class Answer:
    """The answer to one prompt, while it arrives and when it is complete.

    Attributes:
        ask: The prompt, and what the response must contain.
        call: The call; ``None`` if nothing is generated.
        text: The text, when it is complete.
        tokens: The tokens of the text, if they were asked for.
        read: Number of tokens of the prompt, where no call tells it.
    """

    ask: Ask
    call: Call | None = None
    text: str = ""
    tokens: list[WireToken] | None = None
    read: int | None = None
    _generated: list[Generated] = field(default_factory=list)

    @property
    def completion(self) -> Completion | None:
        """The completion; ``None`` until it is complete, and if nothing was generated."""
        return self.call.completion if self.call is not None else None

    @property
    def finish(self) -> str | None:
        """The finish reason in the words of the protocol; ``None`` if the target tells none."""
        if self.call is None:
            return "length"
        reason = self.completion.finish_reason if self.completion is not None else None
        return _FINISH.get(reason, reason) if reason is not None else None

    async def complete(self) -> None:
        """Get the whole answer.

        Raises:
            Phi2Error: The target failed.
        """
        ask = self.ask
        if ask.top is None:
            text = await self._start(stream=False).text() if ask.sampling is not None else ""
            self.text = text.strip() if ask.strip else text
        else:
            await self._complete_with_tokens(ask.top)
        if ask.echo:
            self.text = ask.prompt.text + self.text

    async def pieces(self) -> AsyncGenerator[Piece, None]:
        """Yield the answer in pieces as they arrive.

        Raises:
            Phi2Error: The target failed.
        """
        ask, local = self.ask, None
        if ask.top is not None and ask.model.tokens is not None:
            local = await ask.model.tokens.load()
        if ask.echo:
            tokens = None if ask.top is None else await self._prompt_tokens(ask.top)
            yield Piece(ask.prompt.text, tokens)
        if ask.sampling is None:
            return
        released, strip = Released(), _Strip() if ask.strip else None
        async with aclosing(self._start(stream=True).chunks()) as chunks:
            async for chunk in chunks:
                text = strip.feed(chunk.text) if strip is not None else chunk.text
                if ask.top is None:
                    if text:
                        yield Piece(text)
                    continue
                generated = released.feed(chunk)
                if text or generated:
                    yield Piece(text, of_generated(generated, ask.sampling, ask.top, local))
        if ask.top is not None and (rest := released.rest()):
            yield Piece("", of_generated(rest, ask.sampling, ask.top, local))

    def _start(self, *, stream: bool) -> Call:
        ask = self.ask
        assert ask.sampling is not None
        request = ask.model.request(ask.prompt, ask.sampling, ask.deadline, stream=stream)
        self.call = Call(ask.model, request)
        return self.call

    async def _complete_with_tokens(self, top: int) -> None:
        ask = self.ask
        if ask.sampling is not None:
            released = Released()
            # In a stream, each chunk is one token.
            async with aclosing(self._start(stream=True).chunks()) as chunks:
                async for chunk in chunks:
                    self.text += chunk.text
                    self._generated += released.feed(chunk)
            self._generated += released.rest()
            self.text = self.text.strip() if ask.strip else self.text
        if ask.model.tokens is None:
            prompt = await self._prompt_tokens(top) if ask.echo else []
            answer = of_generated(self._generated, ask.sampling, top, None) if ask.sampling else []
            self.tokens = [*prompt, *answer]
            return
        local = await ask.model.tokens.load()
        ids = local.ids(ask.prompt.token_ids or ask.prompt.text)
        self.read = len(ids)
        ranked = await ask.model.tokens.rank(
            [*ids, *(token.id for token in self._generated if token.id is not None)], max(top, 1)
        )
        self.tokens = list(shown(local, ranked, top))[0 if ask.echo else len(ids) :]

    async def _prompt_tokens(self, top: int) -> list[WireToken]:
        ask = self.ask
        ids: Sequence[int] = ()
        if ask.model.tokens is not None:
            local = await ask.model.tokens.load()
            ids = local.ids(ask.prompt.token_ids or ask.prompt.text)
        tokens = await of_prompt(ask.model, ask.prompt.text, ids, top)
        self.read = len(tokens)
        return tokens


class _Strip:
    """Leaves out white space at both ends of a text that arrives in pieces."""

    def __init__(self) -> None:
        self._began = False
        self._held = ""

    def feed(self, text: str) -> str:
        text = self._held + text if self._began else text.lstrip()
        kept = text.rstrip()
        self._began = self._began or bool(kept)
        self._held = text[len(kept) :]
        return kept


def used(answers: Iterable[Answer]) -> dict[str, Any] | None:
    """Return the usage of a response; ``None`` unless the targets tell all of it exactly.

    A prompt with several answers is counted once, as OpenAI counts it.
    """
    read: dict[int, int | None] = {}
    wrote, cached = 0, 0
    for answer in answers:
        told = answer.completion.usage if answer.completion is not None else None
        output = _exact(told.output_billed) if told is not None else 0
        if output is None or (answer.ask.sampling is not None and told is None):
            return None
        wrote += output
        before = _exact(told.input) if told is not None else answer.read
        if answer.ask.number not in read:
            cached += (_exact(told.cached) if told is not None else 0) or 0
        read[answer.ask.number] = before
    if any(count is None for count in read.values()):
        return None
    found = usage(sum(count for count in read.values() if count is not None), wrote)
    return found | {"prompt_tokens_details": {"cached_tokens": cached}} if cached else found


def _exact(count: Count | None) -> int | None:
    return None if count is None or count.estimated else count.value
