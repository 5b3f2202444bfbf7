"""Azure: every style, and every form of reply."""

from __future__ import annotations

from typing import Any

import pytest
from azure.ai.inference.aio import ChatCompletionsClient
from azure.core.credentials import AzureKeyCredential

from phi2sdk import Secret, prompts
from phi2sdk.backends.azure import SCORE, AzureBackend, ScoreRoute
from phi2sdk.completion import Chunk, Done
from phi2sdk.emulator import Emulator, Fault
from phi2sdk.emulator.score import ScoreStyle
from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    ConfigurationError,
    ModelNotFound,
    UnsupportedParameter,
)

from .conftest import ANSWER, KEY, PROMPT, STYLES, Make, ask, request


@pytest.mark.parametrize("settings", STYLES, ids=lambda s: "-".join(s.values()))
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("temperature", [0.0, 0.7])
async def test_every_style_answers(
    make: Make, settings: dict[str, Any], stream: bool, temperature: float
) -> None:
    backend = make(**settings)
    answer = await ask(backend, request(stream=stream, temperature=temperature))
    assert answer.text == ANSWER
    assert (answer.timing.ttft is not None) == (stream and settings["style"] != "score")
    assert answer.receipt.wrapped == ("chat" in settings.values())
    assert "test-key" not in repr(answer)


# ------------------------------------------------------------------------------ /score


@pytest.mark.parametrize("engine", ["newer", "older"])
@pytest.mark.parametrize("reply", ["output", "list", "frame"])
@pytest.mark.parametrize("echo", [True, False])
async def test_every_form_of_reply_is_read(
    providers: Emulator, make: Make, engine: Any, reply: Any, echo: bool
) -> None:
    providers.azure.style = ScoreStyle(engine=engine, reply=reply, echo=echo)
    answer = await ask(make(engine=engine))
    assert answer.text == answer.raw_text == ANSWER
    assert answer.finish_reason is None
    assert answer.usage.output_billed is None
    assert answer.usage.input is None


@pytest.mark.parametrize(
    "document", [{"output": ["pa"]}, {"output": "pa"}, ["pa"], [{"0": "pa"}], {"0": "pa"}]
)
def test_an_answer_is_found_in_each_form(document: Any) -> None:
    chunk, done = ScoreRoute().read_reply(document, 7, "prompt")
    assert isinstance(chunk, Chunk)
    assert (chunk.text, chunk.t_ns) == ("pa", 7)
    assert isinstance(done, Done)


def test_the_echoed_prompt_is_removed_once() -> None:
    read = list(ScoreRoute().read_reply(["abababc"], 0, "ab"))
    assert [e.text for e in read if isinstance(e, Chunk)] == ["ababc"]
    read = list(ScoreRoute().read_reply(["ab"], 0, "ab"))
    assert [e for e in read if isinstance(e, Chunk)] == []
    read = list(ScoreRoute().read_reply(["an ab"], 0, "ab"))
    assert [e.text for e in read if isinstance(e, Chunk)] == ["an ab"]


@pytest.mark.parametrize(
    "document",
    [
        {},
        None,
        [],
        "text",
        7,
        {"output": [None]},
        {"output": []},
        {"output": None},
        {"output": {"a": 1}},
        [None],
        [[]],
        [{}],
        [{"0": None}],
        [{"1": "text"}],
        {"detail": "text"},
    ],
)
def test_success_without_text_is_a_bad_response(document: Any) -> None:
    if document == "text":
        assert list(ScoreRoute().read_reply(document, 0, "p"))  # a bare string is an answer
        return
    with pytest.raises(BadResponse):
        list(ScoreRoute().read_reply(document, 0, "p"))


@pytest.mark.parametrize("form", ["object", "null", "empty", "bytes", "truncated", "html"])
async def test_a_broken_container_with_status_200_is_a_bad_response(
    providers: Emulator, make: Make, form: Any
) -> None:
    providers.azure.faults.push(Fault("garbage", form=form))
    with pytest.raises(BadResponse) as raised:
        await ask(make())
    assert raised.value.provider == "azure"


