"""A key goes where it is meant to go, and is shown nowhere."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from phi2sdk.errors import AuthenticationFailed, ConfigurationError, ConnectionFailed, Phi2Error
from phi2sdk.secret import Secret
from phi2sdk.transport.http import HttpTransport
from tests.transport.misbehaving import KEY, answers, post, serving


@pytest.fixture(autouse=True)
def _no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    "body",
    [
        f"the key {KEY} is wrong",
        f"the header 'Bearer {KEY}' is wrong",
        json.dumps({"error": {"message": f"wrong: {KEY}", "code": KEY}}),
        " " * 280 + KEY,  # cut off in its middle if it were cut first
    ],
)
@pytest.mark.parametrize("status", [200, 401])
async def test_a_key_that_the_server_quotes_is_not_shown(body: str, status: int) -> None:
    headers = {"x-request-id": KEY}
    async with serving(answers(text=body + "{", status=status, headers=headers)) as url:
        with pytest.raises(Phi2Error) as raised:
            await post(url)
    shown = f"{raised.value!r} {raised.value} {raised.value.__dict__}"
    assert KEY[:8] not in shown
    assert status == 200 or "***" in shown


async def test_a_key_of_one_call_is_not_shown_either() -> None:
    async with serving(answers(text="wrong: token-of-this-call", status=401)) as url:
        wire = HttpTransport(url, provider="p")
        headers = {"Authorization": Secret("Bearer token-of-this-call")}
        with pytest.raises(AuthenticationFailed, match=r"\*\*\*"):
            async with wire.post("/x", {}, headers=headers):
                pass
        await wire.close()


@pytest.mark.parametrize("key", ["two\nlines", "two\r\nX-Injected: 1", "tab\tbed", "smart’quote"])
def test_a_key_that_no_header_can_carry_is_a_configuration_error(key: str) -> None:
    with pytest.raises(ConfigurationError, match="X-Key") as raised:
        HttpTransport("https://example.com", provider="p", headers={"X-Key": Secret(key)})
    assert key not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "http://10.0.0.7:8000",
        "http://0.0.0.0",
        "http://127.0.0.1.example.com",
        "http://localhost.example.com",
        "ftp://127.0.0.1",
        "127.0.0.1:80",
        "https://",
        "https://host:port",
        "https://host:99999",
        "http://[::1",
        "https://a b.example",
        "https://user:word@example.com",
        "https://@example.com",
        "https://example.com/score?key=secret-word",
        "https://example.com/#part",
        "",
        7,
        None,
    ],
)
def test_an_endpoint_that_no_key_may_go_to_is_a_configuration_error(url: Any) -> None:
    with pytest.raises(ConfigurationError) as raised:
        HttpTransport(url, provider="p")
    assert "word" not in raised.value.message.replace("password", "")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "http://127.0.0.1:8000/v1",
        "http://127.8.9.1",
        "http://[::1]:80",
        "http://localhost",
        "http://my.localhost",
        " https://example.com \n",
    ],
)
def test_an_endpoint_that_is_safe_is_taken(url: str) -> None:
    assert HttpTransport(url, provider="p").base_url == url.strip().rstrip("/")


def test_plain_http_is_taken_to_a_host_that_was_named() -> None:
    assert HttpTransport("http://gpu.lan:80", provider="p", insecure_hosts=("gpu.lan",)).base_url
    with pytest.raises(ConfigurationError, match="insecure_hosts"):
        HttpTransport("http://gpu2.lan", provider="p", insecure_hosts=("gpu.lan",))


async def test_an_unsigned_certificate_is_refused(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7)
    builder = builder.not_valid_before(now - timedelta(1)).not_valid_after(now + timedelta(1))
    signed = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem = tmp_path / "server.pem"
    pem.write_bytes(private + signed)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    called: list[web.Request] = []

    async def handler(asked: web.Request) -> web.StreamResponse:
        called.append(asked)
        return web.json_response({})

    async with serving(handler, scheme="https", ssl=context) as url:
        with pytest.raises(ConfigurationError, match="certificate"):
            await post(url)
    assert called == []


# ----------------------------------------------------------------------- the environment


async def test_loopback_takes_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    proxied: list[web.Request] = []

    async def proxy(asked: web.Request) -> web.StreamResponse:
        proxied.append(asked)
        return web.json_response({})

    async with serving(proxy) as proxy_url, serving(answers(text="1")) as url:
        monkeypatch.setenv("HTTP_PROXY", proxy_url)
        monkeypatch.setenv("ALL_PROXY", proxy_url)
        assert await post(url) == 1
    assert proxied == []


async def test_other_hosts_take_the_environments_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    asked_for: list[str] = []

    async def proxy(asked: web.BaseRequest) -> web.StreamResponse:
        asked_for.append(asked.raw_path if isinstance(asked, web.Request) else "")
        return web.json_response({"by": "proxy"})

    server = web.Server(proxy)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    for name in ("HTTP_PROXY", "ALL_PROXY"):
        with monkeypatch.context() as patched:
            patched.setenv(name, f"127.0.0.1:{port}")
            url = "http://gpu.lan"
            assert await post(url, insecure_hosts=("gpu.lan",)) == {"by": "proxy"}
            patched.setenv("NO_PROXY", ".lan")
            with pytest.raises(ConnectionFailed):
                await post(url, insecure_hosts=("gpu.lan",))
    await runner.cleanup()
    assert len(asked_for) == 2


def test_a_proxy_that_is_not_spoken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://user:word@127.0.0.1:1080")
    with pytest.raises(ConfigurationError, match="socks5") as raised:
        HttpTransport("https://example.com", provider="p")
    assert "word" not in str(raised.value)


async def test_netrc_does_not_take_the_place_of_the_key(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("default login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))

    async def handler(asked: web.Request) -> web.StreamResponse:
        return web.json_response(asked.headers["Authorization"] == f"Bearer {KEY}")

    async with serving(handler) as url:
        assert await post(url) is True
