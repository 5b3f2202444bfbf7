"""Ask one target the questions of an evaluation."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from time import monotonic

from phi2sdk.backends.base import Backend
from phi2sdk.backends.local_gpu import LocalBackend
from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.client.limits import CHARGED, Gate, Purse
from phi2sdk.client.policies import leaves
from phi2sdk.completion import Count, Request, Usage
from phi2sdk.config.target import Target
from phi2sdk.errors import (
    BudgetExceeded,
    ConfigurationError,
    ConnectionFailed,
    ContextLengthExceeded,
    InvalidRequest,
    Phi2Error,
    TransientError,
)
from phi2sdk.evaluate.encoding import Pair, last_pieces, moved, pair, reply_of, windows
from phi2sdk.evaluate.questions import (
    Generation,
    Likelihood,
    Likely,
    Question,
    Rolling,
    cut,
    encode_likely,
)
from phi2sdk.logprobs import TokenLogprob
from phi2sdk.measure.answering import answer_row, failed
from phi2sdk.measure.answers import Answer
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.prompts import END_OF_TEXT, Prompt
from phi2sdk.sampling import Sampling

__all__ = ["Asker", "Row", "Took"]

CONCURRENCY = 16
"""Requests in flight at a provider; at a local target twice its slots."""
CHUNK = 64
"""Questions that a local target scores before their answers are recorded."""
ATTEMPTS = 4
"""Largest number of calls for the log-probabilities of one text."""
LENGTH = 2048
"""Context length of Phi-2, for endpoints that do not state theirs."""


@dataclass(frozen=True, slots=True)
class Row:
    """A question with its number in the run and its id."""

    n: int
    id: str
    question: Question


Took = Callable[[Row, Answer | None], None]
"""Receives the outcome of a row; ``None`` if the budget covers no call for it."""


class Asker:
    """Asks one target.

    Args:
        target: The target.
        tokenizer: Counts tokens.
        purse: The budget of all targets that charge for calls, if there is one.
        concurrency: Largest number of requests in flight.

    Raises:
        ConfigurationError: The target cannot be opened, or the budget needs its price.
    """

    def __init__(
        self,
        target: Target,
        tokenizer: ReferenceTokenizer,
        *,
        purse: Purse | None = None,
        concurrency: int | None = None,
    ) -> None:
        self.target = target
        self._tokenizer = tokenizer
        self.local = target.backend == "local"
        own = None if self.local else purse
        self.client = AsyncPhi2Client(target, budget=own, wrap=Gate(purse=own).wrap)
        slots = target.settings.get("slots", 16)
        self.concurrency = concurrency or (2 * slots if self.local else CONCURRENCY)

    @property
    def _leaf(self) -> Backend:
        return next(leaves(self.client.backend))

    @property
    def tells(self) -> bool:
        """Return whether the target tells log-likelihoods."""
        found = self._leaf.capabilities
        return found.scores or found.prompt_logprobs

    @property
    def wraps(self) -> bool:
        """Return whether the server puts prompts into a chat template."""
        return self._leaf.capabilities.wraps

    async def check(self) -> None:
        """Check that the target can be reached; no question is sent.

        Raises:
            ConfigurationError: It cannot be reached.
        """
        try:
            await self._leaf.check()
        except ConnectionFailed as error:
            raise ConfigurationError(f"target {self.target.name}: {error}") from error
        except TransientError:
            return  # busy or asleep, which the questions themselves retry

    def request(self, question: Question) -> Request:
        """Return a request that costs as much as a question, for estimates and limits."""
        if isinstance(question, Generation):
            text, sampling = question.context, question.sampling
        else:
            text, sampling = _whole(question), Sampling(max_tokens=1)
        prompt = Prompt(text, allow_control_tokens=True)
        return self.client.request(prompt, sampling, stream=False)

    async def ask(
        self,
        rows: Sequence[Row],
        *,
        sent: Callable[[int], None],
        took: Took,
        stopped: Callable[[], bool],
    ) -> None:
        """Ask all rows.

        Args:
            rows: The rows.
            sent: Called with the number of a row before a call for it is sent.
            took: Receives the outcomes.
            stopped: Whether no further row is asked.
        """
        scored = [row for row in rows if not isinstance(row.question, Generation)]
        others = [row for row in rows if isinstance(row.question, Generation)]
        if self.local:
            await self._score(scored, sent, took, stopped)
            scored = []
        waiting = iter([*scored, *others])

        async def lane() -> None:
            for row in waiting:
                if stopped():
                    return
                took(row, await self._answer(row, sent))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.concurrency):
                    group.create_task(lane())
        except ExceptionGroup as several:
            raise several.exceptions[0] from several

    async def close(self) -> None:
        """Release the connections or the model."""
        await self.client.close()

    # ------------------------------------------------------------------ one call for one question

    async def _answer(self, row: Row, sent: Callable[[int], None]) -> Answer | None:
        if not isinstance(row.question, Generation):
            return await self._ask_logprobs(row, sent)
        question = row.question
        try:
            request = await self._generation(question)
        except (InvalidRequest, ContextLengthExceeded) as error:
            return self._failed(row, error)
        stops = (*question.sampling.stop, END_OF_TEXT)
        return await answer_row(
            self.client,
            request,
            row.n,
            row.id,
            sent=sent,
            text=lambda completion: cut(completion.raw_text, stops),
        )

    async def _generation(self, question: Generation) -> Request:
        """Return the request for a generation; a context that is too long loses its beginning."""
        text, sampling = question.context, question.sampling
        if isinstance(self._leaf, LocalBackend):
            model = await self._leaf.load()
            ids, room = model.encode(text), model.context_length - sampling.max_tokens
            kept = ids[-room:] if 0 < room < len(ids) else ids
            prompt = Prompt(text, allow_control_tokens=True, token_ids=tuple(kept))
        else:
            text = last_pieces(text, self._tokenizer, self._length - sampling.max_tokens)
            prompt = Prompt(text, allow_control_tokens=True)
        return self.client.request(prompt, sampling, stream=False)

    async def _ask_logprobs(self, row: Row, sent: Callable[[int], None]) -> Answer | None:
        """Ask an endpoint for the log-probabilities of context and continuation as one text."""
        charged: list[float] = []
        CHARGED.set(charged)
        calls = 0

        def called() -> None:
            nonlocal calls
            calls += 1
            sent(row.n)

        begun = monotonic()
        try:
            context, continuation = self._texts(row.question)
            tokens = await self._logprobs(context + continuation, called)
            reply = reply_of(context, continuation, tokens, self._tokenizer)
        except Phi2Error as error:
            if isinstance(error, BudgetExceeded) and calls == 1:
                return None
            usd = None if self.client.spending is None else sum(charged)
            return replace(self._failed(row, error), attempts=calls, charged=usd)
        usage = Usage(Count(len(tokens)), Count(1))
        return replace(
            self._scored(row, reply, usage, monotonic() - begun),
            attempts=calls,
            charged=None if self.client.spending is None else sum(charged),
        )

    def _texts(self, question: Question) -> tuple[str, str]:
        if isinstance(question, Rolling):
            if self._tokenizer.count(question.text) >= self._length:
                raise ContextLengthExceeded(
                    "the text is longer than the context, and only a local target is asked in "
                    "windows"
                )
            return END_OF_TEXT, question.text
        assert isinstance(question, Likelihood)
        context, continuation = moved(question)
        if not context:
            return END_OF_TEXT, continuation
        room = self._length - 1 - self._tokenizer.count(continuation)
        return last_pieces(context, self._tokenizer, room), continuation

    async def _logprobs(self, text: str, called: Callable[[], None]) -> Sequence[TokenLogprob]:
        for attempt in range(1, ATTEMPTS + 1):
            called()
            try:
                return await self.client.backend.prompt_logprobs(text, timeout=self._timeout)
            except Phi2Error as error:
                if not error.retryable or attempt == ATTEMPTS:
                    raise
                wait = random.uniform(0, 0.5 * 2**attempt)
                await asyncio.sleep((error.retry_after or 0.0) + wait)
        raise AssertionError("the last attempt returns or raises")

    @property
    def _timeout(self) -> float | None:
        return self.client.request("any").timeout

    @property
    def _length(self) -> int:
        return self._leaf.capabilities.context_length or LENGTH

    # ------------------------------------------------------------------ many questions in one pass

    async def _score(
        self,
        rows: Sequence[Row],
        sent: Callable[[int], None],
        took: Took,
        stopped: Callable[[], bool],
    ) -> None:
        """Score rows here, those with the same beginning one after another."""
        backend = self._leaf
        if not rows or not isinstance(backend, LocalBackend):
            return
        model = await backend.load()
        length = model.context_length
        encoded: list[tuple[Row, list[Pair]]] = []
        for row in rows:
            try:
                encoded.append((row, _pairs(row.question, model.encode, length)))
            except ContextLengthExceeded as error:
                took(row, self._failed(row, error))
        encoded.sort(key=lambda one: [*one[1][0][0], *one[1][0][1]] if one[1] else [])
        for chunk in _chunks(encoded, CHUNK):
            if stopped():
                return
            for row, _ in chunk:
                sent(row.n)
            begun = monotonic()
            found = iter(await backend.likelihoods([one for _, pairs in chunk for one in pairs]))
            seconds = (monotonic() - begun) / len(chunk)
            for row, pairs in chunk:
                own = [next(found) for _ in pairs]
                logprob, greedy = float(sum(one[0] for one in own)), all(one[1] for one in own)
                reply = Likely(logprob, greedy, sum(len(text) for _, text in pairs))
                usage = Usage(Count(sum(len(a) + len(b) for a, b in pairs)), Count(0))
                took(row, self._scored(row, reply, usage, seconds))

    def _scored(self, row: Row, reply: Likely, usage: Usage, seconds: float) -> Answer:
        price = self.target.price
        cost = None if price is None else price.cost(usage, seconds)
        assert usage.input is not None
        assert usage.output_billed is not None
        return Answer(
            row.n,
            row.id,
            text=encode_likely(reply),
            input_tokens=usage.input.value,
            output_tokens=usage.output_billed.value,
            usd=None if cost is None else cost.usd,
            target=self.target.name,
            attempts=1,
        )

    def _failed(self, row: Row, error: Phi2Error) -> Answer:
        name = self.target.name
        free = None if self.client.spending is None else 0.0
        return failed(row.n, row.id, error, target=name, attempts=0, charged=free)


def _pairs(question: Question, encode: Callable[[str], list[int]], length: int) -> list[Pair]:
    if isinstance(question, Rolling):
        return windows(question, encode, length)
    assert isinstance(question, Likelihood)
    return [pair(question, encode, length + 1)]  # the last token is predicted, and not read


def _whole(question: Likelihood | Rolling) -> str:
    if isinstance(question, Rolling):
        return END_OF_TEXT + question.text
    return (question.context or END_OF_TEXT) + question.continuation


def _chunks(
    rows: Sequence[tuple[Row, list[Pair]]], size: int
) -> Iterator[Sequence[tuple[Row, list[Pair]]]]:
    for at in range(0, len(rows), size):
        yield rows[at : at + size]
