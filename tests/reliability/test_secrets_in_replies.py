"""A key that a server sends back in a good reply: taken out where the reply comes in."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from phi2sdk import AsyncPhi2Client
from phi2sdk.compare import Settings, compare
from phi2sdk.measure.workload import Item, Workload
from phi2sdk.secret import Secret
from phi2sdk.transport.redaction import Redactor
from tests.backends.clarifai_server import message, raw_server
from tests.commands import phi2
from tests.reliability.matrix import HTTP, KEY
from tests.reliability.stage import OPTIONS, PROMPT, open_backend, secrets
from tests.transport.misbehaving import serving

SPELLED: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in a header's form": "Bearer {}".format,
    "percent-encoded": lambda key: quote(key.replace("-", "/"), safe=""),
    "base64 behind a user": lambda key: base64.b64encode(f"user:{key}".encode()).decode(),
    "base64 behind a scheme": lambda key: base64.b64encode(f"Bearer {key}".encode()).decode(),
}


def echoing(quoted: str, *, escaped: bool = False) -> Callable[[web.Request], Any]:
    """A server that speaks every protocol and has ``quoted`` wherever a reply names something."""
    text = f"The sea rises. {quoted}"
    names = {"id": quoted, "model": quoted, "model_id": quoted, "system_fingerprint": quoted}

    def document(**more: Any) -> str:
        said = json.dumps({**names, **more})
        return "".join(f"\\u{ord(c):04x}" if c == "c" else c for c in said) if escaped else said

    finish = {"index": 0, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 5}
    token = {"id": 7, "text": text, "logprob": -0.5, "special": False}
    details = {"finish_reason": "eos_token", "generated_tokens": 1, "seed": quoted}

    async def handler(asked: web.Request) -> web.StreamResponse:
        headers = {"x-request-id": quoted, "apim-request-id": quoted}
        body = await asked.json() if asked.can_read_body else {}
        if asked.path.endswith("/models") or asked.path.endswith("/info"):
            said = document(data=[{"id": quoted}], max_total_tokens=9, model_name=quoted)
        elif asked.path.endswith("_stream"):
            said = document(token=token, details=details)
        elif asked.path.endswith("/generate"):
            said = document(generated_text=text, details={**details, "tokens": [token]})
        elif asked.path.endswith("/score"):
            said = document(output=[text])
        elif body.get("stream"):
            said = document(
                choices=[{**finish, "text": text, "delta": {"content": text}}], usage=usage
            )
        else:
            said = document(
                choices=[{**finish, "text": text, "message": {"content": text}}], usage=usage
            )
        if asked.path.endswith("_stream") or body.get("stream"):
            headers["Content-Type"] = "text/event-stream"
            said = f"data: {said}\n\ndata: [DONE]\n\n"
        return web.Response(body=said.encode(), headers={"Content-Type": "text/json", **headers})

    return handler


def assert_absent(shown: str, key: str = KEY) -> None:
    words = {*secrets().values(), key, quote(key, safe="")}
    assert [word for word in words if word in shown] == []
    assert "***" in shown


@pytest.mark.parametrize("spelled", SPELLED)
@pytest.mark.parametrize("target", HTTP)
async def test_a_good_reply_brings_no_key_into_a_completion(target: str, spelled: str) -> None:
    key = KEY.replace("-", "/") if spelled == "percent-encoded" else KEY
    quoted = SPELLED[spelled](KEY)
    async with serving(echoing(quoted)) as url:
        backend = open_backend(target, url, key=key)
        async with AsyncPhi2Client(backend) as phi:
            whole = await phi.generate(PROMPT, **OPTIONS)
            async with phi.stream(PROMPT, **OPTIONS) as stream:
                chunks = [chunk.text async for chunk in stream]
            said = await backend.check()
        for one in (whole, stream.completion):
            assert_absent(repr(asdict(one)), key)
            assert one.text.startswith("The sea rises.")
        assert quoted not in f"{chunks} {said}"
        assert key not in f"{chunks} {said}"


@pytest.mark.parametrize("target", HTTP)
async def test_a_key_that_json_spells_with_escapes_is_found(target: str) -> None:
    async with serving(echoing(KEY, escaped=True)) as url:
        backend = open_backend(target, url)
        async with AsyncPhi2Client(backend) as phi:
            assert_absent(repr(asdict(await phi.generate(PROMPT, **OPTIONS))))
            assert KEY not in await backend.check()


async def test_a_good_reply_of_clarifai_brings_no_key_into_a_completion() -> None:
    async with raw_server() as raw:
        reply = message(f"The sea rises. {KEY}")
        reply.status.req_id = f"id-{KEY}"
        reply.outputs[0].model.id = f"{'m' * 290}{KEY}"
        raw.replies = [reply.SerializeToString()]
        async with AsyncPhi2Client(open_backend("clarifai", f"http://{raw.url}")) as phi:
            whole = await phi.generate(PROMPT, **OPTIONS)
            async with phi.stream(PROMPT, **OPTIONS) as stream:
                async for _ in stream:
                    pass
    for one in (whole, stream.completion):
        shown = repr(asdict(one))
        assert_absent(shown)
        assert KEY[:8] not in shown
        assert one.text.startswith("The sea rises.")


async def test_the_version_of_clarifais_check_is_without_the_key() -> None:
    from clarifai_grpc.grpc.api import service_pb2

    async with raw_server() as raw:
        reply = service_pb2.SingleModelResponse()
        reply.status.code = 10000
        reply.model.model_version.id = KEY
        raw.replies = [reply.SerializeToString()]
        backend = open_backend("clarifai", f"http://{raw.url}")
        assert (await backend.check()).endswith("version ***")
        await backend.close()


async def test_the_doctor_prints_no_key_that_a_server_quotes(tmp_path: Path) -> None:
    async with serving(echoing(KEY)) as url:
        for options in ((), ("--json",)):
            doctor = partial(phi2, "doctor", *options, cwd=tmp_path, **_environment(url))
            status, out, err = await asyncio.to_thread(doctor)
            assert status == 0, err
            assert_absent(out + err)


def _environment(url: str) -> dict[str, str]:
    return {
        "AZURE_PHI2_ENDPOINT": url,
        "AZURE_PHI2_KEY": KEY,
        "HF_PHI2_ENDPOINT": url,
        "HF_TOKEN": KEY,
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": KEY,
    }


async def test_no_file_of_a_run_holds_a_key_that_a_server_quotes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    few = Workload("p.txt", tuple(Item(str(i), f"Paragraph {i} on tides.") for i in range(2)))
    quick = Settings(repetitions=1, warmup=0, max_tokens=16, calibrate=False)
    async with serving(echoing(KEY)) as url:
        for name, value in _environment(url).items():
            monkeypatch.setenv(name, value)
        report = await compare(
            few,
            ["azure", "hf", "openai"],
            out=tmp_path / "run",
            settings=quick,
        )
    assert report.failed == 0
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(written) > 3
    for path in written:
        assert KEY.encode() not in path.read_bytes(), path


async def test_a_placeholder_for_a_key_is_left_in_an_answer_and_taken_out_of_names() -> None:
    """``none`` and ``ollama`` are given where a server wants no key; an answer may say so, too."""
    async with (
        serving(echoing("ollama")) as url,
        AsyncPhi2Client(open_backend("openai chat", url, key="ollama")) as phi,
    ):
        answer = await phi.generate(PROMPT, **OPTIONS)
    assert answer.text == "The sea rises. ollama"
    assert (answer.model, answer.request_id) == ("***", "***")


def test_of_the_tokens_of_calls_the_latest_are_known() -> None:
    redact = Redactor((Secret("the-key-of-the-wire"),))
    for number in range(9):
        redact.learn((Secret(f"Bearer token-{number}-x"), "no secret"))
    shown = redact("the-key-of-the-wire token-8-x token-5-x token-4-x no secret")
    assert shown == "*** *** *** token-4-x no secret"
