"""Limit the rate and the cost of the calls of a run.

One :class:`Limiter` grants leases for the whole run. The :class:`Gate` of each worker takes leases
and admits every attempt of a request, with its largest possible cost, before it is sent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from contextvars import ContextVar
from time import monotonic

from phi2sdk.backends.base import Backend
from phi2sdk.client.budget import Budget, Hold, Spending, logprobs_request
from phi2sdk.client.policies import Wrapper
from phi2sdk.completion import Event, Request
from phi2sdk.errors import BudgetExceeded, ConfigurationError
from phi2sdk.logprobs import TokenLogprob

LEASE_S = 0.5
"""Longest time for which calls are leased, in seconds."""
CREDIT_S = 0.02
"""Seconds by which a call may make up for a late one, so that the rate is reached."""
LATE_S = 0.1
"""A leased call that is later than this is lost, so that late calls are not sent all at once."""

GRANT = 16
"""Number of calls whose largest possible cost is granted at once, while the budget suffices."""

Calls = Callable[[int], Awaitable[tuple[float, int, float]]]
Dollars = Callable[[float], Awaitable[float]]

CHARGED: ContextVar[list[float]] = ContextVar("CHARGED")
"""The amounts that the budget is charged for the current row."""


class Limiter:
    """Grants calls at a rate, and US dollars up to a cap.

    Args:
        rate: Largest number of calls per second; ``None`` for no limit.
        usd: US dollars that may be granted; ``None`` if the workers need no grants.
    """

    def __init__(self, rate: float | None = None, usd: float | None = None) -> None:
        self._rate = rate
        self._next = 0.0
        self._usd = usd

    async def calls(self, wanted: int) -> tuple[float, int, float]:
        """Lease calls: seconds until the first, their number, and seconds between two of them."""
        assert self._rate is not None
        granted = max(1, min(wanted, int(self._rate * LEASE_S)))
        now = monotonic()
        start = max(now - CREDIT_S, self._next)
        self._next = start + granted / self._rate
        return start - now, granted, 1 / self._rate

    async def dollars(self, wanted: float) -> float:
        """Grant an amount, or nothing if less is left."""
        assert self._usd is not None
        if wanted > self._usd:
            return 0.0
        self._usd -= wanted
        return wanted

    async def give_back(self, usd: float) -> None:
        """Take back a part of the grants that was not spent."""
        assert self._usd is not None
        self._usd += usd


class Purse(Spending):
    """Spending that also reports to the current row what it was charged.

    Args:
        cap: As for :class:`Spending`; 0 if the amounts are granted one by one.
        spent: As for :class:`Spending`.
    """

    def __init__(self, cap: float, spent: float = 0.0) -> None:
        super().__init__(cap or 1.0, spent)
        self.cap = cap
        self.settled = asyncio.Event()

    def settle(self, hold: Hold, usd: float) -> None:
        super().settle(hold, usd)
        CHARGED.get([]).append(usd)
        self.settled.set()


class Gate:
    """Admits the attempts of one worker.

    Args:
        calls: Leases calls (see :meth:`Limiter.calls`); ``None`` for no limit.
        dollars: Grants amounts (see :meth:`Limiter.dollars`) that are added to the purse.
        purse: The budget, if there is one.
    """

    def __init__(
        self,
        *,
        calls: Calls | None = None,
        dollars: Dollars | None = None,
        purse: Purse | None = None,
    ) -> None:
        self._calls = calls
        self._dollars = dollars
        self._purse = purse
        self._slots: deque[float] = deque()
        self._waiting = 0
        self._turn = asyncio.Lock()

    def wrap(self, backend: Backend) -> Backend:
        """Return a backend whose calls pass this gate; the backend itself if there is no limit."""
        unlimited = self._calls is None and self._purse is None
        return backend if unlimited else _Gated(backend, self)

    async def admit(self, usd: float) -> None:
        """Wait until a call may be sent. The caller sends it without waiting for anything else.

        Args:
            usd: Its largest possible cost.

        Raises:
            BudgetExceeded: The budget does not cover it, and no request in flight can free a part.
        """
        hold = None if self._purse is None else await self._reserve(self._purse, usd)
        try:
            if self._calls is not None:
                await self._slot(self._calls)
        finally:
            if hold is not None:
                hold.settle(0.0)  # the call itself reserves the amount next

    async def _reserve(self, purse: Purse, usd: float) -> Hold:
        while True:
            try:
                return purse.hold(usd)
            except BudgetExceeded:
                purse.settled.clear()
                if self._dollars is not None and await self._fill(purse, self._dollars, usd):
                    continue
                if not purse.held:
                    raise
            await purse.settled.wait()

    async def _fill(self, purse: Purse, dollars: Dollars, usd: float) -> bool:
        """Add a grant to the purse, at best for several calls; return whether there was one."""
        for wanted in (GRANT * usd, usd - purse.left):
            if more := await dollars(max(wanted, 0.0)):
                purse.cap += more
                return True
        return False

    async def _slot(self, calls: Calls) -> None:
        self._waiting += 1
        try:
            async with self._turn:
                while True:
                    if not self._slots:
                        wait, number, between = await calls(self._waiting)
                        first = monotonic() + wait
                        self._slots.extend(first + i * between for i in range(number))
                    left = self._slots.popleft() - monotonic()
                    if left > 0:
                        await asyncio.sleep(left)
                    if left > -LATE_S:
                        return
        finally:
            self._waiting -= 1


class _Gated(Wrapper):
    def __init__(self, inner: Backend, gate: Gate) -> None:
        super().__init__(inner)
        self._gate = gate

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        most = self.inner.most(request) if isinstance(self.inner, Budget) else 0.0
        await self._gate.admit(most)
        async with aclosing(self.inner.stream(request)) as events:
            async for event in events:
                yield event

    async def prompt_logprobs(
        self, text: str, *, timeout: float | None = None
    ) -> tuple[TokenLogprob, ...]:
        asked = logprobs_request(text, timeout)
        most = self.inner.most(asked) if isinstance(self.inner, Budget) else 0.0
        await self._gate.admit(most)
        return await self.inner.prompt_logprobs(text, timeout=timeout)


def parse_rate(text: str) -> float:
    """Return a rate such as ``100``, ``100/s`` or ``6000/min`` in calls per second.

    Raises:
        ConfigurationError: It is not such a rate above 0.
    """
    number, _, unit = text.strip().partition("/")
    try:
        rate = float(number) / {"": 1, "s": 1, "min": 60}[unit.strip()]
    except (ValueError, KeyError):
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise ConfigurationError(
            f"the rate {text!r} is not a number of calls per second above 0: write it as in 100/s "
            "or 6000/min"
        )
    return rate
