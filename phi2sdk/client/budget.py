"""A hard cap on what requests may cost.

Before a call is sent, its worst case is reserved: one token per byte of the prompt, ``max_tokens``
generated tokens, and the whole timeout of machine time. The actual cost replaces the reserved
amount when it is known. A call whose worst case exceeds the remaining budget is not sent, and
raises :class:`BudgetExceeded`. The total can therefore never exceed the cap, for any number of
calls in flight.

    spending = Spending(0.50)
    client = AsyncPhi2Client(Budget(backend, price=price, spending=spending))

If the cost of a call is not reported, its worst case stays charged, for example after a broken
connection or a reply without token counts. A stream that the client ends early is charged for the
prompt as the provider counted it, if it did so at the start, and for all of ``max_tokens``, because
the provider does not report when it stopped. A rented or owned machine is charged for the seconds
of each request, including those of concurrent requests.
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
from phi2sdk.pricing.price import Bill, Price

__all__ = ["Budget", "Hold", "Spending", "charge", "refused", "worst_case"]

_GRACE = 1.0
"""Seconds by which a request may exceed its timeout."""


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
    """An amount in US dollars under a cap: the cost so far, and the reserved worst cases.

    It may be shared between clients and threads.

    Args:
        cap: The cap in US dollars.
        spent: The amount spent before, which counts.

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
        """Return the US dollars that are spent."""
        return self._spent

    @property
    def held(self) -> float:
        """Return the US dollars that calls in flight may still cost."""
        return math.fsum(hold.usd for hold in self._open)

    @property
    def left(self) -> float:
        """Return the remaining US dollars, below 0 if too much was spent before."""
        return self.cap - self._spent - self.held

    def hold(self, usd: float) -> Hold:
        """Reserve ``usd`` for a call.

        Raises:
            BudgetExceeded: The remaining budget is smaller.
        """
        with self._lock:
            held = self.held
            if self._spent + held + usd > self.cap:
                raise BudgetExceeded(
                    f"the request may cost up to {usd:.2g} USD, and of the budget of "
                    f"{self.cap:g} USD {max(0.0, self.left):.2g} are left ({self._spent:.2g} "
                    f"spent, {held:.2g} reserved)"
                )
            hold = Hold(self, usd)
            self._open.add(hold)
        return hold

    def add(self, usd: float) -> None:
        """Add an amount that was spent elsewhere."""
        with self._lock:
            self._spent += usd

    def settle(self, hold: Hold, usd: float) -> None:
        """Replace the reserved amount of a call by its cost ``usd``. Only the first call counts."""
        with self._lock:
            if hold in self._open:
                self._open.remove(hold)
                self._spent += usd


class Hold:
    """The reserved worst case of one call, until its cost is known."""

    def __init__(self, spending: Spending, usd: float) -> None:
        self.usd = usd
        self._spending = spending

    def settle(self, usd: float) -> None:
        """Replace the reserved amount by the cost ``usd``. Only the first call counts."""
        self._spending.settle(self, usd)


class Budget(Wrapper):
    """A backend that sends a call only if its worst case fits into the remaining budget.

    It wraps a backend inside of :class:`~phi2sdk.client.policies.Retry`, so that every attempt is a
    separate call.

    Args:
        inner: The backend.
        price: The price of the backend.
        spending: The cap, which several backends may share.
    """

    def __init__(self, inner: Backend, *, price: Price, spending: Spending) -> None:
        super().__init__(inner)
        self.price = price
        self.spending = spending

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        wraps = self.capabilities.wraps
        hold = self.spending.hold(worst_case(self.price, request, wraps=wraps))
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


def worst_case(price: Price, request: Request, *, calls: int = 1, wraps: bool = False) -> float:
    """Return the maximum cost of a request in US dollars, over ``calls`` calls.

    Raises:
        ConfigurationError: There is no maximum, because the request is paid by time and has no
            timeout.
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
        raise ConfigurationError("a budget on a machine that is paid by time needs a timeout")
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
    """Return the US dollars that a call is charged: its cost, or its maximum if that is unknown.

    Args:
        price: The price of the backend.
        request: The request.
        usage: The counts of the provider. Missing, estimated and impossible counts are replaced by
            their maximum: one token per byte of the prompt, and ``max_tokens`` generated tokens.
        seconds: Duration of the call.
        free: Whether the call was refused, so that no tokens are charged.
        wraps: Whether the route wraps the prompt.
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
    """Return whether an error class, given by name, means that the provider refused the call."""
    return error in _REFUSED