async def test_both_forms_of_the_body_hold_the_same(providers: Emulator, make: Make) -> None:
    await ask(make(), request(temperature=0.5, top_k=3))
    await ask(make(form="params"), request(temperature=0.5, top_k=3))
    first, second = (call.body for call in providers.azure.calls)
    assert first["input_data"]["input_string"] == second["input_data"] == [PROMPT.text]
    assert first["input_data"]["parameters"] == second["params"]
    assert second["params"] == {
        "max_new_tokens": 64,
        "temperature": 0.5,
        "do_sample": True,
        "top_p": 1.0,
        "top_k": 3,
        "stop": list(PROMPT.stop),
    }


async def test_greedy_is_a_flag(providers: Emulator, make: Make) -> None:
    await ask(make(), request(temperature=0, top_k=3))
    parameters = providers.azure.calls[-1].body["input_data"]["parameters"]
    assert parameters["do_sample"] is False
    assert not parameters.keys() & {"temperature", "top_p", "top_k"}


@pytest.mark.parametrize(
    ("engine", "name", "value"),
    [
        ("newer", "repetition_penalty", 1.2),
        ("newer", "seed", 3),
        ("newer", "min_p", 0.1),
        ("older", "seed", 3),
        ("older", "min_p", 0.1),
    ],
)
async def test_what_the_engine_would_drop_in_silence_is_refused(
    providers: Emulator, make: Make, engine: Any, name: str, value: Any
) -> None:
    with pytest.raises(UnsupportedParameter, match=name):
        await ask(make(engine=engine), request(temperature=0.5, **{name: value}))
    assert providers.azure.calls == []


async def test_the_older_engine_is_told_that_top_k_is_off(providers: Emulator, make: Make) -> None:
    providers.azure.style = ScoreStyle(engine="older")
    await ask(make(engine="older"), request(temperature=0.5, repetition_penalty=1.2))
    parameters = providers.azure.calls[-1].body["input_data"]["parameters"]
    assert (parameters["top_k"], parameters["return_full_text"]) == (0, False)
    decoding = providers.azure.calls[-1].decoding
    assert decoding is not None
    assert (decoding.top_k, decoding.repetition_penalty) == (None, 1.2)


# --------------------------------------------------------------------- chat, v1, checks


async def test_extras_carry_their_header_and_nothing_else_does(
    providers: Emulator, make: Make
) -> None:
    backend = make(style="chat")
    await ask(backend, request(temperature=0.5))
    assert "extra-parameters" not in providers.azure.calls[-1].headers
    await ask(backend, request(temperature=0.5, top_k=7))
    assert providers.azure.calls[-1].headers["extra-parameters"] == "pass-through"
    assert providers.azure.calls[-1].decoding is not None
    assert providers.azure.calls[-1].decoding.top_k == 7


@pytest.mark.parametrize("extras", [{}, {"top_k": 7, "repetition_penalty": 1.1}])
@pytest.mark.parametrize("stream", [True, False])
async def test_the_same_request_as_azure_ai_inference(
    providers: Emulator, make: Make, extras: dict[str, Any], stream: bool
) -> None:
    asked = request(temperature=0.7, top_p=0.9, seed=7, stream=stream, **extras)
    await ask(make(style="chat", model="phi-2"), asked)
    client = ChatCompletionsClient(
        providers.azure.url, AzureKeyCredential("test-key"), retry_total=0
    )
    async with client:
        answer: Any = await client.complete(
            messages=[{"role": "user", "content": asked.prompt.text}],
            stream=stream,  # type: ignore[call-overload,unused-ignore]
            model="phi-2",
            max_tokens=64,
            temperature=0.7,
            top_p=0.9,
            seed=7,
            stop=list(asked.prompt.stop[:4]),
            **({"model_extras": extras} if extras else {}),
        )
        if stream:
            assert [chunk async for chunk in answer]
    ours, theirs = providers.azure.calls
    assert {"stream": False, **ours.body} == {"stream": False, **theirs.body}
    assert (ours.path, ours.query) == (theirs.path, theirs.query)
    for name in ("authorization", "api-key", "extra-parameters", "content-type"):
        assert ours.headers.get(name) == theirs.headers.get(name), name


