"""Replies in exactly the shape that public sources show, with our own text inside.

Nothing here comes from our emulators: these hold client and emulator apart, so that the two cannot
share one misreading. Each shape names its source; keys, nesting, types and nulls are the source's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TEXT = " Light guides ships."


@dataclass(frozen=True)
class Shape:
    """One reply of one route.

    Attributes:
        name: What it is.
        source: Where the shape is shown.
        target: The backend that reads it; ``settings`` are its arguments.
        body: The document, or the bytes of a stream.
        text: The answer, as received except for an echo of the prompt.
        prompt: What was asked, where the reply repeats it.
        finish: Why it ended; ``None`` where the source does not tell.
        counts: (input, output) tokens, where the source tells them.
        sdk: The SDK that reads it in the tests.
    """

    name: str
    source: str
    target: str
    body: Any
    settings: Mapping[str, Any] = field(default_factory=dict)
    text: str = TEXT
    prompt: str = "Instruct: What guides ships?\nOutput:"
    finish: Literal["stop", "length"] | None = "stop"
    counts: tuple[int | None, int | None] = (None, None)
    sdk: Literal["azure", "hub", "openai", "clarifai"] | None = None

    @property
    def streamed(self) -> bool:
        return isinstance(self.body, bytes)

    @property
    def payload(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


def _events(*documents: Any, head: str = "data: ", end: str = "\n\n", done: bool = True) -> bytes:
    lines = [head + json.dumps(d, separators=(",", ":")) for d in documents]
    return "".join(line + end for line in (*lines, *((f"{head}[DONE]",) if done else ()))).encode()


# --------------------------------------------------------------------------- Azure

_CARD = (
    "github.com/Azure/azureml-assets, assets/models/system/microsoft-phi-2/description.md, "
    "'Sample inputs and outputs (for real-time inference)'"
)

CARD_REQUEST = {
    "input_data": {
        "input_string": ["Instruct: What guides ships?\nOutput:"],
        "parameters": {"top_p": 0.1, "temperature": 0.1, "max_new_tokens": 100, "do_sample": True},
    }
}
"""The card's sample request, with our prompt."""

_SAFE = {
    name: {"filtered": False, "severity": "safe"}
    for name in ("hate", "self_harm", "sexual", "violence")
}
_FOUNDRY = (
    "github.com/enoch-sit/tool-chatbot-boilerplate, services/mimicAzure/data/"
    "eduhk_non_stream.md: a recorded reply of Azure's chat route"
)

AZURE = (
    Shape(
        "the card's reply: the prompt in front, its line breaks turned into spaces",
        _CARD,
        "azure",
        {"output": ["Instruct: What guides ships? Output: Light guides ships."]},
        finish=None,
        sdk="azure",
    ),
    Shape(
        "a reply of the same form that repeats the prompt as it was",
        _CARD,
        "azure",
        {"output": ["Instruct: What guides ships?\nOutput: Light guides ships."]},
        finish=None,
        sdk="azure",
    ),
    Shape(
        "a chat reply with the content filter's results",
        _FOUNDRY,
        "azure",
        {
            "choices": [
                {
                    "content_filter_results": _SAFE,
                    "finish_reason": "stop",
                    "index": 0,
                    "logprobs": None,
                    "message": {
                        "annotations": [],
                        "content": TEXT,
                        "refusal": None,
                        "role": "assistant",
                    },
                }
            ],
            "created": 1758119573,
            "id": "chatcmpl-shape",
            "model": "phi-2",
            "object": "chat.completion",
            "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}],
            "system_fingerprint": "fp_shape",
            "usage": {
                "completion_tokens": 5,
                "completion_tokens_details": {"reasoning_tokens": 0},
                "prompt_tokens": 7,
                "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
                "total_tokens": 12,
            },
        },
        {"style": "chat"},
        counts=(7, 5),
        sdk="azure",
    ),
    Shape(
        "a chat stream whose first event has no choices, but the prompt's filter results",
        "docs.axflow.dev/documentation/models/azure-openai-chat.html: 'the streaming methods "
        "sometimes return objects with empty choices arrays'",
        "azure",
        _events(
            {
                "choices": [],
                "created": 0,
                "id": "",
                "model": "",
                "object": "",
                "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": _SAFE}],
            },
            *(
                {
                    "choices": [
                        {
                            "content_filter_results": {},
                            "delta": delta,
                            "finish_reason": finish,
                            "index": 0,
                            "logprobs": None,
                        }
                    ],
                    "created": 1758119573,
                    "id": "chatcmpl-shape",
                    "model": "phi-2",
                    "object": "chat.completion.chunk",
                    "system_fingerprint": "fp_shape",
                }
                for delta, finish in (
                    ({"content": "", "refusal": None, "role": "assistant"}, None),
                    ({"content": " Light guides"}, None),
                    ({"content": " ships."}, None),
                    ({}, "stop"),
                )
            ),
        ),
        {"style": "chat"},
        sdk="azure",
    ),
)

# --------------------------------------------------------------------------- TGI

_TOKENS = [
    {"id": 4401, "logprob": -0.28955078, "special": False, "text": " Light"},
    {"id": 17555, "logprob": -0.7739258, "special": False, "text": " guides"},
    {"id": 7937, "logprob": -0.85253906, "special": False, "text": " ships"},
    {"id": 13, "logprob": -0.8984375, "special": False, "text": "."},
]
_END = {"id": 50256, "logprob": -0.1, "special": True, "text": "<|endoftext|>"}


