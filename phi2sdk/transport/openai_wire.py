"""The documents of the OpenAI protocol that a server sends: responses, chunks, usage and errors.

The emulators and ``phi2 serve`` build their documents here, and decide themselves what they send.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

__all__ = [
    "PART_OF_CHARACTER",
    "OpenAIReply",
    "WireToken",
    "chat_logprobs",
    "completion_logprobs",
    "error_body",
    "error_kind",
    "usage",
]

_UNKNOWN_LOGPROB = -9999.0
"""OpenAI's value for a log-probability of a chat token that is not known."""


PART_OF_CHARACTER = "bytes:"
"""The beginning of the text of a token that is not valid UTF-8, as in ``bytes:\\xe2\\x80``."""


class WireToken(NamedTuple):
    """A token as a response shows it.

    Attributes:
        text: The text of the token.
        logprob: Its natural log-probability; ``None`` if it is unknown.
        top: The most likely tokens at its position, each with its log-probability.
        size: Number of characters that it adds to the text, if this is not the length of ``text``.
    """

    text: str
    logprob: float | None
    top: Sequence[tuple[str, float]] = ()
    size: int | None = None


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
        """Return a response with one choice and its usage."""
        return self.response([self.choice(0, text, finish, logprobs)]) | {"usage": used}

    def response(self, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return a response without a stream and without usage."""
        kind = "chat.completion" if self.chat else "text_completion"
        return {**self._head(kind), "choices": choices}

    def choice(
        self, index: int, text: str, finish: str | None, logprobs: object = None
    ) -> dict[str, Any]:
        """Return one choice of a response."""
        choice: dict[str, Any] = {"index": index, "finish_reason": finish, "logprobs": logprobs}
        if self.chat:
            choice["message"] = {"role": "assistant", "content": text, "refusal": None}
        else:
            choice["text"] = text
        return choice

    def chunk(
        self,
        text: str,
        finish: str | None = None,
        logprobs: object = None,
        *,
        role: bool = False,
        index: int = 0,
    ) -> dict[str, Any]:
        """Return a chunk with text; ``role`` adds the role (chat only)."""
        choice: dict[str, Any] = {"index": index, "finish_reason": finish, "logprobs": logprobs}
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


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """Return the usage object."""
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def completion_logprobs(tokens: Sequence[WireToken], offset: int, *, top: bool) -> dict[str, Any]:
    """Return the logprobs of /v1/completions.

    Args:
        tokens: The tokens of the text.
        offset: The position of the first token in the text.
        top: Whether to show the most likely tokens at each position, and the token itself.
    """
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text) if token.size is None else token.size
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.logprob for token in tokens],
        "top_logprobs": [_top(token) for token in tokens] if top else None,
        "text_offset": offsets,
    }


def _top(token: WireToken) -> dict[str, float] | None:
    if token.logprob is None:
        return None
    return {**dict(token.top), token.text: token.logprob}


def chat_logprobs(tokens: Sequence[WireToken]) -> dict[str, Any]:
    """Return the logprobs of /v1/chat/completions."""
    content = [
        {
            **_chat_token(token.text, token.logprob),
            "top_logprobs": [_chat_token(text, logprob) for text, logprob in token.top],
        }
        for token in tokens
    ]
    return {"content": content, "refusal": None}


def _chat_token(text: str, logprob: float | None) -> dict[str, Any]:
    shown = _UNKNOWN_LOGPROB if logprob is None else logprob
    known = None if text.startswith(PART_OF_CHARACTER) else list(text.encode())
    return {"token": text, "logprob": shown, "bytes": known}


def error_kind(status: int) -> str:
    """Return the error type of a status."""
    if status == 401:
        return "authentication_error"
    if status == 402:
        return "insufficient_quota"
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


def error_body(
    message: str, *, kind: str, code: str | None = None, param: str | None = None
) -> dict[str, Any]:
    """Return the error object."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