async def test_the_prompts_bytes_are_the_same_on_every_route(
    providers: Emulator, make: Make
) -> None:
    prompt = prompts.raw("  Ünïcode \n 🙂 ")
    for settings in STYLES:
        await ask(make(**settings), request(prompt, stream=False))
    for call, settings in zip(providers.azure.calls, STYLES, strict=True):
        assert call.prompt is not None
        if "chat" in settings.values():
            assert prompt.text in call.prompt != prompt.text
        else:
            assert call.prompt == prompt.text


async def test_the_deployment_is_picked_by_its_header(providers: Emulator, make: Make) -> None:
    assert (await ask(make(deployment="phi-2"))).text == ANSWER
    with pytest.raises(ModelNotFound):
        await ask(make(deployment="another"))


@pytest.mark.parametrize(
    ("style", "suffix"),
    [
        ("score", "/score"),
        ("score", "/score/"),
        ("tgi", "/generate"),
        ("chat", "/chat/completions"),
        ("chat", "/chat/completions?api-version=2024-05-01-preview"),
        ("v1", "/openai/v1"),
        ("v1", "/openai/v1/chat/completions?api-version=preview"),
    ],
)
async def test_the_endpoint_may_be_given_as_the_portal_shows_it(
    providers: Emulator, make: Make, style: Any, suffix: str
) -> None:
    backend = make(endpoint=providers.azure.url + suffix, style=style)
    assert (await ask(backend)).text == ANSWER
    if "api-version" in suffix:
        assert providers.azure.calls[-1].query in suffix


async def test_an_api_version_given_is_the_one_asked_for(providers: Emulator, make: Make) -> None:
    await ask(make(style="chat", api_version="2030-01-01"))
    assert providers.azure.calls[-1].query == "api-version=2030-01-01"


@pytest.mark.parametrize("settings", STYLES, ids=lambda s: "-".join(s.values()))
async def test_a_check_needs_no_generation(
    providers: Emulator, make: Make, settings: dict[str, Any]
) -> None:
    said = await make(**settings).check()
    assert "reachable" in said or "microsoft/phi-2" in said
    assert providers.azure.meter.completion_tokens == 0
    with pytest.raises(AuthenticationFailed):
        await make(key=Secret("wrong-key"), **settings).check()


# ---------------------------------------------------------------------- configuration


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"style": "rest"}, "style 'rest'"),
        ({"engine": "v3"}, "engine 'v3'"),
        ({"form": "xml"}, "form 'xml'"),
        ({"route": "edits"}, "route 'edits'"),
        ({"engine": "older", "form": "params"}, "older engine"),
        ({"key": None}, "AZURE_PHI2_KEY"),
        ({"endpoint": "http://example.com/score"}, "plain http"),
        ({"endpoint": "example.com"}, "is not a URL"),
        ({"endpoint": "https://example.com/score?a=b"}, "contains a"),
        ({"key": Secret("two\nlines")}, "Authorization"),
        ({"deployment": "two\r\nlines"}, "azureml-model-deployment"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], words: str) -> None:
    given: dict[str, Any] = {"endpoint": "https://example.com", "key": KEY, **settings}
    with pytest.raises(ConfigurationError, match=words) as raised:
        AzureBackend(**given)
    assert "lines" not in str(raised.value)


async def test_the_default_credential_is_azure_identitys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "EnvironmentCredential")
    for name in ("AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET"):
        monkeypatch.delenv(name, raising=False)
    backend = AzureBackend(endpoint="https://example.com", credential="default")
    with pytest.raises(AuthenticationFailed, match="EnvironmentCredential"):
        await ask(backend)
    await backend.close()


def test_dialects_name_the_engine() -> None:
    assert {d.name for d in SCORE.values()} == {"azure.score (newer)", "azure.score (older)"}
