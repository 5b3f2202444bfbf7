"""Hugging Face: TGI's wire, greedy and sampled, whole and in pieces."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from huggingface_hub import AsyncInferenceClient

from phi2sdk import Secret, prompts
from phi2sdk.backends.hf import TGI, HFBackend
from phi2sdk.completion import Chunk, Count
from phi2sdk.emulator import Emulator, Fault
from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    ConfigurationError,
    ConnectionFailed,
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    Overloaded,
    Phi2Error,
    ProviderFault,
    RateLimited,
    UnsupportedParameter,
)

from .conftest import ANSWER, KEY, ask, events, request


async def test_a_stream_brings_tokens_log_probabilities_and_counts(hf: HFBackend) -> None:
    answer = await ask(hf)
    assert answer.text == ANSWER
    assert answer.finish_reason == "stop"
    assert answer.usage.output_billed == Count(len(answer.token_ids))
    assert answer.usage.input is not None
    assert len(answer.logprobs) == len(answer.token_ids) > 5
    assert answer.timing.ttft is not None
    assert answer.request_id


async def test_a_single_reply_says_the_same_as_the_stream(hf: HFBackend) -> None:
    streamed = await ask(hf)
    whole = await ask(hf, request(stream=False))
    assert (whole.text, whole.token_ids, whole.logprobs, whole.finish_reason) == (
        streamed.text,
        streamed.token_ids,
        streamed.logprobs,
        streamed.finish_reason,
    )
    assert whole.usage.output_billed == streamed.usage.output_billed
    assert whole.timing.ttft is None


async def test_the_end_of_text_token_has_no_content(hf: HFBackend) -> None:
    last = [e for e in await events(hf) if isinstance(e, Chunk)][-1]
    assert (last.text, last.raw, last.tokens) == ("", "", 1)
    assert last.token_ids == (50256,)


async def test_events_without_a_space_and_with_one_read_alike(
    providers: Emulator, hf: HFBackend
) -> None:
    for space in (False, True):
        providers.hf.tgi.sse_space = space
        assert (await ask(hf)).text == ANSWER


async def test_greedy_leaves_out_what_tgi_refuses(providers: Emulator, hf: HFBackend) -> None:
    await ask(hf, request(temperature=0, top_p=0.5, top_k=4, seed=3))
    parameters = providers.hf.calls[-1].body["parameters"]
    assert parameters["do_sample"] is False
    assert not parameters.keys() & {"temperature", "top_p", "top_k", "seed"}
    assert providers.hf.calls[-1].decoding is not None
    assert providers.hf.calls[-1].decoding.temperature == 0


async def test_sampling_at_temperature_one_says_so(providers: Emulator, hf: HFBackend) -> None:
    await ask(hf, request(temperature=1.0, top_p=1.0))
    parameters = providers.hf.calls[-1].body["parameters"]
    assert (parameters["temperature"], parameters["do_sample"]) == (1.0, True)
    assert "top_p" not in parameters
    assert parameters["return_full_text"] is False
    assert "decoder_input_details" not in parameters


async def test_a_stop_stays_in_what_was_received_and_is_cut_from_the_text(
    providers: Emulator, hf: HFBackend
) -> None:
    answer = await ask(hf, request(prompts.raw("x"), stop=(" Numbers",), stream=False))
    assert answer.raw_text.endswith(" Numbers")
    assert answer.text == "Light guides ships."
    assert answer.finish_reason == "stop"


async def test_no_more_than_four_stops_go_over_the_wire_and_all_are_cut(
    providers: Emulator, hf: HFBackend
) -> None:
    stops = ("one", "two", "three", "four", " Numbers")
    answer = await ask(hf, request(prompts.raw("x"), stop=stops))
    assert providers.hf.calls[-1].body["parameters"]["stop"] == list(stops[:4])
    assert answer.text == "Light guides ships."


async def test_min_p_is_refused_before_anything_is_sent(providers: Emulator, hf: HFBackend) -> None:
    with pytest.raises(UnsupportedParameter, match="min_p"):
        await ask(hf, request(temperature=0.5, min_p=0.1))
    assert providers.hf.calls == []


def test_prefill_gives_the_input_count_where_the_wire_has_it() -> None:
    details = {
        "finish_reason": "length",
        "prefill": [{"id": 1}, {"id": 2}],
        "generated_tokens": 1,
        "tokens": [],
    }
    *_, done = TGI().read_reply({"generated_text": "a", "details": details}, 0, "p")
    assert not isinstance(done, Chunk)
    assert done.usage.input == Count(2)


@pytest.mark.parametrize(
    ("status", "body", "error"),
    [
        (401, {"error": "no"}, AuthenticationFailed),
        (404, {"error": "no"}, ModelNotFound),
        (422, {"error": "no", "error_type": "validation"}, InvalidRequest),
        (424, {"error": "no", "error_type": "generation"}, ProviderFault),
        (429, {"error": "no", "error_type": "overloaded"}, Overloaded),
        (429, {"error": "no"}, RateLimited),
        (500, {"error": "no", "error_type": "incomplete_generation"}, ProviderFault),
        (503, {"error": "503 Service Unavailable"}, ModelLoading),
        (503, "starting", ModelLoading),
    ],
)
async def test_each_failure_has_its_error_class(
    providers: Emulator, hf: HFBackend, status: int, body: Any, error: type[Phi2Error]
) -> None:
    providers.hf.faults.push(Fault("status", status=status, body=body))
    with pytest.raises(Phi2Error) as raised:
        await ask(hf)
    assert type(raised.value) is error
    assert (raised.value.status, raised.value.provider) == (status, "hf")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (None, ProviderFault),
        ({"error": "no", "error_type": "overloaded"}, Overloaded),
        ({"error": "no", "error_type": "validation"}, InvalidRequest),
        ({"error": "no", "error_type": "incomplete_generation"}, ProviderFault),
    ],
)
async def test_an_error_event_fails_the_stream_with_what_came_before(
    providers: Emulator, hf: HFBackend, body: Any, error: type[Phi2Error]
) -> None:
    providers.hf.faults.push(Fault("error_event", after=3, body=body))
    received: list[Any] = []

    async def receive() -> None:
        async for event in hf.stream(request()):
            received.append(event)

    with pytest.raises(error):
        await receive()
    assert sum(isinstance(event, Chunk) for event in received) == 3


async def test_an_impossible_request_is_an_error_event_and_invalid(hf: HFBackend) -> None:
    with pytest.raises(InvalidRequest):
        await ask(hf, request(max_tokens=5000))


async def test_a_stream_that_is_cut_off_is_a_bad_response(
    providers: Emulator, hf: HFBackend
) -> None:
    providers.hf.faults.push(Fault("cut", after=2))
    with pytest.raises(BadResponse, match="the answer is incomplete"):
        await ask(hf)


@pytest.mark.parametrize("where", ["before_headers", "in_headers", "in_body", "between_events"])
async def test_a_reset_is_a_failed_connection(
    providers: Emulator, hf: HFBackend, where: Any
) -> None:
    providers.hf.faults.push(Fault("reset", where=where, after=1))
    with pytest.raises(ConnectionFailed):
        await ask(hf)


@pytest.mark.parametrize("form", ["bytes", "truncated", "wrong_shape", "object", "null", "html"])
@pytest.mark.parametrize("stream", [True, False])
async def test_garbage_is_a_bad_response(
    providers: Emulator, hf: HFBackend, form: Any, stream: bool
) -> None:
    providers.hf.faults.push(Fault("garbage", form=form, after=1 if stream else None))
    with pytest.raises(BadResponse):
        await ask(hf, request(stream=stream))


async def test_a_wrong_key_is_refused(providers: Emulator) -> None:
    backend = HFBackend(endpoint=providers.hf.url, token=Secret("wrong-key"))
    with pytest.raises(AuthenticationFailed):
        await ask(backend)
    await backend.close()


async def test_closing_the_stream_ends_the_call_at_the_provider(
    providers: Emulator, hf: HFBackend
) -> None:
    providers.hf.faults.push(Fault("endless", after=2))
    stream = hf.stream(request())
    async for event in stream:
        if isinstance(event, Chunk):
            break
    await stream.aclose()
    assert await asyncio.to_thread(providers.hf.calls[0].ended.wait, 5)
    assert providers.hf.calls[0].cancelled


@pytest.mark.parametrize(("route", "wraps"), [("completions", False), ("chat", True)])
async def test_an_openai_server_behind_the_endpoint_is_understood(
    providers: Emulator, route: Any, wraps: bool
) -> None:
    for given in (providers.openai.url, providers.openai.url + "/v1/"):
        backend = HFBackend(endpoint=given, token=KEY, route=route)
        answer = await ask(backend, request(temperature=0.5, min_p=0.1))
        assert answer.text == ANSWER
        assert answer.receipt.wrapped is wraps
        assert await backend.check() == "serves microsoft/phi-2"
        await backend.close()


async def test_the_same_request_as_huggingface_hub(providers: Emulator, hf: HFBackend) -> None:
    asked = request(temperature=0.7, top_p=0.9, top_k=40, repetition_penalty=1.1, seed=7)
    await ask(hf, asked)
    client = AsyncInferenceClient(model=providers.hf.url + "/generate_stream", token="test-key")
    theirs = await client.text_generation(
        asked.prompt.text,
        stream=True,
        details=True,
        do_sample=True,
        max_new_tokens=64,
        temperature=0.7,
        top_p=0.9,
        top_k=40,
        repetition_penalty=1.1,
        seed=7,
        stop=list(asked.prompt.stop[:4]),
        return_full_text=False,
    )
    assert [piece async for piece in theirs]
    await client.close()  # type: ignore[no-untyped-call]
    ours, reference = (call.body for call in providers.hf.calls)
    assert ours["inputs"] == reference["inputs"]
    given = {k: v for k, v in reference["parameters"].items() if v is not None}
    given.pop("decoder_input_details", None)
    given.pop("watermark", None)
    assert ours["parameters"] == given


def test_an_unknown_route_or_server_is_named() -> None:
    with pytest.raises(ConfigurationError, match="'triton'"):
        HFBackend(endpoint="https://example.com", route="triton")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="'triton'"):
        HFBackend(endpoint="https://example.com", server="triton")  # type: ignore[arg-type]


def test_the_call_can_be_seen_without_making_it() -> None:
    backend = HFBackend(endpoint="https://example.com/generate")
    call = backend.call(request())
    assert call.path == "/generate_stream"
    assert json.loads(json.dumps(call.body))["inputs"].startswith("Instruct:")
