"""The same text under an endpoint and under local weights."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator

import pytest

from phi2sdk import Secret
from phi2sdk.backends.base import Backend
from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.hf import HFBackend
from phi2sdk.backends.openai import OpenAIBackend
from phi2sdk.emulator import Emulator, ModelEngine
from phi2sdk.identity.prompt_logprobs import ask_and_compare, teacher_forced
from phi2sdk.logprobs import TokenLogprob
from phi2sdk.prompts import instruct

PAIRS = [
    (instruct(f"Write a paragraph about {name}.").text, f" {name.capitalize()} is old and {how}.")
    for name, how in (("glass", "clear"), ("honey", "sweet"), ("café", "naïve"), ("iron", "hard"))
]


@pytest.fixture(scope="module")
def model() -> LocalModel:
    return LocalModel.load("demo", dtype="float32", device="cpu")


@pytest.fixture(scope="module")
def coarse() -> Iterator[Emulator]:
    """Providers behind which the weights are rounded to four bits."""
    engine = ModelEngine(LocalModel.load("demo", quantize="int4", device="cpu"))
    with Emulator(engine, key="key", providers=["hf", "openai"]).running() as emulator:
        yield emulator
    engine.close()


@pytest.fixture(scope="module")
def honest(model: LocalModel) -> Iterator[Emulator]:
    engine = ModelEngine(model)
    with Emulator(engine, key="key", providers=["hf", "openai"]).running() as emulator:
        yield emulator
    engine.close()


def tgi(emulator: Emulator) -> Backend:
    return HFBackend(endpoint=emulator.hf.url, token=Secret("key"))


def vllm(emulator: Emulator) -> Backend:
    served = emulator.openai.engine.model
    return OpenAIBackend(base_url=f"{emulator.openai.url}/v1", api_key=Secret("key"), model=served)


@pytest.fixture(params=[tgi, vllm], ids=["tgi", "vllm"])
async def endpoint(
    request: pytest.FixtureRequest, honest: Emulator, coarse: Emulator
) -> AsyncIterator[tuple[Backend, Backend]]:
    """An honest endpoint and one whose weights are coarse."""
    backends = request.param(honest), request.param(coarse)
    yield backends
    for backend in backends:
        await backend.close()


async def test_the_same_weights_differ_by_nothing_and_coarse_ones_by_something(
    endpoint: tuple[Backend, Backend], model: LocalModel
) -> None:
    same, other = [await ask_and_compare(one, model, PAIRS) for one in endpoint]
    for found in (same, other):
        assert (found.answers, dict(found.left_out)) == (4, {})
        assert found.tokens > 20
        assert found.mean_difference is not None
        assert found.p99_difference is not None
        assert found.p99_difference >= found.mean_difference
        assert found.kl_lower_bound is not None
    assert same.p99_difference is not None
    assert same.p99_difference < 1e-3
    assert other.mean_difference is not None
    assert other.mean_difference > 0.02
    assert (other.kl_lower_bound or 0) > 1e-4 > (same.kl_lower_bound or 0)
    if isinstance(endpoint[0], OpenAIBackend):
        assert same.top1 == 1.0
        assert other.top1 is not None
        assert other.top1 <= 1.0
    else:
        assert same.top1 is None


async def test_what_cannot_be_compared_is_counted(
    endpoint: tuple[Backend, Backend], model: LocalModel
) -> None:
    prompt = PAIRS[0][0]
    pairs = [(prompt, ""), ("", "text"), ("gla", "ss"), (prompt, "rain " * 3000), PAIRS[0]]
    found = await ask_and_compare(endpoint[0], model, pairs)
    assert found.answers == 1
    assert sum(found.left_out.values()) == 4
    nothing = await ask_and_compare(endpoint[0], model, [(prompt, "")])
    assert (nothing.tokens, nothing.mean_difference) == (0, None)


async def test_an_endpoint_with_other_tokens_is_not_compared(model: LocalModel) -> None:
    class Other:
        async def prompt_logprobs(self, text: str) -> tuple[TokenLogprob, ...]:
            return tuple(TokenLogprob(c, -1.0) for c in text)

    found = await ask_and_compare(Other(), model, PAIRS)
    assert dict(found.left_out) == {"tokenized differently": 4}


def test_the_bound_is_below_the_divergence_it_bounds(model: LocalModel) -> None:
    score = next(model.score_many([(model.encode(PAIRS[0][0]), model.encode(PAIRS[0][1]))]))
    # An endpoint with half the probability for the reference's most likely token.
    told = [
        TokenLogprob("x", own if id != best else own + math.log(0.5))
        for id, own, best in zip(score.ids, score.logprob, score.argmax, strict=True)
    ]
    found = teacher_forced([(told, score)], model)
    changed = [p for p, id, best in zip(score.logprob, score.ids, score.argmax, strict=True)
               if id == best]  # fmt: skip
    wanted = [
        math.exp(p) / 2 * math.log(0.5)
        + (1 - math.exp(p) / 2) * math.log((1 - math.exp(p) / 2) / max(1 - math.exp(p), 1e-12))
        for p in changed
    ]
    assert found.kl_lower_bound == pytest.approx(sum(wanted) / len(score.ids), rel=1e-6)
