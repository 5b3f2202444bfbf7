"""The budget of the gateway holds over all clients, by the meter of the provider."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import openai
import pytest

from phi2sdk.emulator import Emulator, Fault, ScriptedEngine
from phi2sdk.errors import ConfigurationError
from phi2sdk.serve import Gateway, ServeOptions
from tests.serve.serving import served, target_tables

USD = {"prompt_tokens": 1000 / 1e6, "completion_tokens": 2000 / 1e6}


async def test_200_concurrent_clients_never_exceed_the_cap_at_the_provider(
    emulator: Emulator, tmp_path: Path
) -> None:
    rng = random.Random(17)
    emulator.engine = ScriptedEngine(lambda prompt: " tide" * rng.randint(0, 40))
    cap, meter = 2.0, emulator.openai.meter
    for _ in range(10):
        emulator.openai.faults.push(
            rng.choice([Fault("status", status=503), Fault("cut", after=2)])
        )
    async with served(emulator, tmp_path, budget_usd=cap, concurrency=64) as gateway:

        async def ask(number: int) -> str:
            given = {"prompt": "tides " * rng.randint(1, 20), "max_tokens": rng.randint(1, 40)}
            try:
                if number % 3 == 0:
                    stream = await gateway.sdk.completions.create(
                        model="openai",
                        **given,
                        stream=True,  # type: ignore[call-overload]
                    )
                    return "".join([c.choices[0].text async for c in stream])
                if number % 7 == 0:
                    given = given | {"echo": True, "max_tokens": 0, "logprobs": 1}
                await gateway.sdk.completions.create(model="openai", **given)  # type: ignore[call-overload]
                return "answered"
            except openai.APIStatusError as error:
                return str(error.status_code)
            except openai.APIError:
                return "failed"

        said = await asyncio.gather(*(ask(number) for number in range(200)))
        spending = gateway.gateway.spending
    assert spending is not None
    metered = meter.prompt_tokens * USD["prompt_tokens"]
    metered += meter.completion_tokens * USD["completion_tokens"]
    assert spending.held == 0
    assert metered <= spending.spent * (1 + 1e-9) <= cap * (1 + 1e-9)
    assert metered > 0.2 * cap
    assert said.count("402") > 20
    assert {one for one in said if one.isdigit()} <= {"402", "503", "502"}


async def test_a_request_beyond_the_budget_is_402_which_clients_do_not_retry(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with served(emulator, tmp_path, budget_usd=0.01) as gateway:
        phi = gateway.sdk.with_options(max_retries=5)
        with pytest.raises(openai.APIStatusError, match="Raise the budget") as caught:
            await phi.completions.create(model="openai", prompt="Tides?", max_tokens=1000)
        assert (caught.value.status_code, caught.value.code) == (402, "budget_exceeded")
        assert emulator.openai.calls == []
        _, text, _ = await gateway.get("/metrics")
        assert 'error_type="BudgetExceeded"' in text
        assert "phi2sdk_serve_budget_USD 0.01" in text


async def test_a_budget_needs_a_price_for_every_target(emulator: Emulator, tmp_path: Path) -> None:
    (tmp_path / "phi2.toml").write_text(target_tables(emulator, price=False))
    options = ServeOptions(config=tmp_path / "phi2.toml", budget_usd=1.0)
    with pytest.raises(ConfigurationError, match="needs a price for the target openai"):
        Gateway(options)
