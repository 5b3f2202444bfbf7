"""The synchronous client, which runs :class:`AsyncPhi2Client` on an event loop in a thread."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Never, Self, TypeVar, Unpack, overload

from phi2sdk.backends.base import Backend, OnUnsupported
from phi2sdk.client.async_client import AsyncPhi2Client, Targets
from phi2sdk.client.loop_thread import LoopThread, Pump
from phi2sdk.client.streaming import CompletionStream
from phi2sdk.completion import Chunk, Completion, Receipt
from phi2sdk.errors import ConfigurationError, Phi2Error
from phi2sdk.logprobs import Score
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import Sampling, SamplingParameters

if TYPE_CHECKING:
    from phi2sdk.client.budget import Spending
    from phi2sdk.client.telemetry import Telemetry

__all__ = ["AsyncPhi2Client", "CompletionStream", "Phi2Client", "SyncCompletionStream"]

T = TypeVar("T")


class Phi2Client:
    """Client for Phi-2 on any provider, without asyncio.

    All synchronous clients share one event loop in a thread, so that they also work in a notebook.
    Arguments and methods are those of :class:`AsyncPhi2Client`.

    ::

        with Phi2Client("azure") as phi:
            print(phi.generate("Explain tides.", max_tokens=100))
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
        self._inner = AsyncPhi2Client(
            target,
            config=config,
            timeout=timeout,
            attempts=attempts,
            on_unsupported=on_unsupported,
            budget=budget,
            telemetry=telemetry,
            wrap=wrap,
            **settings,
        )
        self._thread: LoopThread | None = None
        self._closed = False

    @property
    def backend(self) -> Backend:
        """The backend, with its policies."""
        return self._inner.backend

    @property
    def spending(self) -> Spending | None:
        """The budget and the amount spent; ``None`` without a budget."""
        return self._inner.spending

    @property
    def target(self) -> str:
        """Name of the target; several names are joined by ``+``."""
        return self._inner.target

    def generate(
        self,
        prompt: str | Prompt,
        sampling: Sampling | None = None,
        *,
        timeout: float | None = None,
        **parameters: Unpack[SamplingParameters],
    ) -> Completion:
        """See :meth:`AsyncPhi2Client.generate`."""
        return self._loop().run(
            self._inner.generate(prompt, sampling, timeout=timeout, **parameters)
        )

    def stream(
        self,
        prompt: str | Prompt,
        sampling: Sampling | None = None,
        *,
        timeout: float | None = None,
        **parameters: Unpack[SamplingParameters],
    ) -> SyncCompletionStream:
        """See :meth:`AsyncPhi2Client.stream`; the stream is read with ``for``."""
        stream = self._inner.stream(prompt, sampling, timeout=timeout, **parameters)
        return SyncCompletionStream(self._loop(), stream)

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
    ) -> Iterator[tuple[int, Completion]]: ...
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
    ) -> Iterator[tuple[int, Completion | Phi2Error]]: ...
    def generate_many(
        self,
        prompts: Iterable[str | Prompt],
        sampling: Sampling | None = None,
        *,
        concurrency: int = 8,
        return_errors: bool = False,
        timeout: float | None = None,
        **parameters: Unpack[SamplingParameters],
    ) -> Iterator[tuple[int, Completion | Phi2Error]]:
        """See :meth:`AsyncPhi2Client.generate_many`."""
        completed: AsyncGenerator[tuple[int, Completion | Phi2Error], None]
        completed = self._inner.generate_many(
            prompts,
            sampling,
            concurrency=concurrency,
            return_errors=return_errors,
            timeout=timeout,
            **parameters,
        )
        return self._pumped(completed)

    def summarize(
        self,
        paragraph: str,
        sampling: Sampling | None = None,
        *,
        timeout: float | None = None,
        **parameters: Unpack[SamplingParameters],
    ) -> Completion:
        """See :meth:`AsyncPhi2Client.summarize`."""
        return self._loop().run(
            self._inner.summarize(paragraph, sampling, timeout=timeout, **parameters)
        )

    def score(self, prompt: str | Prompt, text: str, *, temperature: float = 1.0) -> Score:
        """See :meth:`AsyncPhi2Client.score`."""
        return self._loop().run(self._inner.score(prompt, text, temperature=temperature))

    def explain(
        self,
        sampling: Sampling | None = None,
        prompt: str | Prompt = "...",
        **parameters: Unpack[SamplingParameters],
    ) -> Receipt:
        """See :meth:`AsyncPhi2Client.explain`."""
        return self._inner.explain(sampling, prompt, **parameters)

    def check(self) -> str:
        """See :meth:`AsyncPhi2Client.check`."""
        return self._loop().run(self._inner.check())

    def close(self) -> None:
        """Release connections, threads and memory. Closing twice has no effect."""
        with LoopThread.lock:
            if self._closed:
                return
            thread = self._loop()
            self._closed, self._thread = True, None
        try:
            thread.run(self._inner.close())
        finally:
            thread.release()

    def __enter__(self) -> Self:
        self._refuse_if_closed()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.target!r})"

    def _pumped(self, source: AsyncGenerator[T, None]) -> Iterator[T]:
        yield from Pump(self._loop(), source)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ConfigurationError("this client is closed. Open a new client")

    def _loop(self) -> LoopThread:
        """Return the shared loop; a new one in a forked child, since a fork copies no threads."""
        with LoopThread.lock:  # several threads may make the first use, or one of them a close
            self._refuse_if_closed()
            if self._thread is None or self._thread.pid != os.getpid():
                self._thread = LoopThread.acquire(self)
            return self._thread


class SyncCompletionStream:
    """Stream of a completion, to be read with ``for``. Leaving the loop cancels the request."""

    def __init__(self, thread: LoopThread, stream: CompletionStream) -> None:
        self._thread = thread
        self._stream = stream
        self._pump: Pump[Chunk] | None = None

    @property
    def completion(self) -> Completion:
        """The whole completion, once the stream has ended."""
        return self._stream.completion

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'read' if self._pump else 'unread'}>"

    def __iter__(self) -> Iterator[Chunk]:
        self._pump = Pump(self._thread, aiter(self._stream))
        try:
            yield from self._pump
        finally:
            self.close()

    def close(self) -> None:
        """End the request at the provider, if it is still in flight."""
        if self._pump is not None:
            self._pump.close()
        if self._thread.is_alive() and not self._thread.is_current():
            self._thread.run(self._stream.close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
