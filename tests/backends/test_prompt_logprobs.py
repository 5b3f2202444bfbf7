"""Log-probabilities that endpoints report for a given text, over their real protocols."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from huggingface_hub import AsyncInferenceClient
from openai import AsyncOpenAI

from phi2sdk.backends.hf import TGI, HFBackend
from phi2sdk.backends.openai import COMPLETIONS, Completions, OpenAIBackend
from phi2sdk.client.policies import Retry
from phi2sdk.emulator import Emulator
from phi2sdk.errors import BadResponse, InvalidRequest
from phi2sdk.logprobs import TokenLogprob

from .conftest import KEY

TEXT = "Instruct: say it\nOutput: It is said."


async def test_tgi_tells_ids_and_log_probabilities(hf: HFBackend, providers: Emulator) -> None:
    assert hf.capabilities.prompt_logprobs
    told = await Retry(hf).prompt_logprobs(TEXT)
    assert "".join(token.text for token in told) == TEXT
    assert told[0].logprob is None
    assert all(token.logprob is not None and token.logprob <= 0 for token in told[1:])
    assert all(token.id is not None for token in told)
    async with AsyncInferenceClient(model=providers.hf.url, token=KEY.reveal()) as vendor:
        reply = await vendor.text_generation(
            TEXT, max_new_tokens=1, details=True, decoder_input_details=True
        )
    assert reply.details is not None
    theirs = [(token.id, token.logprob) for token in reply.details.prefill]
    assert [(token.id, token.logprob) for token in told] == theirs


async def test_a_stream_has_no_prefill(providers: Emulator) -> None:
    parameters = {"details": True, "decoder_input_details": True}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY.reveal()}"}) as session,
        session.post(
            f"{providers.hf.url}/generate_stream", json={"inputs": TEXT, "parameters": parameters}
        ) as reply,
    ):
        said = await reply.text()
    assert "not supported when streaming" in said
    assert '"error_type":"validation"' in said.replace(": ", ":")


async def test_the_completions_route_echoes_them(providers: Emulator) -> None:
    served, url = providers.openai.engine.model, f"{providers.openai.url}/v1"
    backend = OpenAIBackend(base_url=url, api_key=KEY, model=served)
    assert backend.capabilities.prompt_logprobs
    told = await backend.prompt_logprobs(TEXT)
    await backend.close()
    assert "".join(token.text for token in told) == TEXT
    assert told[0] == TokenLogprob(told[0].text, None)
    assert all(token.best == (token.text, token.logprob) for token in told[1:])
    async with AsyncOpenAI(base_url=url, api_key=KEY.reveal(), max_retries=0) as vendor:
        reply = await vendor.completions.create(
            model=served, prompt=TEXT, max_tokens=0, echo=True, logprobs=1
        )
    assert reply.choices[0].logprobs is not None
    assert [token.text for token in told] == reply.choices[0].logprobs.tokens
    assert [token.logprob for token in told] == reply.choices[0].logprobs.token_logprobs
    assert reply.choices[0].text == TEXT


@pytest.mark.parametrize(
    ("options", "tells"),
    [
        ({"server": "vllm"}, True),
        ({"server": "sglang"}, True),
        ({"server": "ollama"}, False),
        ({"server": "llamacpp"}, False),
        ({"route": "chat"}, False),
    ],
)
async def test_a_route_that_does_not_tell_says_so_without_a_call(
    options: dict[str, Any], tells: bool
) -> None:
    backend = OpenAIBackend(base_url="http://127.0.0.1:9/v1", **options)
    assert backend.capabilities.prompt_logprobs == tells
    if not tells:
        with pytest.raises(InvalidRequest, match="does not return log-probabilities"):
            await backend.prompt_logprobs(TEXT)
    await backend.close()


@pytest.mark.parametrize(
    "document",
    [
        {},
        [],
        {"details": None},
        {"details": {"prefill": []}},
        {"details": {"prefill": ["x"]}},
        {"details": {"prefill": [{"id": 1, "text": "a"}, {"id": 2, "text": "b"}]}},
        {"details": {"prefill": [{}, {"id": 2, "text": "b", "logprob": 1.5}]}},
        {"details": {"prefill": [{}, {"id": 2, "text": "b", "logprob": float("-inf")}]}},
    ],
)
def test_a_reply_without_prefill_is_no_answer(document: Any) -> None:
    with pytest.raises(BadResponse):
        TGI().read_prompt_logprobs(document)


def _echo(**logprobs: Any) -> dict[str, Any]:
    return {"choices": [{"text": "ab", "logprobs": logprobs or None}]}


@pytest.mark.parametrize(
    "document",
    [
        {"choices": []},
        _echo(),
        _echo(tokens=["a"], token_logprobs=None),
        _echo(tokens=["a", "b"], token_logprobs=[None]),
        _echo(tokens=["a", "b"], token_logprobs=[None, None]),
        _echo(tokens=["a", "b"], token_logprobs=[None, True]),
    ],
)
def test_a_reply_without_the_prompts_logprobs_is_no_answer(document: Any) -> None:
    with pytest.raises(BadResponse):
        Completions("m", COMPLETIONS["vllm"]).read_prompt_logprobs(document)


def test_the_most_likely_token_is_read_if_it_is_reported() -> None:
    route = Completions("m", COMPLETIONS["vllm"])
    assert route.prompt_logprobs_call("ab").body["max_tokens"] == 0
    read: Callable[[Any], tuple[TokenLogprob, ...]] = route.read_prompt_logprobs
    tops = [None, {"c": -0.1, "b": -2}]
    found = read(_echo(tokens=["a", "b"], token_logprobs=[None, -2], top_logprobs=tops))
    assert found == (TokenLogprob("a", None), TokenLogprob("b", -2.0, None, ("c", -0.1)))
