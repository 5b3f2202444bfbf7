"""A model that answers many requests at once behind the emulated providers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from subprocess import run

import aiohttp
import pytest

from phi2sdk.backends.engine import LocalModel
from phi2sdk.emulator import Decoding, Emulator, ModelEngine, Schedule, Token
from phi2sdk.sampling import Sampling

PROMPT = "Instruct: Write a paragraph about rivers.\nOutput:"
WARM = Decoding(max_tokens=12, temperature=1.0, seed=3)


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel.load("demo", dtype="float32", device="cpu")


@pytest.fixture
def engine(model: LocalModel) -> Iterator[ModelEngine]:
    engine = ModelEngine(model, slots=4)
    yield engine
    engine.close()


async def tokens(engine: ModelEngine, decoding: Decoding) -> list[Token]:
    return [token async for token in engine.tokens(PROMPT, decoding)]


async def test_many_at_once_are_answered_as_each_alone(
    model: LocalModel, engine: ModelEngine
) -> None:
    alone = [
        step.id for step in model.tokens(PROMPT, Sampling(max_tokens=12, temperature=1.0, seed=3))
    ]
    found = await asyncio.gather(*(tokens(engine, WARM) for _ in range(9)))
    assert all([token.id for token in one] == alone for one in found)
    assert "".join(token.text for token in found[0] if not token.special).startswith(" ")


async def test_the_server_and_not_the_model_handles_stops(engine: ModelEngine) -> None:
    found = await tokens(engine, Decoding(max_tokens=12))
    stopped = await tokens(engine, Decoding(max_tokens=12, stop=(found[2].text,)))
    assert stopped == found


async def test_a_dishonest_one_samples_at_its_own_temperature_and_is_greedy_when_asked(
    model: LocalModel, engine: ModelEngine
) -> None:
    cold = ModelEngine(model, slots=4, temperature=0.5)
    try:
        mine = await tokens(cold, WARM)
        wanted = [
            step.id
            for step in model.tokens(PROMPT, Sampling(max_tokens=12, temperature=0.5, seed=3))
        ]
        assert [token.id for token in mine] == wanted
        greedy = Decoding(max_tokens=12)
        assert await tokens(cold, greedy) == await tokens(engine, greedy)
    finally:
        cold.close()


async def test_a_client_that_leaves_does_not_affect_the_others(engine: ModelEngine) -> None:
    stream = engine.tokens(PROMPT, Decoding(max_tokens=500, temperature=1.0, seed=1))
    await anext(stream)
    await stream.aclose()
    assert len(await tokens(engine, WARM)) == 12
    assert engine.count(PROMPT) == len(engine.prompt_tokens(PROMPT))


async def test_a_client_that_leaves_a_server_ends_its_call(engine: ModelEngine) -> None:
    async with (
        Emulator(engine, schedule=Schedule(per_token=0.05), providers=("openai",)) as emulator,
        aiohttp.ClientSession(headers={"Authorization": "Bearer test-key"}) as http,
    ):
        body = {"model": engine.model, "prompt": PROMPT, "stream": True, "max_tokens": 200}
        async with http.post(f"{emulator.openai.url}/v1/completions", json=body) as reply:
            await reply.content.readuntil(b"\n\n")
            reply.close()
        call = emulator.openai.calls[0]
        assert await asyncio.to_thread(call.ended.wait, 5)
        assert call.cancelled
        assert 0 < call.completion_tokens < 200


async def test_a_closed_engine_fails_its_requests_as_a_server_reports_failures(
    model: LocalModel,
) -> None:
    engine = ModelEngine(model)
    stream = engine.tokens(PROMPT, Decoding(max_tokens=500, temperature=1.0, seed=1))
    await anext(stream)
    await asyncio.to_thread(engine.close)
    with pytest.raises(RuntimeError, match="closed"):
        [token async for token in stream]


def test_importing_the_emulator_loads_neither_torch_nor_grpc() -> None:
    code = (
        "import sys, phi2sdk.emulator, phi2sdk.testing;"
        "sys.exit(bool({'torch', 'transformers', 'grpc', 'numpy'} & set(sys.modules)))"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0
