"""A raised error references no secret, in any failure of any library."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
from aiohttp import web
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import HttpRequest

from phi2sdk import Phi2Client
from phi2sdk.backends.azure import AzureBackend
from phi2sdk.backends.engine.files import find_model
from phi2sdk.backends.hf import HFBackend
from phi2sdk.completion import Request
from phi2sdk.config import load_config
from phi2sdk.emulator import Emulator, Fault
from phi2sdk.errors import AuthenticationFailed, ConfigurationError, Phi2Error
from phi2sdk.sampling import Sampling
from phi2sdk.secret import Secret
from phi2sdk.transport.redaction import ForeignError
from tests.reliability.matrix import HTTP, KEY, TARGETS
from tests.reliability.stage import OPTIONS, PROMPT, leaks, open_backend, secrets, url_of
from tests.transport.misbehaving import raw, serving

PASSWORD = "proxy-word-4c5e"
BASIC = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
TOKEN = "eyJ0eXAi.eyJhdWQi-canary-token.c2lnbmF0dXJl"
ASKED = Request(PROMPT, Sampling(max_tokens=8))


async def raised_by(target: str, url: str, *, stream: bool = True) -> Phi2Error:
    backend = open_backend(target, url)
    asked = Request(PROMPT, Sampling(max_tokens=8), stream)
    try:
        with pytest.raises(Phi2Error) as caught:
            async for _ in backend.stream(asked):
                pass
    finally:
        await backend.close()
    return caught.value


def assert_clean(error: Phi2Error, *others: str) -> None:
    shown = f"{error} {error!r} {vars(error)}"
    words = (*secrets().values(), *others)
    assert [word for word in words if word in shown] == []
    assert leaks(error, *words) == []


BROKEN_HTTP = (
    b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n",
    b"NOT HTTP AT ALL " + KEY.encode() + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\nX: " + KEY.encode() + b"\r\n\r\n{",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Encoding: gzip\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + KEY.encode() + b"\r\n",
)


@pytest.mark.parametrize("sent", BROKEN_HTTP, ids=["header", "status", "short", "gzip", "chunk"])
@pytest.mark.parametrize("target", HTTP)
async def test_what_aiohttp_raises_is_told_and_not_kept(target: str, sent: bytes) -> None:
    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(sent)
        await writer.drain()

    async with raw(script) as url:
        error = await raised_by(target, url)
    assert_clean(error)
    assert error.__context__ is None
    if error.__cause__ is not None:
        assert type(error.__cause__) is ForeignError


@asynccontextmanager
async def refusing_proxy(reply: bytes) -> AsyncIterator[str]:
    """A proxy on loopback that answers each ``CONNECT`` with ``reply``."""

    async def script(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(reply)
        await writer.drain()

    async with raw(script) as url:
        yield url.replace("http://", f"http://user:{PASSWORD}@")


@pytest.mark.parametrize("target", HTTP)
@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 407 Who is " + PASSWORD.encode() + b"\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 No\r\nX-Said: "
        + base64.b64encode(f"user:{PASSWORD}".encode())
        + b"\r\n\r\n",
        b"garbage " + PASSWORD.encode() + b"\r\n\r\n",
        b"",
    ],
    ids=["407", "502", "garbage", "nothing"],
)
async def test_after_a_refusing_proxy_neither_key_nor_password_is_left(
    target: str, reply: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    async with refusing_proxy(reply) as proxy:
        for name in ("https_proxy", "HTTPS_PROXY"):
            monkeypatch.setenv(name, proxy)
        error = await raised_by(target, "https://provider.example")
        wire = open_backend(target, "https://provider.example")._wire  # type: ignore[attr-defined]
    assert_clean(error, PASSWORD, BASIC)
    assert PASSWORD not in repr(vars(wire))


class Failing:
    """A credential whose exception holds what went out, as those of azure-identity do."""

    def __init__(self, *, said: str) -> None:
        self.said = said
        self.gives_first = True

    def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        if self.gives_first:
            self.gives_first = False
            return AccessToken(TOKEN, 0)
        error = ClientAuthenticationError(self.said)
        request = HttpRequest("POST", "https://login.example", {"Authorization": f"Bearer {TOKEN}"})
        request.set_formdata_body({"client_secret": KEY})
        error.model = request
        raise error from ValueError(f"{TOKEN} {KEY}")


async def test_a_credentials_exception_leaves_no_token_and_no_client_secret(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_CLIENT_SECRET", KEY)
    credential = Failing(said="x" * 280 + f" {TOKEN} and {KEY} are refused")
    backend = AzureBackend(endpoint=emulator.azure.url, credential=credential)
    emulator.azure.faults.push(Fault("status", status=500, body=f"token {TOKEN}"))
    shown = []
    for _ in range(2):  # the first call has a token, which the server quotes; then there is none
        with pytest.raises(Phi2Error) as caught:
            async for _ in backend.stream(ASKED):
                pass
        assert_clean(caught.value, TOKEN, TOKEN[:12])
        shown.append(caught.value)
    await backend.close()
    emulator.azure.faults.clear()
    assert shown[0].status == 500
    assert type(shown[1]) is AuthenticationFailed
    assert type(shown[1].__cause__) is ForeignError
    assert "ClientAuthenticationError" in str(shown[1].__cause__)
    assert "***" in shown[0].message


@pytest.fixture
async def hub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[[Any], None]]:
    """Hugging Face on loopback; what it answers can be set, ``None`` hangs up."""
    said: list[Any] = [None]

    async def handler(asked: web.Request) -> web.StreamResponse:
        if said[0] is None:
            assert asked.transport is not None
            asked.transport.abort()
        status, body = said[0] or (500, "")
        return web.Response(status=status, text=body, headers={"x-request-id": f"id-{KEY}"})

    async with serving(handler) as url:
        monkeypatch.setattr(huggingface_hub.constants, "INFERENCE_ENDPOINTS_ENDPOINT", f"{url}/v2")
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", url)
        yield lambda answer: said.__setitem__(0, answer)
        huggingface_hub.close_session()


HUB_SAYS = (
    (401, f"Bearer {KEY} is wrong"),
    (404, json.dumps({"error": "y" * 290 + KEY})),
    (500, KEY),
    (200, f"no JSON: {KEY}"),
    (200, json.dumps({"name": KEY})),
    None,
)


@pytest.mark.parametrize("answer", HUB_SAYS)
@pytest.mark.parametrize("given", [True, False], ids=["its own token", "the saved token"])
async def test_what_the_hub_raises_is_told_and_not_kept(
    hub: Callable[[Any], None], answer: Any, given: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", KEY)
    hub(answer)
    backend = HFBackend(name="phi2", namespace="me", token=Secret(KEY) if given else None)
    for use in (backend.check(), backend.connect()):
        with pytest.raises(Phi2Error) as caught:
            await use
        assert_clean(caught.value)
        assert KEY[:12] not in str(caught.value)
        assert type(caught.value.__cause__) is ForeignError
    await backend.close()


async def test_a_download_that_fails_keeps_no_token(
    hub: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", KEY)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    for answer in ((401, KEY), (404, KEY)):
        hub(answer)
        with pytest.raises(Phi2Error) as caught:
            await asyncio.to_thread(find_model, "microsoft/phi-2")
        assert_clean(caught.value)


QUOTING = (
    Fault("status", status=401, body=f"bad key {KEY}"),
    Fault("status", status=500, body={"error": {"message": "x" * 290 + KEY, "code": KEY}}),
    Fault("status", status=200, body=f"no JSON: {KEY}"),
    Fault("status", status=302, headers={"Location": f"/{KEY}"}, body=KEY),
    Fault(
        "status",
        status=424,
        headers={"ms-azureml-model-error-reason": KEY, "ms-azureml-model-error-statuscode": "500"},
        body=KEY,
    ),
    Fault("error_event", after=1, body={"error": {"message": "x" * 290 + KEY, "type": KEY}}),
    Fault("clarifai", status=11009, body=f"key {KEY} not found"),
    Fault("clarifai", status=21313, body="x" * 290 + KEY, where="output"),
    Fault("grpc", code="UNAUTHENTICATED", body="x" * 290 + KEY),
)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_server_that_quotes_the_key_leaves_nothing_of_it(
    target: str, stream: bool, emulator: Emulator
) -> None:
    server = getattr(emulator, TARGETS[target][0])
    failed = 0
    for fault in QUOTING:
        if (fault.kind in ("clarifai", "grpc")) != (target == "clarifai"):
            continue
        if fault.kind == "error_event" and (not stream or target == "azure score"):
            continue
        server.faults.push(fault)
        error = await raised_by(target, url_of(emulator, target), stream=stream)
        server.faults.clear()
        assert_clean(error, KEY[:8])
        failed += 1
    assert failed >= 3


def test_the_synchronous_client_keeps_no_key_either(emulator: Emulator) -> None:
    with Phi2Client(open_backend("azure chat", "https://127.0.0.1:1"), attempts=1) as phi:
        with pytest.raises(Phi2Error) as caught:
            phi.generate(PROMPT, **OPTIONS)
        assert_clean(caught.value)


async def test_what_the_caller_was_handling_stays_the_context() -> None:
    handled = KeyError("the caller's own")
    try:
        raise handled
    except KeyError:
        error = await raised_by("openai completions", "http://127.0.0.1:1")
    assert error.__context__ is handled
    assert type(error.__cause__) is ForeignError


def test_a_file_that_holds_a_key_and_is_damaged_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "phi2.toml"
    for content in (
        f'[targets.a]\nbackend = "azure"\nprice = "{KEY}"\n'.encode(),
        f'[targets.a]\nkey = "{KEY}"\n'.encode() + b"\xff",
        f'[targets.a]\nkey = "{KEY}\n'.encode(),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigurationError) as caught:
            load_config(path)
        assert_clean(caught.value)
