"""A target as a model of the harness (lm_eval), for programs that use the harness themselves.

::

    with HarnessModel("azure") as model:
        lm_eval.simple_evaluate(model, tasks=["gsm8k"])

``phi2 evaluate`` sends the same requests, and adds a journal, a budget and comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from lm_eval.api.model import LM

from phi2sdk.client.loop_thread import LoopThread
from phi2sdk.config.lookup import resolve
from phi2sdk.config.target import Target
from phi2sdk.errors import Phi2Error
from phi2sdk.evaluate.asking import Asker, Row
from phi2sdk.evaluate.questions import Likely, Reply, decode_reply, question_of
from phi2sdk.measure.answers import Answer
from phi2sdk.measure.candidate import described
from phi2sdk.measure.tokens import find_tokenizer, local_model

__all__ = ["HarnessModel"]


class HarnessModel(LM):  # type: ignore[misc]
    """A model of the harness that asks a target; a context manager.

    Args:
        target: The target.
        config: The configuration file; ``phi2.toml`` of the working directory by default.
        concurrency: Largest number of requests in flight; by default 16, or twice the slots of a
            local target.

    Raises:
        ConfigurationError: The target cannot be opened.
    """

    def __init__(
        self,
        target: str | Target,
        *,
        config: str | Path | None = None,
        concurrency: int | None = None,
    ) -> None:
        super().__init__()
        one = resolve(target, config) if isinstance(target, str) else target
        settings = {"backend": one.backend, "settings": described(one.settings)}
        tokenizer = find_tokenizer(local_model({one.name: settings}))
        self._asker = Asker(one, tokenizer, concurrency=concurrency)
        self._thread: LoopThread | None = LoopThread.acquire(self)

    def loglikelihood(self, requests: Sequence[Any], **_: Any) -> list[tuple[float, bool]]:
        """Return the log-likelihood of each continuation, and whether greedy decoding writes it.

        Raises:
            Phi2Error: A request failed, or the target tells no log-likelihoods.
        """
        found = [one for one in self._replies(requests) if isinstance(one, Likely)]
        return [(one.logprob, bool(one.greedy)) for one in found]

    def loglikelihood_rolling(self, requests: Sequence[Any], **_: Any) -> list[float]:
        """Return the log-likelihood of each text.

        Raises:
            Phi2Error: A request failed, or the target tells no log-likelihoods.
        """
        return [one.logprob for one in self._replies(requests) if isinstance(one, Likely)]

    def generate_until(self, requests: Sequence[Any], **_: Any) -> list[str]:
        """Return the generated texts, cut at their stops.

        Raises:
            Phi2Error: A request failed.
        """
        return [one for one in self._replies(requests) if isinstance(one, str)]

    def close(self) -> None:
        """Release connections and memory. Closing twice has no effect."""
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.run(self._asker.close())
            thread.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _replies(self, requests: Sequence[Any]) -> list[Reply]:
        questions = [question_of(one.request_type, one.args) for one in requests]
        rows = [Row(n, str(n), question) for n, question in enumerate(questions)]
        failures: list[str] = []
        answers: dict[int, str] = {}

        def took(row: Row, answer: Answer | None) -> None:
            assert answer is not None, "there is no budget"
            if answer.error is not None:
                failures.append(answer.error)
            answers[row.n] = answer.text or ""

        async def ask() -> None:
            await self._asker.client.backend.detect()
            await self._asker.ask(
                rows, sent=lambda n: None, took=took, stopped=lambda: bool(failures)
            )

        if self._thread is None:
            raise Phi2Error("this model is closed. Open a new one")
        self._thread.run(ask())
        if failures:
            raise Phi2Error(f"a request of the harness failed: {failures[0]}")
        return [decode_reply(row.question, answers[row.n]) for row in rows]
