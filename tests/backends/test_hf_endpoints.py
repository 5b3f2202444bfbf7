"""Dedicated endpoints: found by name, shown, woken."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import huggingface_hub.constants
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from phi2sdk import AsyncPhi2Client
from phi2sdk.backends.hf import HFBackend
from phi2sdk.client.policies import Retry
from phi2sdk.emulator import Emulator
from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    ConfigurationError,
    ConnectionFailed,
    ModelLoading,
    ModelNotFound,
    Phi2Error,
    ProviderFault,
)
from phi2sdk.transport.http import HttpTransport

from .conftest import ANSWER, KEY, ask


async def test_a_sleeping_endpoint_is_loading(providers: Emulator, hf: HFBackend) -> None:
    providers.hf.sleep(refusals=2)
    assert "starting" in await hf.check()
    with pytest.raises(ModelLoading):
        await ask(hf)
    assert (await ask(hf)).text == ANSWER


async def test_waking_holds_the_request_until_the_endpoint_is_ready(providers: Emulator) -> None:
    backend = HFBackend(endpoint=providers.hf.url, token=KEY, wake=True)
    providers.hf.sleep(0.05)
    assert (await ask(backend)).text == ANSWER
    assert providers.hf.calls[-1].headers["x-scale-up-timeout"] == "600"
    await backend.close()


class Account:
    """The service that knows an account's endpoints."""

    def __init__(self, url: str) -> None:
        self.state = "running"
        self.url: str | None = url
        self.calls: list[str] = []
        self.reply: web.Response | None = None

    async def answer(self, asked: web.Request) -> web.Response:
        self.calls.append(f"{asked.method} {asked.path}")
        if self.reply is not None:
            return self.reply
        if asked.path.endswith("/resume"):
            self.state = "initializing"
        status = {"state": self.state, "url": self.url, "createdAt": _DAY, "updatedAt": _DAY}
        model = {"repository": "r", "framework": "pytorch", "revision": "main", "task": "t"}
        return web.json_response(
            {
                "name": "phi2",
                "type": "protected",
                "healthRoute": "/health",
                "model": model,
                "status": status,
            }
        )


_DAY = "2026-01-01T00:00:00.000Z"


@pytest.fixture
async def account(providers: Emulator, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Account]:
    service = Account(providers.hf.url)
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", service.answer)
    server = TestServer(app)
    await server.start_server()
    monkeypatch.setattr(
        huggingface_hub.constants, "INFERENCE_ENDPOINTS_ENDPOINT", str(server.make_url("/v2"))
    )
    yield service
    huggingface_hub.close_session()
    await server.close()


async def test_a_named_endpoint_is_looked_up_once(providers: Emulator, account: Account) -> None:
    backend = HFBackend(name="phi2", namespace="me", token=KEY)
    assert (await ask(backend)).text == ANSWER
    assert (await ask(backend)).text == ANSWER
    assert account.calls == ["GET /v2/endpoint/me/phi2"]
    assert await backend.check() == (
        "the endpoint phi2 is running; serves microsoft/phi-2, at most 2048 tokens"
    )
    await backend.close()


async def test_a_paused_endpoint_is_resumed_only_on_request(
    account: Account, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "phi2sdk")
    account.state, url, account.url = "paused", account.url, None
    backend = HFBackend(name="phi2", namespace="me", token=KEY)
    assert await backend.check() == "the endpoint phi2 is paused"
    with pytest.raises(ModelLoading, match="paused"):
        await ask(backend)
    await backend.close()
    assert caplog.messages == []
    waking = HFBackend(name="phi2", namespace="me", token=KEY, wake=True)
    with pytest.raises(ModelLoading, match="initializing"):
        await ask(waking)
    account.url = url
    assert (await ask(waking)).text == ANSWER
    assert caplog.messages == ["hf: the endpoint phi2 is paused and is woken"]
    assert account.calls.count("POST /v2/endpoint/me/phi2/resume") == 1
    await waking.close()


async def test_an_endpoint_without_an_address_is_asked_again_by_the_client(
    account: Account,
) -> None:
    url, account.url = account.url, None

    class Later(HFBackend):
        async def connect(self) -> HttpTransport:
            try:
                return await super().connect()
            finally:
                account.url = url

    backend = Later(name="phi2", namespace="me", token=KEY)
    async with AsyncPhi2Client(backend) as phi:
        phi.backend = Retry(backend, base=0.0)
        answer = await phi.generate("x")
    assert answer.text == ANSWER
    assert len(answer.receipt.attempts) == 1, "the first time nothing was sent"


@pytest.mark.parametrize(
    ("status", "text", "error"),
    [
        (401, "{}", AuthenticationFailed),
        (404, "{}", ModelNotFound),
        (500, "{}", ProviderFault),
        (200, "{}", BadResponse),
        (200, "nonsense", BadResponse),
    ],
)
async def test_failures_of_the_account_service_have_their_error_class(
    account: Account, status: int, text: str, error: type[Phi2Error]
) -> None:
    account.reply = web.Response(status=status, text=text, content_type="application/json")
    backend = HFBackend(name="phi2", namespace="me", token=KEY)
    with pytest.raises(error) as raised:
        await ask(backend)
    assert "test-key" not in str(raised.value)
    await backend.close()


async def test_an_unreachable_account_service_is_a_failed_connection(
    monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    monkeypatch.setattr(
        huggingface_hub.constants,
        "INFERENCE_ENDPOINTS_ENDPOINT",
        f"http://127.0.0.1:{unused_tcp_port}",
    )
    backend = HFBackend(name="phi2", namespace="me", token=KEY)
    with pytest.raises(ConnectionFailed):
        await ask(backend)
    huggingface_hub.close_session()


def test_neither_endpoint_nor_name_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="HF_PHI2_ENDPOINT"):
        HFBackend()
