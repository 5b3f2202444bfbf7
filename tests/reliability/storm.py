"""Many callers, a server that fails for a while, and what the retry policy makes of it.

The clock can run faster: ``scale`` shrinks outage, back-off and pauses alike. As measured for
``docs/how-it-works/reliability.md``::

    python -m tests.reliability.storm --scale 1
"""

from __future__ import annotations

import argparse
import asyncio
import random
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from phi2sdk import AsyncPhi2Client
from phi2sdk.client.policies import Retry, RetryBudget
from phi2sdk.emulator import Emulator, Fault, ScriptedEngine
from phi2sdk.errors import Phi2Error
from tests.reliability.matrix import ANSWER, KEY
from tests.reliability.stage import OPTIONS, PROMPT, open_backend, url_of

CALLERS = 64
ATTEMPTS = 4
BASE = 0.5
OUTAGE = 10.0
PAUSE = 1.0
RATIO, RESERVE = 0.2, 10.0


@dataclass(slots=True)
class Storm:
    """The events of a storm; times in seconds from the beginning of the outage, unscaled.

    Attributes:
        requests: Begun while the outage lasted, and each caller's one after it.
        calls: Counted at the server.
        arrivals: When calls arrived.
        recovered: When each caller had its first answer.
        ended: When the outage ended.
    """

    requests: int = 0
    calls: int = 0
    arrivals: list[float] = field(default_factory=list)
    recovered: list[float] = field(default_factory=list)
    ended: float = 0.0

    @property
    def bound(self) -> float:
        """Return the number of calls that the retry budget allows."""
        return self.requests * (1 + RATIO) + RESERVE

    @property
    def recovery(self) -> float:
        """From the end of the outage until the last caller had its answer."""
        return max(self.recovered) - self.ended


async def storm(emulator: Emulator, scale: float) -> Storm:
    """64 callers through one outage; each asks again a moment after its last answer or error."""
    seen = Storm()
    server = emulator.openai
    backend = open_backend("openai completions", url_of(emulator, "openai completions"))
    first_call = len(server.calls)
    server.faults.push(Fault("status", status=503), times=1_000_000)
    start = perf_counter()

    def now() -> float:
        return (perf_counter() - start) / scale

    async def caller(phi: AsyncPhi2Client) -> None:
        while True:
            seen.requests += 1
            try:
                await phi.generate(PROMPT, **OPTIONS)
            except Phi2Error:
                await asyncio.sleep(random.uniform(0, 2 * PAUSE) * scale)
            else:
                seen.recovered.append(now())
                return

    async def end() -> None:
        await asyncio.sleep(OUTAGE * scale)
        seen.ended = now()
        server.faults.clear()

    async with AsyncPhi2Client(backend) as phi:
        budget = RetryBudget(RATIO, RESERVE)
        phi.backend = Retry(backend, attempts=ATTEMPTS, base=BASE * scale, budget=budget)
        await asyncio.gather(end(), *(caller(phi) for _ in range(CALLERS)))
    calls = server.calls[first_call:]
    seen.calls = len(calls)
    seen.arrivals = [(call.t_received_ns / 1e9 - start) / scale for call in calls]
    return seen


async def waves(emulator: Emulator, fault: Fault, base: float, attempts: int) -> list[list[float]]:
    """64 callers that begin at the same instant, with no budget to stop them.

    Returns:
        For each retry, the time of each caller between its failure and its next call.
    """
    waits: list[list[float]] = [[] for _ in range(attempts - 1)]
    backend = open_backend("openai completions", url_of(emulator, "openai completions"))
    emulator.openai.faults.push(fault, times=CALLERS * attempts)

    async def caller(phi: AsyncPhi2Client) -> None:
        stream: Any = phi.stream(PROMPT, **OPTIONS)
        failed, number = 0, 0
        try:
            async for event in stream._events:
                if type(event).__name__ == "Retrying":
                    failed = event.t_ns
                elif type(event).__name__ == "Sent" and failed:
                    waits[number].append((event.t_ns - failed) / 1e9)
                    number += 1
        except Phi2Error:
            pass

    async with AsyncPhi2Client(backend) as phi:
        budget = RetryBudget(reserve=1e9)
        phi.backend = Retry(backend, attempts=attempts, base=base, budget=budget)
        await asyncio.gather(*(caller(phi) for _ in range(CALLERS)))
    emulator.openai.faults.clear()
    return waits


def main() -> None:
    """Run the storm and print its figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is real time")
    scale = parser.parse_args().scale
    with Emulator(ScriptedEngine(ANSWER), key=KEY, providers=["openai"]).running() as emulator:
        seen = asyncio.run(storm(emulator, scale))
    print(  # noqa: T201
        f"{CALLERS} callers, {seen.ended:.1f} s of 503: {seen.requests} requests, {seen.calls} "
        f"calls, {seen.calls / seen.bound:.2f} of the budget's bound {seen.bound:.0f}; all "
        f"answered {seen.recovery:.2f} s after the end"
    )


if __name__ == "__main__":
    main()
