"""The local model behind the gateway: tokens, log-probabilities and usage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from phi2sdk.backends.local_gpu import LocalBackend
from phi2sdk.config import Target
from phi2sdk.serve import Gateway, ServeOptions

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEXT = "The moon pulls the sea, and the tides rise."
OPEN = "Tides are"
"""A prompt that the model continues."""
CONFIG = '[targets.demo]\nbackend = "local"\nmodel = "demo"\ndtype = "float32"\n'


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def gateway(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Gateway]:
    path = tmp_path_factory.mktemp("serve") / "phi2.toml"
    path.write_text(CONFIG)
    async with Gateway(ServeOptions(config=path, port=0)) as running:
        assert not running.models.ready
        await running.load()
        yield running


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def phi(gateway: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=gateway.url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def local(gateway: Gateway) -> LocalBackend:
    backend = gateway.models.upstreams["demo"].backend
    assert isinstance(backend, LocalBackend)
    return backend


async def test_the_targets_of_the_configuration_are_served_if_none_is_named(
    gateway: Gateway,
) -> None:
    assert gateway.models.names == ("demo",)
    assert isinstance(gateway.models.upstreams["demo"].target, Target)


async def test_the_log_probabilities_of_a_prompt_are_those_of_the_local_backend(
    phi: openai.AsyncOpenAI, local: LocalBackend
) -> None:
    """As lm-eval asks: token ids, one token to generate, and the most likely token."""
    model = await local.load()
    ids = model.encode(TEXT)
    said = await phi.completions.create(
        model="demo", prompt=[ids, ids[:5]], max_tokens=1, temperature=0, logprobs=1, echo=True
    )
    score = await local.score(ids[:1], ids[1:])
    found = said.choices[0].logprobs
    assert found is not None
    assert found.token_logprobs is not None
    assert found.top_logprobs is not None
    assert len(found.token_logprobs) == len(ids) + 1
    assert str(found.token_logprobs[0]) == "None"
    assert found.token_logprobs[1:-1] == pytest.approx(score.logprob, abs=1e-5)
    best = [max(top.values()) for top in found.top_logprobs[1:-1]]
    assert best == pytest.approx(score.best, abs=1e-5)
    greedy = [top == own for top, own in zip(best, found.token_logprobs[1:-1], strict=True)]
    assert greedy == [a == b for a, b in zip(score.argmax, score.ids, strict=True)]
    assert said.choices[0].text.startswith(TEXT)
    assert len(said.choices) == 2
    assert said.usage is not None
    assert said.usage.prompt_tokens == len(ids) + 5


async def test_echo_without_generation_returns_the_prompt_alone(phi: openai.AsyncOpenAI) -> None:
    said = await phi.completions.create(
        model="demo", prompt=TEXT, max_tokens=0, logprobs=3, echo=True
    )
    assert said.choices[0].text == TEXT
    found = said.choices[0].logprobs
    assert found is not None
    assert found.tokens is not None
    assert found.top_logprobs is not None
    assert "".join(found.tokens) == TEXT
    assert found.text_offset == [TEXT.index(t, at) for t, at in _positions(found.tokens)]
    assert all(3 <= len(top) <= 4 for top in found.top_logprobs[1:])


def _positions(tokens: list[str]) -> list[tuple[str, int]]:
    return [(token, len("".join(tokens[:at]))) for at, token in enumerate(tokens)]


async def test_token_ids_reach_the_model_even_if_the_text_would_be_split_otherwise(
    phi: openai.AsyncOpenAI, local: LocalBackend
) -> None:
    model = await local.load()
    ids = [model.encode(letter)[0] for letter in "tides"]
    assert model.decode(ids) == "tides"
    assert model.encode("tides") != ids
    said = await phi.completions.create(model="demo", prompt=ids, max_tokens=1, temperature=0)
    assert said.usage is not None
    assert said.usage.prompt_tokens == 5
    with pytest.raises(openai.BadRequestError, match="token ids must be") as caught:
        await phi.completions.create(model="demo", prompt=[10**6])
    assert caught.value.param == "prompt"


async def test_a_character_of_several_tokens_has_bytes_and_the_right_offsets(
    phi: openai.AsyncOpenAI,
) -> None:
    text = "a \U0001f30a wave"
    said = await phi.completions.create(
        model="demo", prompt=text, max_tokens=0, echo=True, logprobs=0
    )
    found = said.choices[0].logprobs
    assert found is not None
    assert found.tokens is not None
    assert found.text_offset is not None
    assert any(token.startswith("bytes:\\x") for token in found.tokens)
    last = found.tokens.index(" wave") if " wave" in found.tokens else -1
    assert text[found.text_offset[last] :].startswith(found.tokens[last])


async def test_a_stream_has_its_log_probabilities_with_its_tokens(phi: openai.AsyncOpenAI) -> None:
    ask: dict[str, Any] = {"model": "demo", "prompt": OPEN, "max_tokens": 6, "temperature": 0}
    whole = await phi.completions.create(**ask, logprobs=1)
    stream = await phi.completions.create(**ask, logprobs=1, stream=True)
    logprobs: list[float | None] = []
    text = ""
    async for chunk in stream:
        text += chunk.choices[0].text
        if chunk.choices[0].logprobs is not None:
            logprobs += chunk.choices[0].logprobs.token_logprobs or []
    assert text == whole.choices[0].text
    assert whole.choices[0].logprobs is not None
    assert logprobs == pytest.approx(whole.choices[0].logprobs.token_logprobs, abs=1e-4)
    with pytest.raises(openai.BadRequestError) as caught:
        await phi.completions.create(**ask, logprobs=5, stream=True)
    assert caught.value.param == "logprobs"


async def test_tokens_of_a_stop_are_not_shown(phi: openai.AsyncOpenAI) -> None:
    ask: dict[str, Any] = {"model": "demo", "prompt": OPEN, "max_tokens": 12, "temperature": 0}
    whole = await phi.completions.create(**ask, logprobs=0)
    found = whole.choices[0].logprobs
    assert found is not None
    assert found.tokens is not None
    stop = found.tokens[3]
    kept = "".join(found.tokens[:3]).partition(stop)[0]
    cut = await phi.completions.create(**ask, stop=stop, logprobs=0)
    assert (cut.choices[0].text, cut.choices[0].finish_reason) == (kept, "stop")
    assert cut.choices[0].logprobs is not None
    assert "".join(cut.choices[0].logprobs.tokens or []) == kept


async def test_a_stream_that_ends_at_a_stop_has_exact_usage(
    phi: openai.AsyncOpenAI, local: LocalBackend
) -> None:
    whole = await phi.completions.create(model="demo", prompt=OPEN, max_tokens=12, temperature=0)
    stop = whole.choices[0].text[5:9]
    stream = await phi.completions.create(
        model="demo",
        prompt=OPEN,
        max_tokens=12,
        temperature=0,
        stop=stop,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].text.partition(stop)[0]
    used = chunks[-1].usage
    assert used is not None
    assert used.prompt_tokens == len((await local.load()).encode(OPEN))
    assert 0 < used.completion_tokens < 12


async def test_tokenize_returns_the_tokens_of_a_text(
    phi: openai.AsyncOpenAI, local: LocalBackend
) -> None:
    root = str(phi.base_url).removesuffix("v1/")
    said = await phi.post(
        f"{root}tokenize", body={"model": "demo", "prompt": TEXT}, cast_to=dict[str, Any]
    )
    ids = (await local.load()).encode(TEXT)
    assert said == {"count": len(ids), "max_model_len": 2048, "tokens": ids}


async def test_a_prompt_that_does_not_fit_is_400_with_the_code_of_the_protocol(
    phi: openai.AsyncOpenAI,
) -> None:
    with pytest.raises(openai.BadRequestError, match="set max_tokens to at most") as caught:
        await phi.completions.create(model="demo", prompt=TEXT, max_tokens=5000)
    assert caught.value.code == "context_length_exceeded"
