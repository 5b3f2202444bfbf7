"""The asynchronous client. It has all the logic; the synchronous client calls it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Literal, Never, Self, TypeVar, Unpack, overload

from phi2sdk import prompts
from phi2sdk.backends.base import Backend, OnUnsupported
from phi2sdk.client.policies import Fallback, Retry, RetryBudget
from phi2sdk.client.streaming import CompletionStream
from phi2sdk.completion import Completion, Event, Receipt, Request
from phi2sdk.config.lookup import resolve
from phi2sdk.config.target import Target
from phi2sdk.errors import ConfigurationError, InvalidRequest, Phi2Error
from phi2sdk.fold import Fold
from phi2sdk.log import answered
from phi2sdk.logprobs import Score
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import Sampling, SamplingParameters, refuse_unknown_parameters
from phi2sdk.stops import cut_at_stops

if TYPE_CHECKING:  # they need pydantic, which a client without a price does without
    from phi2sdk.client.budget import Spending
    from phi2sdk.client.telemetry import Telemetry
    from phi2sdk.pricing.price import Price

T = TypeVar("T")

_GREEDY = Sampling()

Targets = str | Target | Backend | Sequence[str | Target | Backend]


class AsyncPhi2Client:
    """Client for Phi-2 on any provider, for asyncio.

    Args:
        target: A name from ``phi2.toml``, a backend (``local``, ``azure``, ``clarifai``, ``hf``,
            ``openai``), a :class:`~phi2sdk.config.Target`, a backend object, or several of these
            that are tried in this order.
        config: The configuration file; ``phi2.toml`` of the working directory by default.
        timeout: Seconds for a whole request, retries included; ``None`` for no limit.
        attempts: Largest number of calls for one request.
        on_unsupported: What happens to a parameter that a route does not support: ``raise``
            :class:`~phi2sdk.errors.UnsupportedParameter`, or ``warn`` to leave it out and record
            this on the receipt.
        budget: Limit in US dollars for all requests together, or a
            :class:`~phi2sdk.client.budget.Spending` that several clients share. Every target then
            needs a price; a call that could exceed the budget raises
            :class:`~phi2sdk.errors.BudgetExceeded`.
        telemetry: Emit OpenTelemetry spans and metrics of every request, without prompts and
            answers; or a :class:`~phi2sdk.client.telemetry.Telemetry` with other choices.
        wrap: Wraps the backend of each target in a policy of your own, which every attempt of a
            request passes.
        settings: Settings of the backend, over those of the file (only with a single name).

    Raises:
        ConfigurationError: A target is unknown, or a key or dependency of it is missing.
    """

    def __init__(
        self,
        target: Targets = "local",
        *,
        config: str | Path | None = None,
        timeout: float | None = 600.0,
        attempts: int = 4,
        on_unsupported: OnUnsupported | None = None,
        budget: float | Spending | None = None,
        telemetry: bool | Telemetry = False,
        wrap: Callable[[Backend], Backend] | None = None,
        **settings: Any,
    ) -> None:
        several = _several(target)
        if settings and (len(several) != 1 or not isinstance(several[0], str | Target)):
            raise ConfigurationError(
                "settings apply to one target by its name, but several targets or a Backend were "
                "given. Configure each in phi2.toml or as a Target"
            )
        self._prices: dict[str, Price | None] = {}
        self._timeout = timeout
        self.spending = _spending(budget)
        self._telemetry = _telemetry(telemetry)
        retries = RetryBudget()
        opened: list[Backend] = []
        for named in several:
            one = resolve(named, config) if isinstance(named, str) else named
            backend = self._open(one, on_unsupported, settings)
            if self.spending is not None:
                backend = self._limited(backend, self.spending)
            if wrap is not None:
                backend = wrap(backend)
            tries = one.attempts or attempts if isinstance(one, Target) else attempts
            opened.append(Retry(backend, attempts=tries, budget=retries))
        self.backend: Backend = opened[0] if len(opened) == 1 else Fallback(opened)
        self._closed = False

    @property
    def target(self) -> str:
        """Name of the target; several names are joined by ``+``."""
        return self.backend.target

    async def generate(
        self,
        prompt: str | Prompt,
        sampling: Sampling | None = None,
        *,
        timeout: float | None = None,
        **parameters: Unpack[SamplingParameters],
    ) -> Completion:
        """Return the completion of a prompt.

        Args:
            prompt: A :class:`~phi2sdk.prompts.Prompt`; a bare string is an instruction.
            sampling: How tokens are chosen; greedy by default.
            timeout: Seconds for this request, instead of the client's timeout.
            parameters: Fields of :class:`~phi2sdk.sampling.Sampling`, over those of ``sampling``.

        Raises:
            Phi2Error: The request failed; the subclass states why.
        """
        request = self.request(prompt, sampling, timeout=timeout, stream=False, **parameters)
        account = Fold(request)
        try:
            async with aclosing(self.events(request)) as events:
                async for event in events:
                    account.take(event)
            return self.finish(account)
        except Phi2Error as error:
            account.fail(error, perf_counter_ns())
            raise

    def stream(
        self,
        prompt: str | Prompt,
        sampling: Sampling | None = None,
        *,
        timeout: float | None = None,
        **parameters: Unpack[SamplingParameters],
    ) -> CompletionStream:
        """Return a stream of the chunks of a completion, as they arrive.

        ::

            async with phi.stream("Explain tides.") as stream:
                async for chunk in stream:
                    print(chunk.text, end="")
            print(stream.completion.usage)

        Arguments and errors are those of :meth:`generate`. An error after the first chunk has the
        text received so far in ``partial``.
        """
        request = self.request(prompt, sampling, timeout=timeout, stream=True, **parameters)
        return CompletionStream(self.events(request), Fold(request), self.finish)

    @overload
    def generate_many(
        self,
        prompts: str,
        sampling: Sampling | None = None,
        *,
        concurrency: int = 8,
        return_errors: bool = False,
        timeout: float | None = None,
        **parameters: Unpack[SamplingParameters],
    ) -> Never: ...
    @overload
    def generate_many(
        self,
        prompts: Iterable[str | Prompt],
        sampling: Sampling | None = None,
        *,
        concurrency: int = 8,
        return_errors: Literal[False] = False,
        timeout: float | None = None,
        **parameters: Unpack[SamplingParameters],
    ) -> AsyncGenerator[tuple[int, Completion], None]: ...
    @overload
    def generate_many(
        self,
        prompts: Iterable[str | Prompt],
        sampling: Sampling | None = None,
        *,
        concurrency: int = 8,
        return_errors: bool,
        timeout: float | None = None,
        **parameters: Unpack[SamplingParameters],
    ) -> AsyncGenerator[tuple[int, Completion | Phi2Error], None]: ...
    def generate_many(
        self,
        prompts: Iterable[str | Prompt],
        sampling: Sampling | None = None,
        *,
        concurrency: int = 8,
        return_errors: bool = False,
        timeout: float | None = None,
        **parameters: Unpack[SamplingParameters],
    ) -> AsyncGenerator[tuple[int, Completion | Phi2Error], None]:
        """Yield ``(index, completion)`` for each of many prompts, as the requests complete.

        Args:
            prompts: Taken one by one, so an endless iterator is possible. A single string is
                refused, since its characters would be taken for prompts.
            sampling: As for :meth:`generate`.
            concurrency: Largest number of requests in flight.
            return_errors: Yield the error of a failed request instead of its completion. Otherwise
                the first failure cancels the other requests and is raised.
            timeout: Seconds for each request.
            parameters: As for :meth:`generate`.

        Raises:
            InvalidRequest: ``prompts`` is a single string, or a parameter is unknown.
            ConfigurationError: ``concurrency`` is below 1.
        """
        if isinstance(prompts, str | bytes | Prompt):
            raise InvalidRequest(
                f"generate_many takes several prompts, not one {type(prompts).__name__}. "
                "Pass a list of prompts, or use generate for a single one"
            )
        if concurrency < 1:
            raise ConfigurationError(f"concurrency={concurrency!r} must be at least 1")
        refuse_unknown_parameters(parameters)

        async def one(prompt: str | Prompt) -> Completion | Phi2Error:
            try:
                return await self.generate(prompt, sampling, timeout=timeout, **parameters)
            except Phi2Error as error:
                if return_errors:
                    return error
                raise

        return _as_they_complete(one, prompts, concurrency)

    async def summarize(
        self,
        paragraph: str,
        sampling: Sampling | None = None,
        *,
        timeout: float | None = None,
        **parameters: Unpack[SamplingParameters],
    ) -> Completion:
        """Return a one-sentence summary of a paragraph.

        The prompt is the fixed template :data:`~phi2sdk.prompts.SUMMARY_TEMPLATE`.

        Arguments and errors as for :meth:`generate`.
        """
        prompt = prompts.summarize(paragraph)
        return await self.generate(prompt, sampling, timeout=timeout, **parameters)

    async def score(self, prompt: str | Prompt, text: str, *, temperature: float = 1.0) -> Score:
        """Return the log-probability of each token of ``text`` after ``prompt``; local models only.

        Args:
            prompt: As for :meth:`generate`.
            text: The text as the model generates it: after ``Output:``, with the leading space.
            temperature: Divisor of the logits; above 0.

        Raises:
            InvalidRequest: The target cannot score a given text, or the text is empty.
        """
        self._refuse_if_closed()
        return await self.backend.score(_prompt(prompt).text, text, temperature=temperature)

    def explain(
        self,
        sampling: Sampling | None = None,
        prompt: str | Prompt = "...",
        **parameters: Unpack[SamplingParameters],
    ) -> Receipt:
        """Return the receipt that a request would have, without sending anything.

        As long as the server software has not been detected, the receipt shows the standard OpenAI
        parameters and states this; ``check()`` detects the software.

        Raises:
            UnsupportedParameter: The route does not support a parameter.
        """
        return self.backend.explain(self.request(prompt, sampling, **parameters))

    async def check(self) -> str:
        """Make one inexpensive call to see whether the target is reachable; return its answer."""
        return await self.backend.check()

    def request(
        self,
        prompt: str | Prompt,
        sampling: Sampling | None = None,
        *,
        timeout: float | None = None,
        stream: bool = True,
        **parameters: Unpack[SamplingParameters],
    ) -> Request:
        """Build a request without sending it.

        Raises:
            InvalidRequest: The prompt is empty, or a parameter is unknown or out of its range.
        """
        prompt = _prompt(prompt)
        chosen = sampling or _GREEDY
        if parameters:
            refuse_unknown_parameters(parameters)
            changes: dict[str, Any] = {**parameters}
            chosen = replace(chosen, **changes)
        limit = self._timeout if timeout is None else timeout
        if limit is not None and not limit > 0:
            raise InvalidRequest(f"timeout={limit!r} must be above 0 seconds, or None for no limit")
        return Request(prompt, chosen, stream, limit)

    def events(self, request: Request) -> AsyncGenerator[Event, None]:
        """Return the events of a request, after retries and fallback, and cut at the stops.

        A measurement uses it to keep the events; :class:`~phi2sdk.fold.Fold` combines them.
        """
        self._refuse_if_closed()
        events = cut_at_stops(self.backend.stream(request), request)
        if self._telemetry is None:
            return events
        return self._telemetry.observe(events, request, self.backend)

    def finish(self, account: Fold) -> Completion:
        """Return the completion of the events of a request, with its cost.

        Args:
            account: The events that :meth:`events` yielded.

        Raises:
            BadResponse: The stream ended without its final event.
        """
        completion = account.completion()
        if account.done is not None and account.done.cut:
            completion = replace(completion, usage=account.estimate(completion.usage))
        answered(completion)
        price = self._prices.get(completion.receipt.target)
        if price is None:
            return completion
        from phi2sdk.pricing.price import cost_of

        return replace(completion, cost=cost_of(price, completion.usage, completion.timing.e2e))

    async def close(self) -> None:
        """Release connections, threads and memory. Closing twice has no effect."""
        self._closed = True
        await self.backend.close()

    async def __aenter__(self) -> Self:
        self._refuse_if_closed()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ConfigurationError("this client is closed. Open a new client")

    def _open(
        self,
        target: Target | Backend,
        on_unsupported: OnUnsupported | None,
        settings: dict[str, Any],
    ) -> Backend:
        if isinstance(target, Backend):
            return target
        self._prices[target.name] = target.price
        if target.timeout is not None:
            self._timeout = target.timeout
        return target.open(on_unsupported=on_unsupported, program=settings)

    def _limited(self, backend: Backend, spending: Spending) -> Backend:
        from phi2sdk.client.budget import Budget

        price = self._prices.get(backend.target)
        if price is None:
            raise ConfigurationError(
                f"the budget needs a price for the target {backend.target}: add price to its table "
                "in phi2.toml"
            )
        return Budget(backend, price=price, spending=spending)


async def _as_they_complete(
    one: Callable[[str | Prompt], Coroutine[Any, Any, T]],
    prompts: Iterable[str | Prompt],
    concurrency: int,
) -> AsyncGenerator[tuple[int, T], None]:
    """Yield each prompt's index and result; at most ``concurrency`` run at the same time."""
    waiting = iter(enumerate(prompts))
    running: dict[asyncio.Task[T], int] = {}
    try:
        while True:
            while len(running) < concurrency and (item := next(waiting, None)):
                running[asyncio.create_task(one(item[1]))] = item[0]
            if not running:
                return
            finished, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in finished:
                yield running.pop(task), task.result()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def _spending(budget: float | Spending | None) -> Spending | None:
    if budget is None:
        return None
    from phi2sdk.client.budget import Spending

    return Spending(budget) if isinstance(budget, int | float) else budget


def _telemetry(asked: bool | Telemetry) -> Telemetry | None:
    if asked is False:
        return None
    from phi2sdk.client.telemetry import Telemetry

    return Telemetry() if asked is True else asked


def _several(target: Targets) -> list[str | Target | Backend]:
    several: list[Any] = list(target) if isinstance(target, list | tuple) else [target]
    for one in several:
        if not isinstance(one, str | Target | Backend):
            raise ConfigurationError(
                f"a target is a name, a Target or a Backend, not {type(one).__name__}"
            )
    return several


def _prompt(given: str | Prompt) -> Prompt:
    """Return a prompt; a plain string becomes an instruction."""
    if isinstance(given, Prompt):
        return given
    if not isinstance(given, str):
        raise InvalidRequest(
            f"a prompt is a string or a Prompt, not {type(given).__name__}; "
            "for several prompts there is generate_many"
        )
    return prompts.instruct(given)
