"""Servers of the OpenAI protocol, with their keys, defaults, limits and errors.

They were observed on vLLM 0.32, on llama.cpp of October 2026 and on ``transformers serve`` 5.23.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from phi2sdk.emulator.exchange import Refusal
from phi2sdk.emulator.parameters import Parameters
from phi2sdk.transport.openai_wire import error_body, error_kind

__all__ = ["EXTENSIONS", "SERVERS", "ContextRule", "Server", "ServerKind"]

Server = Literal["openai", "vllm", "llamacpp", "transformers"]

ContextRule = Literal["refuse", "clip", "exceed"]
"""The behavior when prompt and ``max_tokens`` together exceed the context: refuse the request;
reduce ``max_tokens`` without an error, and refuse only a prompt that fills the context; or generate
beyond the context."""

EXTENSIONS = frozenset({"top_k", "min_p", "repetition_penalty"})


@dataclass(frozen=True, slots=True)
class ServerKind:
    """One server software.

    Attributes:
        read: Converts the sampling keys of the server into common keys, with its defaults.
        error: The JSON body of an error.
        extensions: Accepted keys in addition to those of OpenAI.
        unknown_keys: Whether other keys are refused, or dropped without an error.
        refused: The status for a key that is refused.
        context: The behavior at the end of the context.
        keeps_stops: Whether the answer contains the text of a stop.
        ends_with_done: Whether a stream ends with ``[DONE]``, after a chunk with the usage if it
            was requested. Otherwise the last chunk always has the usage.
        lists_models: Whether ``/v1/models`` lists models; otherwise it answers status 500.
        owner: The owner of the models in the list of models.
        version: The version at ``/version``; ``None`` if the server has no such path.
        open_paths: The paths that need no key.
    """

    read: Callable[[dict[str, Any]], dict[str, Any]]
    error: Callable[[Refusal], dict[str, Any]]
    extensions: frozenset[str] = EXTENSIONS
    unknown_keys: Literal["refuse", "drop"] = "refuse"
    refused: int = 400
    context: ContextRule = "refuse"
    keeps_stops: bool = False
    ends_with_done: bool = True
    lists_models: bool = True
    owner: str = "vllm"
    version: str | None = None
    open_paths: frozenset[str] = frozenset({"/health", "/version"})


def _as_it_is(body: dict[str, Any]) -> dict[str, Any]:
    return body


def _openai_error(refusal: Refusal) -> dict[str, Any]:
    kind = error_kind(refusal.status)
    return error_body(refusal.message, kind=kind, code=refusal.code, param=refusal.param)


_VLLM_TYPES = {400: "BadRequestError", 401: "Unauthorized", 404: "NotFoundError"}


def _vllm_error(refusal: Refusal) -> dict[str, Any]:
    status = refusal.status
    too_long = refusal.code == "context_length_exceeded"
    error = {
        "message": refusal.message,
        "type": _VLLM_TYPES.get(status, "InternalServerError"),
        "param": "input_tokens" if too_long else refusal.param,
        "code": status,
    }
    return {"error": error}


_LLAMACPP_DEFAULTS = {"temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05}


def _read_llamacpp(body: dict[str, Any]) -> dict[str, Any]:
    values = {**_LLAMACPP_DEFAULTS, **body}
    given = Parameters(values)
    last = given.integer("repeat_last_n", low=0, high=2**31 - 1)
    penalty = given.number("repeat_penalty", 1.0)
    values.pop("repeat_last_n", None)
    values.pop("repeat_penalty", None)
    values["repetition_penalty"] = 1.0 if last == 0 else penalty
    return values


def _llamacpp_error(refusal: Refusal) -> dict[str, Any]:
    too_long = refusal.code == "context_length_exceeded"
    kind = "exceed_context_size_error" if too_long else error_kind(refusal.status)
    return {"error": {"code": refusal.status, "message": refusal.message, "type": kind}}


def _read_transformers(body: dict[str, Any]) -> dict[str, Any]:
    """Read the keys: sampling needs ``do_sample`` in ``generation_config``; ``top_k`` is 50."""
    values = dict(body)
    text = values.pop("generation_config", None)
    config = json.loads(text) if isinstance(text, str) else {}
    values["top_k"] = config.get("top_k", 50)
    if not config.get("do_sample"):
        values["temperature"] = 0.0
    return values


def _transformers_error(refusal: Refusal) -> dict[str, Any]:
    return {"detail": refusal.message}


SERVERS: Mapping[Server, ServerKind] = {
    "openai": ServerKind(_as_it_is, _openai_error, version="0.32.0"),
    "vllm": ServerKind(_as_it_is, _vllm_error, context="clip", version="0.32.0"),
    "llamacpp": ServerKind(
        _read_llamacpp,
        _llamacpp_error,
        extensions=frozenset({"top_k", "min_p", "repeat_penalty", "repeat_last_n"}),
        unknown_keys="drop",
        context="clip",
        owner="llamacpp",
        open_paths=frozenset({"/health", "/v1/models"}),
    ),
    "transformers": ServerKind(
        _read_transformers,
        _transformers_error,
        extensions=frozenset({"generation_config"}),
        refused=422,
        context="exceed",
        keeps_stops=True,
        ends_with_done=False,
        lists_models=False,
    ),
}
