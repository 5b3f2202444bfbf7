"""A backend that plays a script, for tests of the code around a backend."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from time import perf_counter_ns

from phi2sdk.backends.base import Backend, Capabilities
from phi2sdk.completion import Chunk, Count, Done, Event, Opened, Request, Sent, Usage
from phi2sdk.errors import Phi2Error
from phi2sdk.sampling import Dialect, Rule

ALL = Dialect(
    "scripted",
    {
        name: Rule(name)
        for name in ("max_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop")
    },
)

Step = str | Phi2Error | asyncio.Event


class ScriptedBackend(Backend):
    """Each call plays the next script; the last one is played again and again.

    A text is a chunk, an error is raised, an event is waited for.
    """

    provider = "scripted"

    def __init__(self, *scripts: list[Step], target: str = "scripted", end: bool = True) -> None:
        super().__init__(target=target)
        self.scripts = list(scripts)
        self.requests: list[Request] = []
        self.closed_early = 0
        self.closed = 0
        self._end = end

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    @property
    def dialect(self) -> Dialect:
        return ALL

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        script = self.scripts.pop(0) if len(self.scripts) > 1 else self.scripts[0]
        self.requests.append(request)
        _, receipt = self.prepare(request)
        yield Sent(perf_counter_ns(), receipt, request.stream)
        try:
            for step in script:
                if isinstance(step, Phi2Error):
                    raise step
                if isinstance(step, asyncio.Event):
                    await step.wait()
                else:
                    yield Opened(perf_counter_ns(), "request-1", "phi-2")
                    yield Chunk(step, step, perf_counter_ns(), tokens=1)
            if self._end:
                pieces = sum(isinstance(step, str) for step in script)
                usage = Usage(input=Count(7), output_billed=Count(pieces))
                yield Done(perf_counter_ns(), "stop", usage)
        except (GeneratorExit, asyncio.CancelledError):
            self.closed_early += 1
            raise

    async def check(self) -> str:
        return "scripted"

    async def close(self) -> None:
        self.closed += 1
