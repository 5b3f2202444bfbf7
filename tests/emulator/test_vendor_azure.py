"""azure-ai-inference drives the emulator."""

from __future__ import annotations

from typing import Any

import pytest
from azure.ai.inference import ChatCompletionsClient
from azure.ai.inference.models import UserMessage
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError
from azure.core.pipeline.policies import RetryPolicy
from azure.core.rest import HttpRequest

from phi2sdk.emulator import Emulator

from .conftest import ANSWER


def client_for(emulator: Emulator, key: str = "test-key") -> Any:
    return ChatCompletionsClient(
        emulator.azure.url, AzureKeyCredential(key), retry_policy=RetryPolicy.no_retries()
    )


def test_complete_plain_and_streamed(threaded: Emulator) -> None:
    with client_for(threaded) as client:
        reply = client.complete(
            messages=[UserMessage("Hello")], temperature=0.0, seed=1, stop=["zzz"], max_tokens=50
        )
        assert reply.choices[0].message.content == ANSWER
        assert reply.usage.total_tokens > 0
        chunks = list(client.complete(messages=[UserMessage("Hello")], stream=True))
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == ANSWER
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert threaded.azure.calls[0].authorized
    assert threaded.azure.calls[0].headers["api-key"] == "***"


def test_model_extras_pass_only_with_their_header(threaded: Emulator) -> None:
    with client_for(threaded) as client:
        client.complete(messages=[UserMessage("Hello")], model_extras={"top_k": 7})
        decoding = threaded.azure.calls[0].decoding
        assert decoding is not None
        assert decoding.top_k == 7
        body = {"messages": [{"role": "user", "content": "Hello"}], "top_k": 7}
        bare = HttpRequest("POST", "/chat/completions?api-version=2024-05-01-preview", json=body)
        assert client.send_request(bare).status_code == 400
        with pytest.raises(HttpResponseError) as refused:
            client.complete(messages=[UserMessage("Hello")], temperature=7)
        assert refused.value.status_code == 400
        assert client.get_model_info().model_name == "microsoft/phi-2"


def test_send_request_reaches_score(threaded: Emulator) -> None:
    body = {
        "input_data": {"input_string": ["Hello"], "parameters": {"max_new_tokens": 50}},
    }
    with client_for(threaded) as client:
        reply = client.send_request(HttpRequest("POST", "/score", json=body))
        assert reply.json() == {"output": ["Hello" + ANSWER]}
    assert threaded.azure.calls[0].authorized


def test_a_wrong_key_is_refused_in_plain_text(threaded: Emulator) -> None:
    with client_for(threaded, "wrong") as client:
        with pytest.raises(ClientAuthenticationError):
            client.complete(messages=[UserMessage("Hello")])
        reply = client.send_request(HttpRequest("POST", "/score", json={}))
        assert (reply.status_code, reply.text()) == (401, "key_auth_access_denied")
