"""Retry and fallback: backends that wrap other backends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from itertools import zip_longest
from time import monotonic, perf_counter_ns

from tenacity import RetryCallState, wait_random_exponential

from phi2sdk.backends.base import Backend, Capabilities
from phi2sdk.backends.counts import believed
from phi2sdk.completion import Chunk, Event, Receipt, Request, Retrying, ServerSoftware
from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    ConfigurationError,
    ContentFiltered,
    ModelNotFound,
    OutOfMemory,
    PermissionDenied,
    Phi2Error,
    Timeout,
    TransientError,
)
from phi2sdk.log import brief, logger
from phi2sdk.logprobs import Score, TokenLogprob
from phi2sdk.sampling import Dialect


class RetryBudget:
    """Limits retries to a small share of all calls, so that they do not overload a provider.

    A token bucket, as in Finagle: each request adds ``ratio`` tokens, and each retry takes one.

    Args:
        ratio: Retries allowed per request in the long run.
        reserve: Number of tokens at the start, and the largest number.
    """

    def __init__(self, ratio: float = 0.2, reserve: float = 10.0) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._tokens = reserve

    def deposit(self) -> None:
        """Count a request that begins."""
        self._tokens = min(self._reserve, self._tokens + self._ratio)

    def withdraw(self) -> bool:
        """Take a token for a retry; return whether there was one."""
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Wrapper(Backend):
    """Base class of a backend that wraps another one and changes a part of its behavior."""

    provider = "policy"

    def __init__(self, inner: Backend) -> None:
        super().__init__(target=inner.target, on_unsupported=inner.on_unsupported)
        self.inner = inner

    @property
    def capabilities(self) -> Capabilities:
        return self.inner.capabilities

    @property
    def dialect(self) -> Dialect:
        return self.inner.dialect

    @property
    def software(self) -> ServerSoftware | None:
        return self.inner.software

    @property
    def most_calls(self) -> int:
        return self.inner.most_calls

    def prepare(self, request: Request) -> tuple[dict[str, object], Receipt]:
        return self.inner.prepare(request)

    async def score(self, prompt: str, text: str, *, temperature: float = 1.0) -> Score:
        return await self.inner.score(prompt, text, temperature=temperature)

    async def prompt_logprobs(
        self, text: str, *, timeout: float | None = None
    ) -> tuple[TokenLogprob, ...]:
        return await self.inner.prompt_logprobs(text, timeout=timeout)

    async def detect(self) -> None:
        await self.inner.detect()

    async def check(self) -> str:
        return await self.inner.check()

    async def close(self) -> None:
        await self.inner.close()


class Retry(Wrapper):
    """Retries failed requests that may succeed, with exponential backoff and full jitter.

    A stream is retried only before its first chunk, so that no text is delivered twice. A
    ``Retry-After`` of the provider is observed, with jitter so that callers do not return at the
    same time; one that exceeds ``longest_wait`` or the remaining time ends the request.

    It also removes token counts that the request cannot have produced
    (:mod:`phi2sdk.backends.counts`), since every request of a client passes through it.

    Args:
        inner: The backend.
        attempts: Largest number of calls, including the first.
        base: Seconds; the n-th wait is drawn from [0, base * 2**(n-1)].
        longest_wait: Longest time of one wait, in seconds.
        budget: Retry budget that the requests of a client share.
    """

    def __init__(
        self,
        inner: Backend,
        *,
        attempts: int = 4,
        base: float = 0.5,
        longest_wait: float = 60.0,
        budget: RetryBudget | None = None,
    ) -> None:
        super().__init__(inner)
        if attempts < 1:
            raise ConfigurationError(f"attempts={attempts!r} must be at least 1")
        self._attempts = attempts
        self._base = base
        self._longest_wait = longest_wait
        self._backoff = wait_random_exponential(multiplier=base, max=longest_wait)
        self._budget = budget or RetryBudget()
        self._closed = False

    async def close(self) -> None:
        self._closed = True
        await super().close()

    @property
    def most_calls(self) -> int:
        return self._attempts * self.inner.most_calls

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        deadline = None if request.timeout is None else monotonic() + request.timeout
        self._budget.deposit()
        wraps = self.inner.capabilities.wraps
        attempt = 1
        while True:
            delivered = False
            failure: Phi2Error | None = None
            try:
                async with aclosing(self.inner.stream(_within(request, deadline))) as events:
                    async for event in events:
                        delivered = delivered or isinstance(event, Chunk)
                        yield believed(event, request, wraps=wraps, target=self.target)
            except Phi2Error as error:
                error.attempts = attempt
                failure = error
            if failure is None:
                return
            wait = self._wait(failure, attempt)
            if self._closed or delivered or wait is None or not _fits(wait, deadline):
                logger.debug("%s: %s, attempt %d, the last", self.target, brief(failure), attempt)
                raise failure
            if not self._budget.withdraw():
                logger.warning("%s: %s, and no retry budget", self.target, brief(failure))
                raise failure
            logger.warning(
                "%s: %s, attempt %d of %d; the next one in %.2f s",
                *(self.target, brief(failure), attempt, self._attempts, wait),
            )
            yield Retrying(perf_counter_ns(), failure, wait)
            await asyncio.sleep(wait)
            if self._closed:  # another attempt would open a connection that nothing closes
                raise failure
            attempt += 1

    def _wait(self, error: Phi2Error, attempt: int) -> float | None:
        """Return the seconds until the next attempt; ``None`` if there is no further attempt."""
        if not error.retryable or attempt >= self._attempts:
            return None
        if error.retry_after is not None:
            if error.retry_after > self._longest_wait:
                return None
            return error.retry_after + random.uniform(0, self._base)
        state = RetryCallState(retry_object=None, fn=None, args=(), kwargs={})  # type: ignore[arg-type]
        state.attempt_number = attempt
        return float(self._backoff(state))


class Fallback(Wrapper):
    """Tries several backends in order until one answers.

    It continues with the next backend after errors that need not occur there: transient failures, a
    rejected key or permission, a missing model, an invalid response, too little memory, and a
    content filter. It does not continue after an invalid request or after the first chunk. The
    error names every target that was tried, with its reason.

    What is not a request, such as a receipt or a score, is that of the first backend.

    Args:
        backends: In order of preference, at least one.
    """

    falls_through = (
        TransientError,
        AuthenticationFailed,
        BadResponse,
        ContentFiltered,
        ModelNotFound,
        OutOfMemory,
        PermissionDenied,
    )

    def __init__(self, backends: Sequence[Backend]) -> None:
        if not backends:
            raise ConfigurationError("the list of targets is empty. Name at least one target")
        super().__init__(backends[0])
        self.target = "+".join(backend.target for backend in backends)
        self.backends = tuple(backends)

    @property
    def most_calls(self) -> int:
        return sum(backend.most_calls for backend in self.backends)

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        deadline = None if request.timeout is None else monotonic() + request.timeout
        failures: list[tuple[str, Phi2Error]] = []
        for backend, after in zip_longest(self.backends, self.backends[1:]):
            delivered = False
            try:
                async with aclosing(backend.stream(_within(request, deadline))) as events:
                    async for event in events:
                        delivered = delivered or isinstance(event, Chunk)
                        yield event
                return
            except Phi2Error as error:
                failures.append((backend.target, error))
                passes = isinstance(error, self.falls_through) and _fits(0.0, deadline)
                if delivered or after is None or not passes:
                    _name_each(failures)
                    raise
            failure = failures[-1][1]
            logger.warning(
                "%s: %s; continuing with %s", backend.target, brief(failure), after.target
            )
            yield Retrying(perf_counter_ns(), failure, 0.0)

    async def detect(self) -> None:
        for backend in self.backends:
            await backend.detect()

    async def check(self) -> str:
        said = [f"{backend.target}: {await backend.check()}" for backend in self.backends]
        return "; ".join(said)

    async def close(self) -> None:
        for backend in self.backends:
            await backend.close()


def _name_each(failures: Sequence[tuple[str, Phi2Error]]) -> None:
    """Make the last of several failures name every target with its reason."""
    *earlier, (target, last) = failures
    if not earlier:
        return
    said = [f"{name}: {error.reason}" for name, error in earlier]
    last.message = f"no target answered. {'; '.join(said)}; {target}: {last.message}"
    last.args = (last.message,)
    last.provider = None  # several providers failed


def leaves(backend: Backend) -> Iterator[Backend]:
    """Yield the wrapped backends without their policies, in order of preference."""
    if isinstance(backend, Fallback):
        for one in backend.backends:
            yield from leaves(one)
    elif isinstance(backend, Wrapper):
        yield from leaves(backend.inner)
    else:
        yield backend


def _within(request: Request, deadline: float | None) -> Request:
    """Return the request with the time that is left of its timeout.

    Raises:
        Timeout: Nothing is left.
    """
    if deadline is None:
        return request
    left = deadline - monotonic()
    if left <= 0:
        raise Timeout(
            f"no answer within {request.timeout:g} s, including all attempts. Raise timeout, or "
            "check that the server is up"
        )
    return Request(request.prompt, request.sampling, request.stream, left)


def _fits(wait: float, deadline: float | None) -> bool:
    return deadline is None or monotonic() + wait < deadline
