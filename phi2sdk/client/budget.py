"""A limit on the cost of requests that is never exceeded.

Before a call is sent, the budget reserves its largest possible cost: every byte of the prompt
counts as a token, the answer as ``max_tokens``, and a machine as used for the whole timeout. When
the cost of the call is known, it replaces the reserved amount. A call whose largest possible cost
exceeds the rest of the budget is not sent and raises :class:`BudgetExceeded`. The total therefore
stays within the limit, regardless of the number of requests in flight.

    spending = Spending(0.50)
    client = AsyncPhi2Client(Budget(backend, price=price, spending=spending))

If the cost of a call stays unknown, because the connection failed or the response has no token
counts, the reserved amount is charged. A stream that the client ended early is charged for the
prompt as the provider counted it at the start, if it did, and for all of ``max_tokens``, since the
provider does not report when it stopped. A rented or owned machine is charged for the seconds of
each request; concurrent requests are charged in full.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from dataclasses import replace
from threading import Lock
from time import perf_counter_ns

from phi2sdk.backends.base import Backend
from phi2sdk.backends.counts import most_input, plausible
from phi2sdk.client.policies import Wrapper
from phi2sdk.completion import Chunk, Count, Done, Event, Opened, Request, Sent, Usage
from phi2sdk.errors import (
    AuthenticationFailed,
    BudgetExceeded,
    ConfigurationError,
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    Phi2Error,
    RateLimited,
)
from phi2sdk.logprobs import TokenLogprob
from phi2sdk.pricing.price import Bill, Price
from phi2sdk.prompts import raw
from phi2sdk.sampling import Sampling

__all__ = [
    "Budget",
    "Hold",
    "Spending",
    "charge",
    "logprobs_request",
    "refused",
    "worst_case",
]

_GRACE = 1.0
"""Seconds that a request may exceed its timeout by."""


def _below(kind: type[Phi2Error]) -> Iterable[type[Phi2Error]]:
    for one in kind.__subclasses__():
        yield one
        yield from _below(one)


_REFUSALS = (
    AuthenticationFailed,
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    RateLimited,
)
_REFUSED = frozenset(
    name for kind in _REFUSALS for name in (kind.__name__, *(s.__name__ for s in _below(kind)))
)


class Spending:
    """Counts US dollars against a limit: the amount spent, and the amount reserved in flight.

    Clients and threads may share it.

    Args:
        cap: Limit in US dollars.
        spent: Amount spent before, which counts against the limit.

    Raises:
        ConfigurationError: The cap is not greater than 0.
    """

    def __init__(self, cap: float, spent: float = 0.0) -> None:
        if not 0 < cap < float("inf"):
            raise ConfigurationError(f"a budget of {cap:g} USD must be above 0")
        self.cap = cap
        self._spent = spent
        self._open: set[Hold] = set()
        self._lock = Lock()

    @property
    def spent(self) -> float:
        """US dollars spent."""
        return self._spent

    @property
    def held(self) -> float:
        """US dollars reserved for calls in flight."""
        return math.fsum(hold.usd for hold in self._open)

    @property
    def left(self) -> float:
        """US dollars available for a new call; below 0 if more than the limit was spent before."""
        return self.cap - self._spent - self.held

    def hold(self, usd: float) -> Hold:
        """Reserve an amount for a call.

        Raises:
            BudgetExceeded: The amount is larger than the rest of the budget.
        """
        with self._lock:
            held = self.held
            if self._spent + held + usd > self.cap:
                raise BudgetExceeded(
                    f"the request may cost up to {usd:.2g} USD, but only "
                    f"{max(0.0, self.left):.2g} of the budget of {self.cap:g} USD are left "
                    f"({self._spent:.2g} spent, {held:.2g} reserved for requests in flight). Raise "
                    "the budget, or lower max_tokens"
                )
            hold = Hold(self, usd)
            self._open.add(hold)
        return hold

    def add(self, usd: float) -> None:
        """Add an amount that was spent elsewhere."""
        with self._lock:
            self._spent += usd

    def settle(self, hold: Hold, usd: float) -> None:
        """Replace the reserved amount of a call by its cost. Only the first call has an effect."""
        with self._lock:
            if hold in self._open:
                self._open.remove(hold)
                self._spent += usd


class Hold:
    """The amount reserved for one call, until its cost is known."""

    def __init__(self, spending: Spending, usd: float) -> None:
        self.usd = usd
        self._spending = spending

    def settle(self, usd: float) -> None:
        """Set the cost of the call. Only the first call has an effect."""
        self._spending.settle(self, usd)


class Budget(Wrapper):
    """Sends calls only if the budget covers their largest possible cost.

    It wraps a backend and is wrapped by :class:`~phi2sdk.client.policies.Retry`, since every
    attempt is a separate call.

    Args:
        inner: The backend.
        price: The price of the backend.
        spending: The budget.
    """

    def __init__(self, inner: Backend, *, price: Price, spending: Spending) -> None:
        super().__init__(inner)
        self.price = price
        self.spending = spending

    def most(self, request: Request) -> float:
        """Return the largest possible cost of one call for a request in US dollars."""
        return worst_case(self.price, request, wraps=self.capabilities.wraps)

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        wraps = self.capabilities.wraps
        hold = self.spending.hold(self.most(request))
        begun_ns = perf_counter_ns()
        done: Done | None = None
        told: Count | None = None
        failure: Phi2Error | None = None
        sent = delivered = False
        try:
            async with aclosing(self.inner.stream(request)) as events:
                async for event in events:
                    sent = sent or isinstance(event, Sent)
                    delivered = delivered or isinstance(event, Chunk)
                    done = event if isinstance(event, Done) else done
                    told = event.input if isinstance(event, Opened) else told
                    yield event
        except Phi2Error as error:
            failure = error
            raise
        finally:
            cost = hold.usd  # if computing the bill fails, the worst case is charged
            try:
                usage = Usage(input=told)
                if done is not None and failure is None:
                    usage = replace(done.usage, input=done.usage.input or told)
                free = failure is not None and refused(type(failure).__name__) and not delivered
                cost = charge(
                    self.price,
                    request,
                    usage,
                    seconds=(perf_counter_ns() - begun_ns) / 1e9,
                    free=free,
                    wraps=wraps,
                )
            finally:
                hold.settle(cost if sent else 0.0)

    async def prompt_logprobs(
        self, text: str, *, timeout: float | None = None
    ) -> tuple[TokenLogprob, ...]:
        request = logprobs_request(text, timeout)
        wraps = self.capabilities.wraps
        hold = self.spending.hold(self.most(request))
        begun_ns = perf_counter_ns()
        usage, free = Usage(), False
        try:
            tokens = await self.inner.prompt_logprobs(text, timeout=timeout)
            usage = Usage(input=Count(len(tokens)))
            return tokens
        except Phi2Error as error:
            free = refused(type(error).__name__)
            raise
        finally:
            seconds = (perf_counter_ns() - begun_ns) / 1e9
            hold.settle(charge(self.price, request, usage, seconds=seconds, free=free, wraps=wraps))


def logprobs_request(text: str, timeout: float | None) -> Request:
    """Return the request that costs as much as the log-probabilities of a text.

    Servers generate at least one token, although the call asks for none.
    """
    prompt = raw(text, allow_control_tokens=True)
    return Request(prompt, Sampling(max_tokens=1), False, timeout)


def worst_case(price: Price, request: Request, *, calls: int = 1, wraps: bool = False) -> float:
    """Return the largest possible cost of a request in US dollars.

    Args:
        price: The price of the backend.
        request: The request.
        calls: Largest number of calls that the request makes.
        wraps: The route wraps the prompt in a template.

    Raises:
        ConfigurationError: The cost has no limit: it depends on time, and there is no timeout.
    """
    seconds = None if request.timeout is None else request.timeout + _GRACE
    tokens = most_input(request, wraps=wraps)
    usd = price.ceiling(
        Bill(
            input=calls * tokens,
            output=calls * request.sampling.max_tokens,
            requests=calls,
            seconds=seconds,
        )
    )
    if usd is None:
        raise ConfigurationError(
            "a budget for a machine that is paid by time needs a timeout. Set timeout to a number "
            "of seconds"
        )
    return usd


def charge(
    price: Price,
    request: Request,
    usage: Usage,
    *,
    seconds: float,
    free: bool = False,
    wraps: bool = False,
) -> float:
    """Return the US dollars that a budget is charged for one call.

    This is its cost, or the largest possible cost where the cost is unknown.

    Args:
        price: The price of the backend.
        request: The request.
        usage: The counts of the provider. A count that is missing, an estimate, or larger than the
            request permits is replaced by its largest possible value: one token for each byte of
            the prompt, and ``max_tokens``.
        seconds: Duration of the call.
        free: The provider refused the call, so that no tokens are charged.
        wraps: The route wraps the prompt in a template.
    """
    read, wrote = float(most_input(request, wraps=wraps)), float(request.sampling.max_tokens)
    if free:
        read = wrote = 0.0
    else:
        usage = plausible(usage, request, wraps=wraps)
        if usage.input is not None and not usage.input.estimated:
            read = usage.input.value
        if usage.output_billed is not None and not usage.output_billed.estimated:
            # Counted from chunks, it may lack the end-of-text token.
            wrote = min(wrote, usage.output_billed.value + 1)
    usd = price.ceiling(Bill(read, wrote, requests=1, seconds=seconds))
    assert usd is not None, "a bill with tokens, calls and seconds can always be priced"
    return usd


def refused(error: str) -> bool:
    """Return whether an error, named by its class, means that the provider refused the call."""
    return error in _REFUSED