def _tgi_events(*, index: bool, input_length: bool) -> list[dict[str, Any]]:
    details: dict[str, Any] = {"finish_reason": "eos_token", "generated_tokens": 5, "seed": None}
    if input_length:
        details["input_length"] = 7
    return [
        {
            **({"index": number} if index else {}),
            "token": token,
            "generated_text": TEXT if token is _END else None,
            "details": details if token is _END else None,
        }
        for number, token in enumerate([*_TOKENS, _END], 1)
    ]


TGI = (
    Shape(
        "a reply with details",
        "github.com/huggingface/text-generation-inference, integration-tests/models/"
        "__snapshots__/test_flash_phi/test_flash_phi_all_params.json: recorded from Phi-2",
        "hf",
        {
            "details": {
                "best_of_sequences": None,
                "finish_reason": "stop_sequence",
                "generated_tokens": 4,
                "prefill": [],
                "seed": 0,
                "tokens": _TOKENS,
                "top_tokens": None,
            },
            "generated_text": TEXT,
        },
        counts=(None, 4),
        sdk="hub",
    ),
    Shape(
        "a stream of release 3, with a space after 'data:' and an index",
        "github.com/huggingface/text-generation-inference, issue 2452, and docs/openapi.json "
        "(StreamResponse, StreamDetails)",
        "hf",
        _events(*_tgi_events(index=True, input_length=True), done=False),
        counts=(7, 5),
        sdk="hub",
    ),
    Shape(
        "a stream of release 0, without the space and the index",
        "github.com/huggingface/text-generation-inference, issue 104",
        "hf",
        _events(*_tgi_events(index=False, input_length=False), head="data:", done=False),
        counts=(None, 5),
    ),
)

# --------------------------------------------------------------------------- OpenAI's protocol

_NAMED = {"id": "cmpl-3a688b", "created": 2421200, "model": "microsoft/phi-2"}


def _text_chunk(text: str, finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
    return {**_NAMED, "choices": [choice], **more}


def _chat_chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return {"object": "chat.completion.chunk", **_NAMED, "choices": [choice], **more}


OPENAI = (
    Shape(
        "a vLLM stream that says 'stop' twice, with the usage beside the second",
        "github.com/vllm-project/vllm, issue 2266",
        "openai",
        _events(
            _text_chunk(" Light guides"),
            _text_chunk(" ships."),
            _text_chunk("", "stop"),
            _text_chunk(
                "",
                "stop",
                usage={"prompt_tokens": 7, "total_tokens": 12, "completion_tokens": 5},
            ),
        ),
        counts=(7, 5),
        sdk="openai",
    ),
    Shape(
        "a vLLM chat stream whose last text comes with its finish reason",
        "github.com/vllm-project/vllm, issue 35705",
        "openai",
        _events(
            _chat_chunk({"role": "assistant", "content": ""}),
            _chat_chunk({"content": " Light guides"}),
            _chat_chunk({"content": " ships."}, "length"),
        ),
        {"route": "chat"},
        finish="length",
        sdk="openai",
    ),
    Shape(
        "a vLLM chat stream with the usage so far in every event, and keys of its own",
        "github.com/vllm-project/vllm-omni, pull request 2313 (continuous_usage_stats)",
        "openai",
        _events(
            *(
                _chat_chunk(
                    {"content": text},
                    finish,
                    usage={
                        "prompt_tokens": 7,
                        "total_tokens": 7 + count,
                        "completion_tokens": count,
                    },
                    prompt_token_ids=None,
                    modality="text",
                    metrics={},
                )
                for text, count, finish in (
                    (" Light", 1, None),
                    (" guides", 2, None),
                    (" ships.", 4, "stop"),
                )
            )
        ),
        {"route": "chat"},
        counts=(7, 4),
        sdk="openai",
    ),
    Shape(
        "a LocalAI chat stream: keys in another order, usage of noughts, no logprobs",
        "github.com/mudler/LocalAI, issue 1609",
        "openai",
        _events(
            *(
                {
                    "created": 1705666552,
                    "object": "chat.completion.chunk",
                    "id": "18f3aab7",
                    "model": "phi-2",
                    "choices": [{"index": 0, **said}],
                    "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
                }
                for said in (
                    {"delta": {"role": "assistant", "content": ""}},
                    {"delta": {"content": TEXT}},
                    {"finish_reason": "stop", "delta": {"content": ""}},
                )
            )
        ),
        {"route": "chat"},
        counts=(0, 0),
        sdk="openai",
    ),
    Shape(
        "a chat reply with the usage's details",
        "platform.openai.com/docs/api-reference/chat, as recorded in github.com/"
        "Bharathkumarraju/learn-ai-llm-ml-ops, 11.OpenAI/3.chat_completions_api.sh",
        "openai",
        {
            "id": "chatcmpl-shape",
            "object": "chat.completion",
            "created": 1741678200,
            "model": "microsoft/phi-2",
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": TEXT, "refusal": None},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 7,
                "completion_tokens": 5,
                "total_tokens": 12,
                "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {
                    "reasoning_tokens": 0,
                    "audio_tokens": 0,
                    "accepted_prediction_tokens": 0,
                    "rejected_prediction_tokens": 0,
                },
            },
            "service_tier": "default",
            "system_fingerprint": "fp_shape",
        },
        {"route": "chat"},
        counts=(7, 5),
        sdk="openai",
    ),
)

SHAPES = (*AZURE, *TGI, *OPENAI)
