"""The software of an OpenAI-compatible server is detected once, without a key and within limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from phi2sdk import AsyncPhi2Client
from phi2sdk.backends.hf import HFBackend
from phi2sdk.backends.openai import OpenAIBackend
from phi2sdk.backends.servers import SERVERS, known_software
from phi2sdk.emulator import Emulator
from phi2sdk.errors import (
    Cancelled,
    ConfigurationError,
    ConnectionFailed,
    Overloaded,
    Timeout,
    UnsupportedParameter,
)
from tests.commands import phi2
from tests.transport.misbehaving import serving

from .conftest import ANSWER, KEY, ask, request

WHOLE = {"choices": [{"text": "ok", "finish_reason": "stop"}]}


def listing(owner: str) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": "phi-2", "object": "model", "owned_by": owner}]}


@dataclass
class Server:
    """Answers GET requests from a table, with 404 beside it; notes what it was asked."""

    documents: Mapping[str, Any]
    status: int = 200
    url: str = ""
    asked: list[str] = field(default_factory=list)
    sent: list[Any] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    hold: asyncio.Event | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, asked: web.Request) -> web.StreamResponse:
        if asked.method == "POST":
            self.sent.append(await asked.json())
            return web.json_response(WHOLE)
        self.asked.append(asked.path)
        self.headers.append(asked.headers)
        self.arrived.set()
        if self.hold is not None:
            await self.hold.wait()
        if self.status != 200:
            return web.json_response({}, status=self.status)
        if asked.path not in self.documents:
            return web.json_response({"detail": "Not Found"}, status=404)
        return web.json_response(self.documents[asked.path])


@asynccontextmanager
async def server_of(documents: Mapping[str, Any], status: int = 200) -> AsyncIterator[Server]:
    made = Server(documents, status)
    async with serving(made.answer) as url:
        made.url = url
        yield made


@asynccontextmanager
async def backend_at(url: str, **settings: Any) -> AsyncIterator[OpenAIBackend]:
    backend = OpenAIBackend(base_url=f"{url}/v1", api_key=KEY, **settings)
    try:
        yield backend
    finally:
        await backend.close()


WHOLE_REQUEST = request(stream=False)

ALL_PATHS = ["/v1/models", "/version", "/props", "/api/version", "/info"]

KINDS: dict[str, tuple[dict[str, Any], str, list[str]]] = {
    "vLLM": ({"/v1/models": listing("vllm")}, "vllm", ["/v1/models"]),
    "vLLM with a key": (
        {"/version": {"version": "0.32.0"}}, "vllm", ["/v1/models", "/version"],
    ),
    "SGLang": ({"/v1/models": listing("sglang")}, "sglang", ["/v1/models"]),
    "llama.cpp": ({"/v1/models": listing("llamacpp")}, "llamacpp", ["/v1/models"]),
    "llama.cpp without a list": (
        {"/props": {"default_generation_settings": {}, "total_slots": 1}},
        "llamacpp",
        ["/v1/models", "/version", "/props"],
    ),
    "Ollama": ({"/v1/models": listing("library")}, "ollama", ["/v1/models"]),
    "Ollama with a model of a user": (
        {"/v1/models": listing("somebody"), "/api/version": {"version": "0.12.3"}},
        "ollama",
        ["/v1/models", "/api/version"],
    ),
    "TGI": (
        {
            "/v1/models": listing("microsoft/phi-2"),
            "/info": {"model_id": "microsoft/phi-2", "max_total_tokens": 2048},
        },
        "tgi",
        ["/v1/models", "/api/version", "/info"],
    ),
    "a proxy whose own version is no sign": (
        {"/v1/models": listing("openai"), "/version": {"version": "1.80.0"}},
        "unknown",
        ["/v1/models", "/api/version", "/info"],
    ),
    "a server that answers 200 with other things": (
        {path: ["x"] for path in ALL_PATHS},
        "unknown",
        ALL_PATHS,
    ),
    "a server with nothing to tell": (
        {}, "unknown", ALL_PATHS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
async def test_the_software_is_detected_once_and_decides_what_is_sent(kind: str) -> None:
    documents, name, paths = KINDS[kind]
    async with server_of(documents) as server, backend_at(server.url) as backend:
        for _ in range(2):
            answer = await ask(backend, WHOLE_REQUEST)
            assert answer.text == "ok"
        assert server.asked == paths
        assert not any({"authorization", "api-key"} & {*map(str.lower, h)} for h in server.headers)
        assert answer.receipt.server == backend.software
        assert backend.software.name == name
        if name != "unknown":
            assert backend.software.source == f"detected from {paths[-1]}"
        takes_top_k = name in ("vllm", "sglang", "llamacpp")
        assert ["top_k" in body for body in server.sent] == [takes_top_k] * 2


@pytest.mark.parametrize("server", SERVERS)
async def test_a_setting_overrides_the_detection_and_nothing_is_asked(server: Any) -> None:
    async with server_of({"/v1/models": listing("vllm")}) as running:
        async with backend_at(running.url, server=server) as backend:
            await backend.detect()
            answer = await ask(backend, WHOLE_REQUEST)
        assert running.asked == []
        assert str(answer.receipt.server) == f"{server} (named by the setting server)"


@pytest.mark.phi2_no_network
@pytest.mark.parametrize("host", ["api.openai.com", "eu.api.openai.com"])
async def test_openais_own_hosts_are_known_and_never_asked(host: str) -> None:
    backend = OpenAIBackend(base_url=f"https://{host}/v1", api_key=KEY)
    await backend.detect()
    assert str(backend.software) == f"openai (known from the host {host})"
    await backend.close()


def test_a_host_that_only_looks_like_openais_is_not_taken_for_it() -> None:
    for host in ("api.openai.com.example", "notapi.openai.com", "openai.com"):
        assert known_software(None, f"https://{host}/v1", "openai") is None


def test_an_unknown_server_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        ConfigurationError, match=r"no server 'triton'\. Use one of vllm, .*or leave"
    ):
        OpenAIBackend(base_url="http://localhost/v1", server="triton")  # type: ignore[arg-type]


async def test_concurrent_first_requests_share_one_detection() -> None:
    async with server_of({"/v1/models": listing("sglang")}) as server:
        server.hold = asyncio.Event()
        async with backend_at(server.url) as backend:
            asking = [asyncio.create_task(ask(backend, WHOLE_REQUEST)) for _ in range(16)]
            await server.arrived.wait()
            asking[0].cancel()
            server.hold.set()
            answers = await asyncio.gather(*asking, return_exceptions=True)
        assert server.asked == ["/v1/models"]
        assert isinstance(answers[0], asyncio.CancelledError)
        assert {a.receipt.server.name for a in answers[1:]} == {"sglang"}  # type: ignore[union-attr]


async def test_a_redirect_is_not_followed() -> None:
    async with server_of({"/v1/models": listing("vllm")}) as other:

        async def redirects(asked: web.Request) -> web.StreamResponse:
            raise web.HTTPFound(other.url + asked.path)

        async with serving(redirects) as url, backend_at(url) as backend:
            await backend.detect()
            assert backend.software.name == "unknown"
    assert other.asked == []


async def test_a_reply_without_an_end_is_not_read_to_its_end() -> None:
    written = 0

    async def endless(asked: web.Request) -> web.StreamResponse:
        nonlocal written
        reply = web.StreamResponse(headers={"Content-Type": "application/json"})
        await reply.prepare(asked)
        while written < 64 * 2**20:
            await reply.write(b" " * 2**16)
            written += 2**16
        return reply

    async with serving(endless) as url, backend_at(url) as backend:
        await backend.detect()
        assert backend.software.name == "unknown"
    assert written < 64 * 2**20


async def test_a_server_that_does_not_answer_costs_no_more_than_the_requests_timeout() -> None:
    async with server_of({}) as server:
        server.hold = asyncio.Event()
        async with AsyncPhi2Client("openai", base_url=f"{server.url}/v1", attempts=1) as phi:
            begun = asyncio.get_running_loop().time()
            with pytest.raises(Timeout):
                await phi.generate("x", timeout=0.3, top_k=5, temperature=1.0)
            assert asyncio.get_running_loop().time() - begun < 1.5
        server.hold.set()


async def test_an_unrecognized_server_gets_the_standard_parameters_and_the_error_says_why() -> None:
    async with server_of({}) as server, backend_at(server.url) as backend:
        with pytest.raises(
            UnsupportedParameter,
            match=r"not known.* If it is vllm or sglang",
        ):
            await ask(backend, request(stream=False, temperature=0.7, top_k=5))
        assert server.sent == []
    async with (
        server_of({}) as server,
        backend_at(server.url, on_unsupported="warn") as backend,
    ):
        with pytest.warns(UserWarning, match="top_k is ignored"):
            answer = await ask(backend, request(stream=False, temperature=0.7, top_k=5))
        assert answer.receipt.fate("top_k").fate == "unsupported"
        assert server.sent[0].keys() == {
            "model", "prompt", "max_tokens", "temperature", "top_p", "stop"
        }  # fmt: skip
        said = "unknown (not recognized; requests use the standard OpenAI parameters)"
        assert str(answer.receipt.server) == said


async def test_a_server_that_is_still_loading_is_asked_again_by_the_next_request() -> None:
    async with server_of({"/v1/models": listing("vllm")}, status=503) as server:
        async with backend_at(server.url) as backend:
            answer = await ask(backend, WHOLE_REQUEST)
            assert "not detected: " in str(answer.receipt.server)
            with pytest.raises(Overloaded):  # not 'unsupported': it may be vLLM
                await ask(backend, request(stream=False, temperature=0.7, top_k=5))
            server.status = 200
            answer = await ask(backend, request(stream=False, temperature=0.7, top_k=5))
        assert [body.get("top_k") for body in server.sent] == [None, 5]
        assert str(answer.receipt.server) == "vllm (detected from /v1/models)"


async def test_a_server_that_is_not_there_is_reported_as_that() -> None:
    async with backend_at("http://127.0.0.1:9") as backend:
        with pytest.raises(ConnectionFailed):
            await ask(backend, request(temperature=0.7, top_k=5))
        with pytest.raises(ConnectionFailed):
            await ask(backend, WHOLE_REQUEST)


async def test_closing_the_client_ends_a_detection() -> None:
    async with server_of({}) as server:
        server.hold = asyncio.Event()
        phi = AsyncPhi2Client("openai", base_url=f"{server.url}/v1")
        asking = asyncio.create_task(phi.generate("x"))
        await server.arrived.wait()
        await phi.close()
        with pytest.raises(Cancelled):
            await asking
        server.hold.set()


def test_a_detection_that_ended_with_its_loop_is_repeated_in_the_next_loop() -> None:
    async def begin(backend: OpenAIBackend) -> None:
        asyncio.create_task(backend.detect())  # noqa: RUF006
        await asyncio.sleep(0)

    async def finish(backend: OpenAIBackend) -> None:
        await backend.detect()
        await backend.close()

    with Emulator(providers=["openai"]).running() as emulator:
        backend = OpenAIBackend(base_url=f"{emulator.openai.url}/v1")
        asyncio.run(begin(backend))
        assert backend.software.name == "unknown"
        asyncio.run(finish(backend))
    assert backend.software.name == "vllm"


async def test_explain_before_the_first_request_says_that_the_server_is_not_detected() -> None:
    async with (
        server_of({"/v1/models": listing("vllm")}) as server,
        AsyncPhi2Client("openai", base_url=f"{server.url}/v1") as phi,
    ):
        assert str(phi.explain().server).startswith("unknown (not detected yet")
        assert server.asked == []
        await phi.check()
        receipt = phi.explain(top_k=5, temperature=1.0)
        assert str(receipt.server) == "vllm (detected from /v1/models)"
        assert receipt.fate("top_k").wire == {"top_k": 5}


async def test_a_dedicated_endpoint_with_an_openai_route_is_detected_too(
    providers: Emulator,
) -> None:
    backend = HFBackend(endpoint=providers.openai.url, api_key=KEY, route="completions")
    answer = await ask(backend, request(temperature=0.7, top_k=5))
    assert (answer.text, str(answer.receipt.server)) == (ANSWER, "vllm (detected from /version)")
    await backend.close()


@pytest.mark.parametrize(
    ("emulated", "name"),
    [("openai", "vllm"), ("vllm", "vllm"), ("llamacpp", "llamacpp"), ("transformers", "unknown")],
)
async def test_the_emulated_servers_are_detected_and_their_calls_do_not_show_it(
    providers: Emulator, emulated: Any, name: str
) -> None:
    providers.openai.server = emulated
    async with backend_at(providers.openai.url) as backend:
        answer = await ask(backend, request())
    assert answer.text == ANSWER
    assert backend.software.name == name
    assert [call.method for call in providers.openai.calls] == ["POST"]
    assert providers.openai.meter.requests == 1
    assert len(providers.openai.detections) > 0


def test_explain_of_the_command_line_detects_the_server_and_names_it(
    phi2_emulator: Any,
) -> None:
    status, out, err = phi2("explain", "x", "-t", "openai", "--top-k", "5", "--temperature", "1")
    assert status == 0, err
    assert "vllm (detected from /version)" in out
    assert "top_k=5" in out
    assert phi2_emulator.openai.calls == []
