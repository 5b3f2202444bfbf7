"""Each OpenAI-compatible server in its own words, against an emulator as strict as that server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from phi2sdk.backends.hf import HFBackend
from phi2sdk.backends.openai import OpenAIBackend
from phi2sdk.backends.servers import Server
from phi2sdk.cli.doctor import examine
from phi2sdk.emulator import Emulator
from phi2sdk.errors import UnsupportedParameter
from tests.transport.misbehaving import serving

from .conftest import ANSWER, KEY, ask, request

Open = Callable[..., OpenAIBackend]


@pytest.fixture
async def open_server(providers: Emulator) -> AsyncIterator[Open]:
    made: list[OpenAIBackend] = []

    def build(server: Any, **settings: Any) -> OpenAIBackend:
        providers.openai.server = server
        base = providers.openai.url + "/v1"
        made.append(OpenAIBackend(base_url=base, api_key=KEY, server=server, **settings))
        return made[-1]

    yield build
    for backend in made:
        await backend.close()


@pytest.mark.parametrize("route", ["completions", "chat"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_repetition_penalty_reaches_llamacpp(
    providers: Emulator, open_server: Open, route: str, stream: bool
) -> None:
    backend = open_server("llamacpp", route=route)
    answer = await ask(backend, request(stream=stream, repetition_penalty=1.2))
    assert answer.text == ANSWER
    decoding = providers.openai.calls[-1].decoding
    assert decoding is not None
    assert decoding.repetition_penalty == 1.2


@pytest.mark.parametrize("server", ["llamacpp", "transformers", "vllm"])
@pytest.mark.parametrize("temperature", [0.0, 1.0, 0.7])
async def test_no_default_of_the_server_reaches_the_model(
    providers: Emulator, open_server: Open, server: Server, temperature: float
) -> None:
    answer = await ask(open_server(server), request(temperature=temperature))
    assert answer.text == ANSWER
    decoding = providers.openai.calls[-1].decoding
    assert decoding is not None
    assert decoding.temperature == temperature
    if temperature:
        assert (decoding.top_p, decoding.top_k, decoding.min_p) == (1.0, None, 0.0)
    assert decoding.repetition_penalty == 1.0


@pytest.mark.parametrize("route", ["completions", "chat"])
@pytest.mark.parametrize(
    "parameter", [{"top_k": 5}, {"min_p": 0.1}, {"repetition_penalty": 1.1}], ids=str
)
async def test_what_transformers_serve_refuses_is_refused_before_anything_is_sent(
    providers: Emulator, open_server: Open, route: str, parameter: dict[str, Any]
) -> None:
    backend = open_server("transformers", route=route)
    with pytest.raises(UnsupportedParameter, match=next(iter(parameter))):
        await ask(backend, request(temperature=0.7, **parameter))
    assert not providers.openai.calls


@pytest.mark.parametrize("route", ["completions", "chat"])
async def test_a_stream_of_transformers_serve_has_its_counts_and_its_end(
    providers: Emulator, open_server: Open, route: str
) -> None:
    backend = open_server("transformers", route=route)
    answer = await ask(backend, request(temperature=0.7, seed=3))
    assert (answer.text, answer.finish_reason) == (ANSWER, "stop")
    assert answer.usage.input is not None
    assert answer.usage.input.value == providers.openai.calls[-1].prompt_tokens


async def test_a_server_that_cannot_list_its_models_is_still_reachable(
    providers: Emulator, open_server: Open, tmp_path: Any
) -> None:
    assert "reachable" in await open_server("transformers").check()
    dedicated = HFBackend(
        endpoint=providers.openai.url, token=KEY, route="completions", server="transformers"
    )
    assert "reachable" in await dedicated.check()
    await dedicated.close()
    config = tmp_path / "phi2.toml"
    config.write_text(
        '[targets.mine]\nbackend = "openai"\nserver = "transformers"\n'
        f'base_url = "{providers.openai.url}/v1"\napi_key = {{ env = "MY_KEY" }}\n'
    )
    findings = await examine(config, {"MY_KEY": KEY.reveal()})
    mine = next(finding for finding in findings if finding.target == "mine")
    assert mine.ok
    assert "cannot list its models" in mine.state


async def test_another_server_that_cannot_list_its_models_has_a_fault(
    providers: Emulator, open_server: Open
) -> None:
    from phi2sdk.errors import ProviderFault

    backend = open_server("vllm")
    providers.openai.server = "transformers"
    with pytest.raises(ProviderFault):
        await backend.check()


@pytest.mark.parametrize("route", ["completions", "chat"])
async def test_a_request_after_a_stream_of_llamacpp_does_not_meet_a_closed_connection(
    route: Any,
) -> None:
    served: set[object] = set()

    async def closes_after_a_stream(asked: web.Request) -> web.StreamResponse:
        assert asked.transport is not None
        if asked.transport in served:
            asked.transport.close()
            return web.Response()
        served.add(asked.transport)
        reply = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await reply.prepare(asked)
        choice = '{"text": "ok", "delta": {"content": "ok"}, "finish_reason": "stop"}'
        await reply.write(f'data: {{"choices": [{choice}]}}\n\ndata: [DONE]\n\n'.encode())
        await reply.write_eof()
        return reply

    async with serving(closes_after_a_stream) as url:
        backend = OpenAIBackend(base_url=url, server="llamacpp", route=route)
        try:
            assert [(await ask(backend, request())).text for _ in range(3)] == ["ok"] * 3
        finally:
            await backend.close()


async def test_a_sampled_request_tells_llamacpp_to_apply_the_temperature_first(
    providers: Emulator, open_server: Open
) -> None:
    answer = await ask(open_server("llamacpp"), request(temperature=0.7))
    order = ["penalties", "temperature", "top_k", "top_p", "min_p"]
    assert providers.openai.calls[-1].body["samplers"] == order
    assert answer.receipt.fate("temperature").wire["samplers"] == order
