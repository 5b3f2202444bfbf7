"""Build the responses, chunks and errors of the OpenAI protocol."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from phi2sdk.emulator.engine import Token
from phi2sdk.emulator.generation import Finish

__all__ = ["FINISH", "OpenAIReply", "chat_logprobs", "completion_logprobs", "error_body", "usage"]

FINISH: dict[Finish, str] = {"eos": "stop", "stop": "stop", "length": "length"}


@dataclass(frozen=True, slots=True)
class OpenAIReply:
    """The fields that all chunks of one response share."""

    request_id: str
    model: str
    chat: bool
    created: int

    @classmethod
    def new(cls, request_id: str, model: str, *, chat: bool) -> OpenAIReply:
        """Return the fields of a response that is created now."""
        prefix = "chatcmpl" if chat else "cmpl"
        return cls(f"{prefix}-{request_id}", model, chat, int(time.time()))

    def whole(self, text: str, finish: str, logprobs: object, used: object) -> dict[str, Any]:
        """Return a response without a stream."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": logprobs}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = text
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": [choice], "usage": used}

    def chunk(
        self, text: str, finish: str | None = None, logprobs: object = None, *, role: bool = False
    ) -> dict[str, Any]:
        """Return a chunk with text; ``role`` adds the role (chat only)."""
        choice: dict[str, Any] = {"index": 0, "finish_reason": finish, "logprobs": logprobs}
        if not self.chat:
            choice["text"] = text
        elif role:
            choice["delta"] = {"role": "assistant", "content": text}
        else:
            choice["delta"] = {"content": text} if text or finish is None else {}
        return {**self._head(self._chunk_kind), "choices": [choice]}

    def usage_chunk(self, used: object) -> dict[str, Any]:
        """Return the chunk after the last choice, with the usage and without choices."""
        return {**self._head(self._chunk_kind), "choices": [], "usage": used}

    @property
    def _chunk_kind(self) -> str:
        return "chat.completion.chunk" if self.chat else "text_completion"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.request_id, "object": kind, "created": self.created, "model": self.model}


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    """Return the usage object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def completion_logprobs(tokens: Sequence[Token], offset: int, top: int) -> dict[str, Any]:
    """Return the logprobs of /v1/completions; ``top_logprobs`` has the most likely token only."""
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [_top(token) for token in tokens] if top else None,
        "text_offset": offsets,
    }


def _top(token: Token) -> dict[str, float] | None:
    if token.logprob is None:
        return None
    best = {token.best[0]: token.best[1]} if token.best else {}
    return {**best, token.text: token.logprob}


def chat_logprobs(tokens: Sequence[Token]) -> dict[str, Any]:
    """Return the logprobs of /v1/chat/completions."""
    content = [
        {
            "token": token.text,
            "logprob": token.logprob if token.logprob is not None else -9999.0,
            "bytes": list(token.text.encode()),
            "top_logprobs": [],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def error_body(
    message: str, *, kind: str, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """Return the error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
