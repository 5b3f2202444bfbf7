"""Clarifai's reply as its documentation shows it, with our own text inside."""

from __future__ import annotations

from typing import Any

from .shapes import TEXT

SOURCE = (
    "docs.clarifai.com/resources/api-overview/api-outputs, and apiOutput of Clarifai's schema "
    "(github.com/api-evangelist/clarifai, json-schema/apiOutput.json) for the token counts"
)
CLARIFAI: dict[str, Any] = {
    "status": {"code": 10000, "description": "Ok", "req_id": "20ab5bcf0566429f9b350e50372456ce"},
    "outputs": [
        {
            "id": "a03a4b326e3041e88983a88b58c41f2b",
            "status": {"code": 10000, "description": "Ok"},
            "created_at": "2025-02-28T09:41:55.568082659Z",
            "model": {
                "id": "phi-2",
                "name": "phi-2",
                "created_at": "2016-03-09T17:11:39.608845Z",
                "modified_at": "2025-02-28T09:41:55.568082Z",
                "app_id": "text-generation",
                "model_version": {
                    "id": "aa7f35c01e0642fda5cf400f543e7c40",
                    "status": {"code": 21100, "description": "Model is trained and ready"},
                },
                "user_id": "microsoft",
                "model_type_id": "text-to-text",
            },
            "input": {
                "id": "7eb3b1f0",
                "data": {"text": {"raw": "Instruct: What guides ships?\nOutput:"}},
            },
            "data": {"text": {"raw": TEXT, "text_info": {"encoding": "UnknownTextEnc"}}},
            "prompt_tokens": 7,
            "completion_tokens": 5,
        }
    ],
}
"""A reply as the documentation shows it in JSON; the test carries it over to protobuf."""
