"""An engine that answers with a real local model, many requests in one batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from phi2sdk.emulator.engine import EOS_TEXT, Decoding, Token

if TYPE_CHECKING:
    from phi2sdk.backends.engine.job import News
    from phi2sdk.backends.engine.model import LocalModel


class ModelEngine:
    """Generate tokens with a local model in one batch for all requests, as a real server does.

    Args:
        model: The model. The caller keeps it and may use it elsewhere too.
        slots: Maximum number of requests in one batch; other requests wait.
        temperature: Temperature for every sampled request, instead of the requested one. An
            identity test must detect a provider that does this.
        name: The name of the model in responses; by default the name of ``model``.
    """

    def __init__(
        self,
        model: LocalModel,
        *,
        slots: int = 32,
        temperature: float | None = None,
        name: str | None = None,
    ) -> None:
        from phi2sdk.backends.engine.worker import Worker

        self._model = model
        self._temperature = temperature
        self._worker = Worker(lambda: model, slots)
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
        """Return the tokens of ``text`` with log-probabilities, at temperature 1."""
        ids = self._model.encode(text)
        if len(ids) < 2:
            return self.prompt_tokens(text)
        score = await asyncio.wrap_future(
            self._worker.call(lambda model: model.score(ids[:1], ids[1:]))
        )
        known = zip(score.ids, score.logprob, score.argmax, score.best, strict=True)
        spelled = self._model.decode
        return [
            Token(ids[0], spelled([ids[0]]), None),
            *(Token(i, spelled([i]), p, best=(spelled([top]), high)) for i, p, top, high in known),
        ]

    def close(self) -> None:
        """End the thread; requests in progress and waiting requests fail."""
        self._worker.close()

    async def tokens(self, prompt: str, decoding: Decoding) -> AsyncGenerator[Token, None]:
        """Yield the tokens of the model as they are generated."""
        from phi2sdk.backends.engine.job import Ended, Failed, Generated, Job
        from phi2sdk.sampling import Sampling
        from phi2sdk.stops import StopCutter

        # The server handles the stops, so that the model gets none.
        sampling = Sampling(**{**asdict(decoding), "stop": ()})
        if self._temperature is not None and not sampling.greedy:
            sampling = replace(sampling, temperature=self._temperature)
        loop = asyncio.get_running_loop()
        news: asyncio.Queue[News] = asyncio.Queue()

        def tell(one: News) -> None:
            if not job.cancelled.is_set():
                loop.call_soon_threadsafe(news.put_nowait, one)

        job = Job(self._model.encode(prompt), sampling, StopCutter(()), tell)
        self._worker.submit(job)
        try:
            while True:
                one = await news.get()
                if isinstance(one, Generated):
                    step = one.step
                    text = (step.text or EOS_TEXT) if step.special else step.text
                    yield Token(step.id, text, step.logprob, step.special)
                elif isinstance(one, Failed):
                    raise RuntimeError(str(one.error)) from one.error
                elif isinstance(one, Ended):
                    return
        finally:
            job.cancelled.set()
