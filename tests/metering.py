"""Runs of random requests under a budget, compared with the provider's meter."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.client.budget import Budget, Spending
from phi2sdk.client.policies import Retry
from phi2sdk.config import Target
from phi2sdk.emulator import Emulator, Fault
from phi2sdk.errors import BudgetExceeded, Phi2Error
from phi2sdk.pricing import Price, resolve
from phi2sdk.secret import Secret

SOURCED = {"source": "s", "date": "2026-11-01"}


def text_of(rng: random.Random) -> Callable[[str], str]:
    return lambda prompt: " ".join(["tide"] * rng.randint(0, 60))


def target_of(emulator: Emulator, provider: str, price: Price) -> Target:
    server = getattr(emulator, provider)
    settings = {
        "openai": {"base_url": f"{server.url}/v1", "api_key": Secret(server.key)},
        "hf": {"endpoint": server.url, "token": Secret(server.key)},
        "azure": {"style": "score", "endpoint": server.url, "key": Secret(server.key)},
        "clarifai": {"base": f"http://{server.url}", "pat": Secret(server.key)},
    }[provider]
    if provider == "openai":
        settings["model"] = server.engine.model
    return Target("metered", provider, settings, price)


async def one_run(emulator: Emulator, provider: str, rng: random.Random) -> tuple[float, int]:
    """Concurrent requests of random lengths, some with faults, against a random small budget.

    The share of the cap that the provider's meter came to, and how many calls were turned away.
    """
    meter, faults = getattr(emulator, provider).meter, getattr(emulator, provider).faults
    prices = {"input": rng.uniform(0, 50), "output": rng.uniform(0, 50)}
    price = resolve({"model": "per-token", **prices, **SOURCED})
    cap = rng.uniform(0.002, 0.02)
    kinds = [Fault("status", status=503), Fault("reset", where="in_body"), Fault("cut", after=2)]
    if provider == "clarifai":
        kinds = [Fault("grpc", after=1), Fault("clarifai", status=21354)]
    for _ in range(rng.randint(0, 2)):
        faults.push(rng.choice(kinds))
    before = (meter.prompt_tokens, meter.completion_tokens)
    spending, turned_away = Spending(cap), 0
    backend = target_of(emulator, provider, price).open()
    stack = Retry(Budget(backend, price=price, spending=spending), attempts=2, base=0.0)
    async with AsyncPhi2Client(stack, attempts=1, timeout=20) as phi:

        async def ask(number: int) -> None:
            nonlocal turned_away
            text = "Explain " + "tides " * rng.randint(1, 30)
            request = phi.request(text, max_tokens=rng.randint(1, 60), stream=number % 2 == 0)
            try:
                async for _ in phi.events(request):
                    pass
            except BudgetExceeded:
                turned_away += 1
            except Phi2Error:
                pass

        await asyncio.gather(*(ask(number) for number in range(rng.randint(2, 10))))
    faults.clear()
    read, wrote = meter.prompt_tokens - before[0], meter.completion_tokens - before[1]
    metered = (read * prices["input"] + wrote * prices["output"]) / 1e6
    assert spending.held == 0
    assert metered <= spending.spent * (1 + 1e-9) <= cap * (1 + 1e-9)
    return metered / cap, turned_away
