"""A model that answers many requests at once behind the emulated providers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from phi2sdk.backends.engine import LocalModel
from phi2sdk.emulator.batch_engine import BatchEngine
from phi2sdk.emulator.engine import Decoding, Token
from phi2sdk.sampling import Sampling

PROMPT = "Instruct: Write a paragraph about rivers.\nOutput:"
WARM = Decoding(max_tokens=12, temperature=1.0, seed=3)


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel.load("demo", dtype="float32", device="cpu")


@pytest.fixture
def engine(model: LocalModel) -> Iterator[BatchEngine]:
    engine = BatchEngine(model, slots=4)
    yield engine
    engine.close()


async def tokens(engine: BatchEngine, decoding: Decoding) -> list[Token]:
    return [token async for token in engine.tokens(PROMPT, decoding)]


async def test_many_at_once_are_answered_as_each_alone(
    model: LocalModel, engine: BatchEngine
) -> None:
    alone = [
        step.id for step in model.tokens(PROMPT, Sampling(max_tokens=12, temperature=1.0, seed=3))
    ]
    found = await asyncio.gather(*(tokens(engine, WARM) for _ in range(9)))
    assert all([token.id for token in one] == alone for one in found)
    assert "".join(token.text for token in found[0] if not token.special).startswith(" ")


async def test_a_dishonest_one_samples_at_its_own_temperature_and_is_greedy_when_asked(
    model: LocalModel, engine: BatchEngine
) -> None:
    cold = BatchEngine(model, slots=4, temperature=0.5)
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


async def test_a_client_that_leaves_does_not_affect_the_others(engine: BatchEngine) -> None:
    stream = engine.tokens(PROMPT, Decoding(max_tokens=500, temperature=1.0, seed=1))
    await anext(stream)
    await stream.aclose()
    assert len(await tokens(engine, WARM)) == 12
    assert engine.count(PROMPT) == len(engine.prompt_tokens(PROMPT))
