"""The servers behind OpenAI's protocol: the keys, defaults, limits and errors of each one.

Observed on vLLM 0.32, on llama.cpp of October 2026 and on ``transformers serve`` 5.23.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from phi2sdk.emulator.exchange import Refusal
from phi2sdk.emulator.openai_wire import error_body
from phi2sdk.emulator.parameters import Parameters

__all__ = ["EXTENSIONS", "SERVERS", "ContextRule", "Server", "ServerKind", "error_kind"]

Server = Literal["openai", "vllm", "llamacpp", "transformers"]

ContextRule = Literal["refuse", "clip", "exceed"]
"""What happens when prompt and ``max_tokens`` do not fit the context together: the request is
refused; ``max_tokens`` is reduced in silence, and only a prompt that leaves no room is refused; or
the model writes past its context."""

EXTENSIONS = frozenset({"top_k", "min_p", "repetition_penalty"})


def error_kind(status: int) -> str:
    """The error type that goes with a status."""
    if status == 401:
        return "authentication_error"
    if status == 429:
        return "rate_limit_error"
    return "server_error" if status >= 500 else "invalid_request_error"


@dataclass(frozen=True, slots=True)
class ServerKind:
    """One server.

    Attributes:
        read: Turns the server's own sampling keys into the common ones, with its defaults.
        error: The JSON body of an error.
        extensions: Keys beyond OpenAI's own that are understood.
        unknown_keys: Other keys are refused or dropped in silence.
        refused: The status for a key that is refused.
        context: What happens at the end of the context.
        keeps_stops: Whether the text of a stop stays in the answer.
        ends_with_done: Whether a stream ends with ``[DONE]``, after a chunk with the usage where
            that was asked for. Otherwise the last chunk always has the usage.
        lists_models: False answers ``/v1/models`` with status 500.
        owner: What its list of models names as the models' owner.
        version: Its version at ``/version``; ``None``: it has no such path.
        open_paths: What it answers without a key.
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
    """Nothing is sampled unless ``generation_config`` says so; its ``top_k`` is 50 unless given."""
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
