"""One call to a model: its chunks, and then its completion."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from time import perf_counter_ns

from phi2sdk.completion import Chunk, Completion, Request, Retrying
from phi2sdk.errors import BudgetExceeded, InvalidRequest, Phi2Error
from phi2sdk.fold import Fold
from phi2sdk.log import answered
from phi2sdk.serve.models import Model

__all__ = ["Call"]


class Call:
    """One call to a model.

    Attributes:
        account: The events so far.
        completion: The whole completion, after the last chunk.
        first_ns: Time of the first chunk with text on the clock ``perf_counter_ns``.
    """

    def __init__(self, model: Model, request: Request) -> None:
        self.account = Fold(request)
        self.completion: Completion | None = None
        self.first_ns: int | None = None
        self._model = model
        self._request = request

    @property
    def target(self) -> str | None:
        """The target that was called last; ``None`` before the first attempt."""
        return self.account.sent.receipt.target if self.account.sent is not None else None

    @property
    def attempts(self) -> int:
        """Number of attempts so far, including the one in progress."""
        running = self.account.sent is not None and self.completion is None
        return len(self.account.attempts) + (running and not self.account.failed)

    async def chunks(self) -> AsyncGenerator[Chunk, None]:
        """Yield the chunks as they arrive.

        Raises:
            Phi2Error: The call failed.
        """
        account = self.account
        try:
            async with aclosing(self._model.events(self._request)) as events:
                async for event in events:
                    account.take(event)
                    if isinstance(event, Chunk):
                        if self.first_ns is None and event.text:
                            self.first_ns = event.t_ns
                        yield event
                    elif isinstance(event, Retrying):
                        self._note(event.error)
            self.completion = self._model.priced(account.completion())
        except Phi2Error as error:
            account.fail(error, perf_counter_ns())
            self._note(error)
            raise
        self._note(None)
        answered(self.completion)

    async def text(self) -> str:
        """Return the whole text, cut at the stops.

        Raises:
            Phi2Error: The call failed.
        """
        async with aclosing(self.chunks()) as chunks:
            return "".join([chunk.text async for chunk in chunks])

    def _note(self, error: Phi2Error | None) -> None:
        if self.target is None or isinstance(error, InvalidRequest | BudgetExceeded):
            return  # the target is not the cause
        self._model.note(self.target, "ready" if error is None else type(error).__name__)
