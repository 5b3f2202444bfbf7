"""Replies of ``/score`` with status 200: an answer, a failure, or nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from phi2sdk.emulator import Emulator, Fault, ScriptedEngine
from phi2sdk.emulator.score import ScoreStyle
from phi2sdk.errors import BadResponse, InvalidRequest, Phi2Error, ProviderFault

from .conftest import ANSWER, Make, ask, request

JSON_TEXT = '{"name": "tide", "output": [1, 2]}'


def reply(body: Any) -> Fault:
    return Fault("status", status=200, body=body)


def string(text: str) -> Fault:
    """A reply that is one JSON string."""
    headers = {"Content-Type": "application/json"}
    return Fault("status", status=200, headers=headers, body=json.dumps(text))


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ('{"error": "CUDA out of memory"}', ProviderFault),
        ('{"error": "no kernel image", "exception": "Traceback ..."}', ProviderFault),
        ('{"error": {"code": 429, "message": "busy"}}', Phi2Error),
        ('[{"error": "CUDA out of memory"}]', ProviderFault),
        (json.dumps('{"error": "encoded three times"}'), ProviderFault),
        ("null", BadResponse),
        ("{}", BadResponse),
        ("[]", BadResponse),
        ('{"output": [null]}', BadResponse),
        ("", BadResponse),
        ('""', BadResponse),
        (" \n", BadResponse),
    ],
)
async def test_an_error_or_nothing_in_a_string_is_no_answer(
    providers: Emulator, make: Make, text: str, error: type[Phi2Error]
) -> None:
    providers.azure.faults.push(string(text))
    with pytest.raises(error) as raised:
        await ask(make())
    assert raised.value.provider == "azure"
    assert raised.value.status != 500


@pytest.mark.parametrize("body", [{"error": "CUDA out of memory"}, [{"error": "no"}]], ids=str)
async def test_an_error_that_is_not_encoded_again_is_the_same_failure(
    providers: Emulator, make: Make, body: Any
) -> None:
    providers.azure.faults.push(reply(body))
    with pytest.raises(ProviderFault):
        await ask(make())


@pytest.mark.parametrize("encode", [1, 2])
@pytest.mark.parametrize("form", ["output", "list", "frame"])
async def test_a_reply_that_is_encoded_again_is_read_as_the_reply(
    providers: Emulator, make: Make, form: Any, encode: int
) -> None:
    providers.azure.style = ScoreStyle(reply=form, encode=encode)
    assert (await ask(make())).text == ANSWER


@pytest.mark.parametrize("form", ["output", "list", "frame"])
@pytest.mark.parametrize("encode", [0, 1])
@pytest.mark.parametrize("text", [JSON_TEXT, '{"error": "of a program"}', "[1]", "null"])
async def test_an_answer_whose_text_is_json_is_delivered_where_the_form_shows_what_it_is(
    providers: Emulator, make: Make, form: Any, encode: int, text: str
) -> None:
    providers.azure.engine = ScriptedEngine(text)
    providers.azure.style = ScoreStyle(reply=form, encode=encode, echo=False)
    assert (await ask(make())).text == text


@pytest.mark.parametrize("text", ["A plain text.", "42", "true", "{not: json}", "NaN"])
async def test_a_bare_string_that_is_not_json_of_a_reply_is_the_answer(
    providers: Emulator, make: Make, text: str
) -> None:
    providers.azure.faults.push(string(text))
    assert (await ask(make())).text == text


async def test_a_strict_older_endpoint_is_named_in_the_error_and_answers_with_engine_older(
    providers: Emulator, make: Make
) -> None:
    providers.azure.style = ScoreStyle(engine="older", strict=True)
    asked = request(temperature=0.5, stop=("END",))
    with pytest.raises(InvalidRequest, match='set engine="older"') as raised:
        await ask(make(), asked)
    assert raised.value.status == 424
    assert (await ask(make(engine="older"), asked)).text == ANSWER


async def test_only_the_newer_engine_and_only_a_refusal_have_the_hint(
    providers: Emulator, make: Make
) -> None:
    refused = {"ms-azureml-model-error-statuscode": "400"}
    busy = {"ms-azureml-model-error-statuscode": "429"}
    for settings, headers in (
        ({"engine": "older"}, refused),
        ({"style": "tgi"}, refused),
        ({}, busy),
    ):
        providers.azure.faults.push(Fault("status", status=424, headers=headers, body="no"))
        with pytest.raises(Phi2Error) as raised:
            await ask(make(**settings))
        assert "older" not in raised.value.message
