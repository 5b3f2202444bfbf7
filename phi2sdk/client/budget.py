"""A hard cap on what requests may cost.

Before a call goes out its worst case is held: every byte of the prompt a token, ``max_tokens``
generated, the whole timeout of machine time. What it really cost takes the place of that once it
is known. A call for whose worst case nothing is left does not go out: :class:`BudgetExceeded`.
So the sum can never come above the cap, however many calls are under way.

    spending = Spending(0.50)
    client = AsyncPhi2Client(Budget(backend, price=price, spending=spending))

Where nobody says what a call cost, its worst case stays charged: a connection that broke, a reply
without token counts. A stream that we ended early is charged for the prompt as the provider counted
it, if it did so at the start, and for all of ``max_tokens``: nobody says when the provider stopped.
A machine that is rented or owned is charged for the seconds of each request, those side by side
each in full.
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
"""A timeout is not kept to the millisecond: seconds that a request may take longer."""


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
    """US dollars under a cap: what is spent, and the worst case of what is under way.

    It may be shared between clients and threads.

    Args:
        cap: US dollars.
        spent: What was spent before, which counts.

    Raises:
        ConfigurationError: The cap is not above 0.
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
        """US dollars that are gone."""
        return self._spent

    @property
    def held(self) -> float:
        """US dollars that calls under way may still cost."""
        return math.fsum(hold.usd for hold in self._open)

    @property
    def left(self) -> float:
        """US dollars that a new call may cost at most; below 0 where too much was spent before."""
        return self.cap - self._spent - self.held

    def hold(self, usd: float) -> Hold:
        """Put ``usd`` aside for a call.

        Raises:
            BudgetExceeded: So much is not left.
        """
        with self._lock:
            held = self.held
            if self._spent + held + usd > self.cap:
                raise BudgetExceeded(
                    f"the request may cost up to {usd:.2g} USD, and of the budget of "
                    f"{self.cap:g} USD {max(0.0, self.left):.2g} are left ({self._spent:.2g} "
                    f"spent, {held:.2g} under way)"
                )
            hold = Hold(self, usd)
            self._open.add(hold)
        return hold

    def add(self, usd: float) -> None:
        """Count what was spent elsewhere."""
        with self._lock:
            self._spent += usd

    def settle(self, hold: Hold, usd: float) -> None:
        """A call that was held cost ``usd``. Only the first time counts."""
        with self._lock:
            if hold in self._open:
                self._open.remove(hold)
                self._spent += usd


class Hold:
    """What one call may cost at most, until it is known what it did cost."""

    def __init__(self, spending: Spending, usd: float) -> None:
        self.usd = usd
        self._spending = spending

    def settle(self, usd: float) -> None:
        """It cost ``usd``. Only the first time counts."""
        self._spending.settle(self, usd)


class Budget(Wrapper):
    """Lets calls through as long as their worst case fits what is left.

    It belongs around a backend, inside of :class:`~phi2sdk.client.policies.Retry`: every attempt
    is a call of its own.

    Args:
        inner: The backend.
        price: What it costs; a budget cannot be kept without knowing.
        spending: The cap, shared by whatever spends from it.
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
            cost = hold.usd  # should the bill itself fail, the worst case is charged
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
    """The most US dollars that a request can cost, in ``calls`` calls altogether.

    Raises:
        ConfigurationError: It has no worst case: it is paid by time and has no timeout.
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
    """What one call is charged to a budget: what it cost, or the most that it may have.

    Args:
        price: What it costs.
        request: What was asked.
        usage: The provider's counts; what they lack, what is an estimate, and what the request
            cannot have produced counts at its most: every byte of the prompt a token,
            ``max_tokens`` generated.
        seconds: How long it took.
        free: It was refused: no tokens.
        wraps: The route wraps the prompt.
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
    """Whether an error, by its class's name, says that a provider refused to begin."""
    return error in _REFUSED
