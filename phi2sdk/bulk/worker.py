"""Answer rows with a client: the worker of one process, or of one actor of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from phi2sdk import prompts
from phi2sdk.bulk.rows import Row
from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.client.limits import Gate, Purse
from phi2sdk.config.target import Target
from phi2sdk.measure.answering import answer_row
from phi2sdk.measure.answers import Answer
from phi2sdk.measure.workload import Task
from phi2sdk.prompts import Format, Prompt
from phi2sdk.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Question:
    """The question that is asked about each text.

    Attributes:
        task: ``summarize`` puts the text into the fixed template; ``prompt`` sends it in
            ``format``.
        format: The prompt format of task ``prompt``.
        sampling: How tokens are chosen.
        allow_control_tokens: Whether ``<|endoftext|>`` may occur in a text.
    """

    task: Task = "summarize"
    format: Format = "instruct"
    sampling: Sampling = field(default_factory=Sampling)
    allow_control_tokens: bool = False

    def prompt(self, text: str) -> Prompt:
        """Return the prompt of a text.

        Raises:
            InvalidRequest: The text cannot become a prompt.
        """
        allowed = self.allow_control_tokens
        if self.task == "summarize":
            return prompts.summarize(text, allow_control_tokens=allowed)
        return prompts.render(text, self.format, allow_control_tokens=allowed)


class Worker:
    """Answers rows; an asynchronous context manager.

    Args:
        targets: The targets, in the order in which they are tried.
        question: What is asked.
        gate: Admits each call.
        purse: The budget, if there is one.
        sent: Called with the number of a row before each call for it is sent.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        question: Question,
        *,
        gate: Gate,
        purse: Purse | None = None,
        sent: Callable[[int], None],
    ) -> None:
        self._question = question
        self._sent = sent
        self.client = AsyncPhi2Client(list(targets), budget=purse, wrap=gate.wrap)

    async def run(
        self, rows: Iterator[Row], concurrency: int, took: Callable[[Row, Answer | None], None]
    ) -> None:
        """Answer rows, with at most ``concurrency`` requests in flight, until none is left.

        Args:
            rows: Taken one by one.
            concurrency: Largest number of requests in flight.
            took: Receives each row with its outcome; ``None`` if the budget does not cover it and
                no call was sent.
        """

        async def lane() -> None:
            for row in rows:
                took(row, await self.answer(row))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(lane())
        except ExceptionGroup as several:
            raise several.exceptions[0] from several

    async def answer(self, row: Row) -> Answer | None:
        """Return the outcome of a row; ``None`` if the budget covers no call for it."""
        request = self.client.request(
            self._question.prompt(row.text), self._question.sampling, stream=False
        )
        return await answer_row(self.client, request, row.n, row.id, sent=self._sent)

    async def __aenter__(self) -> Worker:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.close()
