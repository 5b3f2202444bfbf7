"""An engine that answers with a real local model, one request at a time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from phi2sdk.emulator.engine import EOS_TEXT, Decoding, Token

if TYPE_CHECKING:
    from phi2sdk.logprobs import Score
    from phi2sdk.sampling import Sampling

__all__ = ["ModelEngine", "sampling_of", "tokens_of"]


class _Step(Protocol):
    """A token as the local model yields it."""

    @property
    def id(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def logprob(self) -> float | None: ...
    @property
    def special(self) -> bool: ...


class _Model(Protocol):
    """The methods of the local model that the engine uses; they block."""

    @property
    def name(self) -> str: ...
    @property
    def context_length(self) -> int: ...
    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: list[int]) -> str: ...
    def tokens(
        self, prompt: str, sampling: Sampling, *, cancelled: threading.Event
    ) -> Iterable[_Step]: ...


@runtime_checkable
class _Scores(Protocol):
    """A model that can also score a text."""

    def score(self, prompt: Sequence[int], text: Sequence[int]) -> Score: ...


class ModelEngine:
    """Generate tokens with a local model in one thread.

    Requests are answered one after the other in the order of arrival. Closing the iterator, as a
    server does when its client disconnects, stops the model after the current step.

    Args:
        model: A ``phi2sdk.backends.engine.LocalModel``, or an object with the same methods.
        name: The name of the model in responses; by default the name of ``model``.
    """

    def __init__(self, model: _Model, *, name: str | None = None) -> None:
        self._model = model
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="phi2-emulated-model")
        self.model = name if name is not None else model.name
        self.context_length = model.context_length

    def count(self, text: str) -> int:
        """Return the number of tokens of ``text``."""
        return len(self._model.encode(text))

    def prompt_tokens(self, text: str) -> Sequence[Token]:
        """Return the tokens of ``text`` without log-probabilities, which need a forward pass."""
        ids = self._model.encode(text)
        return [Token(one, self._model.decode([one]), None) for one in ids]

    async def scored_tokens(self, text: str) -> Sequence[Token]:
        """Return the tokens of ``text`` with log-probabilities, if the model can score."""
        ids = self._model.encode(text)
        if len(ids) < 2 or not isinstance(self._model, _Scores):
            return self.prompt_tokens(text)
        loop = asyncio.get_running_loop()
        score = await loop.run_in_executor(self._pool, self._model.score, ids[:1], ids[1:])
        return tokens_of(ids[0], score, self._model.decode)

    def close(self) -> None:
        """End the thread; waiting requests are not started."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    async def tokens(self, prompt: str, decoding: Decoding) -> AsyncGenerator[Token, None]:
        """Yield the tokens of the model as they are generated."""
        loop = asyncio.get_running_loop()
        steps: asyncio.Queue[Token | BaseException | None] = asyncio.Queue()
        cancelled = threading.Event()

        def put(item: Token | BaseException | None) -> None:
            if not cancelled.is_set():
                loop.call_soon_threadsafe(steps.put_nowait, item)

        def work() -> None:
            if cancelled.is_set():
                return
            try:
                sampling = sampling_of(decoding)
                for step in self._model.tokens(prompt, sampling, cancelled=cancelled):
                    if cancelled.is_set():
                        return
                    text = (step.text or EOS_TEXT) if step.special else step.text
                    put(Token(step.id, text, step.logprob, step.special))
                put(None)
            except BaseException as error:  # raised again where the caller awaits tokens
                put(error)

        done = self._pool.submit(work)
        try:
            while (item := await steps.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            cancelled.set()
            done.cancel()


def sampling_of(decoding: Decoding) -> Sampling:
    """Return the parameters of the model without stops, which the server handles."""
    from phi2sdk.sampling import Sampling

    return Sampling(
        max_tokens=decoding.max_tokens,
        temperature=decoding.temperature,
        top_p=decoding.top_p,
        top_k=decoding.top_k,
        min_p=decoding.min_p,
        repetition_penalty=decoding.repetition_penalty,
        seed=decoding.seed,
        stop=(),
    )


def tokens_of(first: int, score: Score, spelled: Callable[[list[int]], str]) -> list[Token]:
    """Return the tokens of a text with log-probabilities; the first token has none."""
    known = zip(score.ids, score.logprob, score.argmax, score.best, strict=True)
    return [
        Token(first, spelled([first]), None),
        *(Token(i, spelled([i]), p, best=(spelled([top]), high)) for i, p, top, high in known),
    ]
