"""The stream of a completion: its chunks, then the whole completion."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from time import perf_counter_ns
from typing import Self

from phi2sdk.completion import Chunk, Completion, Done, Event
from phi2sdk.errors import Phi2Error
from phi2sdk.fold import Fold


class CompletionStream:
    """Stream of a completion: chunks with text, then the whole :class:`Completion`.

    Leaving the ``async with`` block early cancels the request at the provider. The completion then
    has the text that had arrived, and the finish reason ``cancelled``.
    """

    def __init__(
        self,
        events: AsyncGenerator[Event, None],
        account: Fold,
        finish: Callable[[Fold], Completion],
    ) -> None:
        self._events = events
        self._account = account
        self._finish = finish
        self._completion: Completion | None = None
        self._chunks = self._read()

    @property
    def completion(self) -> Completion:
        """The whole completion.

        Raises:
            RuntimeError: The stream has not ended yet.
        """
        if self._completion is None:
            raise RuntimeError("the stream has not ended. Read it to its end, or close it")
        return self._completion

    def __aiter__(self) -> AsyncGenerator[Chunk, None]:
        """Yield the chunks that have text."""
        return self._chunks

    async def close(self) -> None:
        """End the request at the provider, if it is still in flight."""
        await self._chunks.aclose()
        await self._events.aclose()
        account = self._account
        if self._completion is None and account.sent is not None and not account.failed:
            account.take(Done(perf_counter_ns(), "cancelled", cut=True))
            self._completion = self._finish(account)

    async def _read(self) -> AsyncGenerator[Chunk, None]:
        account = self._account
        try:
            async with aclosing(self._events) as events:
                async for event in events:
                    account.take(event)
                    if isinstance(event, Chunk) and event.text:
                        yield event
            self._completion = self._finish(account)
        except Phi2Error as error:
            account.fail(error, perf_counter_ns())
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
