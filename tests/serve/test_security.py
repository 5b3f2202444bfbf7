"""The gateway is used only with its key or on loopback, and nothing secret reaches clients."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from phi2sdk.emulator import Emulator, Fault, ScriptedEngine
from phi2sdk.errors import ConfigurationError
from phi2sdk.secret import Secret
from phi2sdk.serve import ServeOptions
from tests.serve.serving import KEY, Served, served

ASK = {"model": "openai", "prompt": "Tides?"}


async def test_a_gateway_with_a_key_answers_only_requests_with_this_key(
    emulator: Emulator, tmp_path: Path
) -> None:
    async with served(emulator, tmp_path, api_key=Secret("right-key")) as gateway:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "right-key"},
                        {"Authorization": "Bearer r\u00efght-key"}):  # fmt: skip
            for path in ("/v1/models", "/metrics", "/nowhere"):
                status, text, _ = await gateway.get(path, headers=headers)
                assert (status, "invalid_api_key" in text) == (401, True)
        for path in ("/health", "/ready"):
            assert (await gateway.get(path))[0] == 200
        said = await gateway.sdk.completions.create(model="openai", prompt="Tides?")
        assert said.choices[0].text == " Tides follow the moon."
        assert "right-key" not in repr(gateway.gateway.options)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_an_address_other_than_loopback_needs_a_key(host: str) -> None:
    with pytest.raises(ConfigurationError, match="without a key"):
        ServeOptions(targets=("local",), host=host)
    assert ServeOptions(targets=("local",), host=host, api_key=Secret("k")).host == host


async def test_a_page_in_a_browser_cannot_use_a_gateway_without_a_key(gateway: Served) -> None:
    """It can send a form or plain text, or resolve its own name to this machine."""
    status, document, headers = await gateway.post(
        "/v1/completions", ASK, headers={"Host": "evil.example", "Origin": "http://evil.example"}
    )
    assert (status, document["error"]["code"]) == (403, "wrong_host")
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        status, document, headers = await gateway.post(
            "/v1/completions", ASK, headers={"Content-Type": kind}
        )
        assert (status, document["error"]["code"]) == (415, "not_json")
    async with gateway.http.options(f"{gateway.root}/v1/completions") as reply:
        assert reply.status == 405
        headers = reply.headers
    assert not [name for name in headers if name.lower().startswith("access-control")]
    assert headers["Server"] == "phi2sdk"
    assert gateway.emulator.openai.calls == []


async def test_bodies_that_are_too_long_compressed_or_not_json_are_refused(
    gateway: Served,
) -> None:
    for body, status, code in (
        (b'{"model": "' + b"a" * 5_000_000 + b'"}', 413, "too_long"),
        (b"[" * 100_000, 400, "invalid_json"),
        (b'{"model": "openai", "prompt": "\xff"}', 400, "invalid_json"),
        (b'{"model": "openai", "prompt": "\\ud800"}', 400, "invalid_json"),
        (b'{"model": "openai", "prompt": "a", "temperature": NaN}', 400, "invalid_value"),
        (b"", 400, "invalid_json"),
        (b"3", 400, "invalid_json"),
    ):
        async with gateway.http.post(
            f"{gateway.root}/v1/completions",
            data=io.BytesIO(body),
            headers={"Content-Type": "application/json"},
        ) as reply:
            document = await reply.json()
        assert (reply.status, document["error"]["code"]) == (status, code), body[:40]
    status, document, _ = await gateway.post(
        "/v1/completions", ASK, headers={"Content-Encoding": "gzip"}
    )
    assert (status, document["error"]["code"]) == (415, "compressed")


async def test_a_key_of_a_provider_never_reaches_a_client(gateway: Served) -> None:
    secret = f"the key is {KEY}-{KEY}"
    fault = Fault("status", status=400, body={"error": {"message": secret}})
    gateway.emulator.openai.faults.push(fault)
    status, document, headers = await gateway.post("/v1/completions", ASK)
    assert status == 400
    for shown in (str(document), str(headers), (await gateway.get("/v1/models"))[1]):
        assert KEY not in shown


async def test_hostile_text_passes_as_json_only(gateway: Served) -> None:
    hostile = ' \x1b[31m"\n\ndata: [DONE]\n\nevent: error\u202e</script>'
    gateway.emulator.engine = ScriptedEngine(hostile)
    said = await gateway.sdk.completions.create(model="openai", prompt="x", max_tokens=99)
    assert said.choices[0].text == hostile
    stream = await gateway.sdk.completions.create(
        model="openai", prompt="x", stream=True, max_tokens=99
    )
    assert "".join([chunk.choices[0].text async for chunk in stream]) == hostile
    status, _, headers = await gateway.post("/v1/completions", ASK | {"model": "x\r\ny: z"})
    assert status == 404
    assert "y" not in headers


async def test_routes_that_do_not_exist_are_404_and_wrong_methods_405(gateway: Served) -> None:
    assert (await gateway.get("/v1/embeddings"))[0] == 404
    assert (await gateway.get("/v1/completions"))[0] == 405
    status, document, _ = await gateway.post("/tokenize", {"model": "openai", "prompt": "a"})
    assert (status, document["error"]["code"]) == (400, "unsupported_model")
