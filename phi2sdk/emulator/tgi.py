"""The routes of Text Generation Inference, with the checks of TGI 3."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

from aiohttp import web

from phi2sdk.emulator.engine import Decoding, Token, TokenizingEngine, echoed_tokens
from phi2sdk.emulator.exchange import Refusal
from phi2sdk.emulator.generation import (
    Finish,
    GeneratedText,
    GenerationStep,
    complete,
    keeping_stops,
)
from phi2sdk.emulator.http_exchange import Handler, HttpExchange
from phi2sdk.emulator.parameters import Parameters
from phi2sdk.emulator.server import json_response
from phi2sdk.emulator.sse import EventStream, event_bytes

MAX_STOPS = 4
_DEFAULT_NEW_TOKENS = 1024
_FINISH: dict[Finish, str] = {"length": "length", "eos": "eos_token", "stop": "stop_sequence"}
_KINDS = {
    401: None,
    404: None,
    422: "validation",
    424: "generation",
    429: "overloaded",
    500: "incomplete_generation",
}


@dataclass(frozen=True, slots=True)
class _Asked:
    prompt: str
    decoding: Decoding
    sampled: bool
    details: bool
    prefill: bool
    full_text: bool

    def shown(self, text: str) -> str:
        return self.prompt + text if self.full_text else text


class TGIRoutes:
    """The routes, for a server.

    Attributes:
        sse_space: Whether events begin with ``data: {``, as in release 3, or with ``data:{``.
    """

    sse_space = True

    def table(self) -> Mapping[tuple[str, str], tuple[Handler, bool]]:
        """Return the routes for ``HttpServer.routes``."""
        return {
            ("POST", "/"): (self.root, True),
            ("POST", "/generate"): (self.generate, True),
            ("POST", "/generate_stream"): (self.generate_stream, True),
            ("POST", "/tokenize"): (self.tokenize, False),
            ("GET", "/info"): (self.info, False),
            ("GET", "/health"): (self.health, False),
        }

    async def root(self, exchange: HttpExchange) -> web.StreamResponse:
        """Answer POST / with a list, and the prompt unless ``return_full_text`` is false."""
        body = exchange.json_object(other=422)
        if Parameters(body, status=422).flag("stream"):
            return await self._stream(exchange, full_text=True)
        return json_response([await self._whole(exchange, full_text=True)])

    async def generate(self, exchange: HttpExchange) -> web.StreamResponse:
        """Answer POST /generate."""
        reply = await self._whole(exchange, full_text=False)
        call = exchange.call
        took_ms = (time.perf_counter_ns() - call.t_received_ns) // 1_000_000
        headers = {
            "x-compute-type": "cpu",
            "x-prompt-tokens": str(call.prompt_tokens),
            "x-generated-tokens": str(call.completion_tokens),
            "x-total-time": str(took_ms),
        }
        return json_response(reply, headers=headers)

    async def generate_stream(self, exchange: HttpExchange) -> web.StreamResponse:
        """Answer POST /generate_stream; failures are events with status 200."""
        return await self._stream(exchange, full_text=False)

    async def tokenize(self, exchange: HttpExchange) -> web.StreamResponse:
        """Answer POST /tokenize."""
        text = _inputs(exchange.json_object(other=422))
        if not isinstance(exchange.engine, TokenizingEngine):
            raise Refusal(404, "This engine does not show its tokens.")
        shown, at = [], 0
        for token in exchange.engine.prompt_tokens(text):
            end = at + len(token.text)
            shown.append({"id": token.id, "text": token.text, "start": at, "stop": end})
            at = end
        return json_response(shown)

    async def info(self, exchange: HttpExchange) -> web.StreamResponse:
        """Answer GET /info."""
        length = exchange.engine.context_length
        return json_response(
            {
                "model_id": exchange.engine.model,
                "model_sha": None,
                "model_pipeline_tag": "text-generation",
                "max_concurrent_requests": 128,
                "max_best_of": 1,
                "max_stop_sequences": MAX_STOPS,
                "max_input_tokens": length - 1,
                "max_total_tokens": length,
                "validation_workers": 2,
                "max_client_batch_size": 4,
                "router": "text-generation-router",
                "version": "3.3.6",
                "sha": None,
                "docker_label": None,
            }
        )

    async def health(self, exchange: HttpExchange) -> web.StreamResponse:
        """Answer GET /health."""
        return web.Response()

    async def _whole(self, exchange: HttpExchange, *, full_text: bool) -> dict[str, Any]:
        asked = _asked(exchange, full_text=full_text)
        prompt_tokens = check_context(exchange, asked.prompt, asked.decoding)
        answer = await complete(keeping_stops(exchange.engine, asked.prompt, asked.decoding))
        await exchange.pace.until(answer.count - 1)
        exchange.bill(prompt_tokens, answer.count, _FINISH[answer.finish])
        exchange.call.mark_sent(len(answer.text))
        reply: dict[str, Any] = {"generated_text": asked.shown(answer.text)}
        if asked.details:
            prefill = await echoed_tokens(exchange.engine, asked.prompt) if asked.prefill else ()
            reply["details"] = _details(asked, answer, prefill)
        return reply

    async def _stream(self, exchange: HttpExchange, *, full_text: bool) -> web.StreamResponse:
        stream = EventStream(exchange, space=self.sse_space)
        try:
            asked = _asked(exchange, full_text=full_text)
            if asked.prefill:
                raise Refusal(
                    422,
                    "Input validation error: `decoder_input_details` == true is not supported "
                    "when streaming tokens",
                )
            prompt_tokens = check_context(exchange, asked.prompt, asked.decoding)
        except Refusal as refusal:
            if not isinstance(exchange.body, dict):
                raise
            await stream.open()
            await stream.send(error_body(refusal.status, refusal.message))
            return stream.response
        await stream.open()
        text, index = "", 0
        steps = keeping_stops(exchange.engine, asked.prompt, asked.decoding)
        async with aclosing(exchange.pace.writes(steps)) as writes:
            async for group in writes:
                events = []
                for step in group:
                    index += 1
                    text += step.text
                    events.append(_event(asked, step, index, text, prompt_tokens))
                finish = group[-1].finish
                exchange.bill(prompt_tokens, index, _FINISH[finish] if finish else "")
                await stream.send(*events, characters=sum(len(step.text) for step in group))
        return await stream.close()

    def error_event(self, message: str) -> bytes:
        """Return an error event of a stream."""
        return event_bytes(error_body(424, message), space=self.sse_space)


def error_body(status: int, message: str) -> dict[str, Any]:
    """Return TGI's error object; errors of the proxy (401, 404) have no type."""
    kind = _KINDS.get(status, "generation")
    return {"error": message} if kind is None else {"error": message, "error_type": kind}


def sampling(given: Parameters) -> tuple[Decoding, bool]:
    """Check TGI's parameters; return the decoding, and whether it samples.

    Temperature must be above 0 and top_p strictly between 0 and 1. A parameter that changes
    the distribution enables sampling even if ``do_sample`` is false.
    """
    for name in ("best_of", "n"):
        given.neutral(name, 1)
    for name in ("grammar", "typical_p", "truncate", "adapter_id", "top_n_tokens"):
        given.neutral(name, None)
    given.neutral("watermark", False)
    given.neutral("frequency_penalty", 0)
    temperature = given.number("temperature", 1.0)
    if temperature <= 0:
        raise given.refuse("temperature", "must be strictly positive")
    penalty = given.number("repetition_penalty", 1.0)
    if penalty <= 0:
        raise given.refuse("repetition_penalty", "must be strictly positive")
    top_p = given.number("top_p", 1.0)
    if given.has("top_p") and not 0 < top_p < 1:
        raise given.refuse("top_p", "must be above 0 and below 1")
    top_k = given.integer("top_k")
    if top_k is not None and top_k <= 0:
        raise given.refuse("top_k", "must be strictly positive")
    most = given.integer("max_new_tokens", low=1)
    stop = given.strings("stop", at_most=MAX_STOPS)
    seed = given.integer("seed", low=0)
    shaped = temperature != 1.0 or top_p < 1.0 or top_k is not None
    sampled = given.flag("do_sample") or shaped
    decoding = Decoding(
        max_tokens=most or 0,
        temperature=temperature if sampled else 0.0,
        top_p=top_p,
        top_k=top_k,
        repetition_penalty=penalty,
        seed=seed,
        stop=tuple(text for text in stop if text),
    )
    return decoding, sampled


def check_context(exchange: HttpExchange, prompt: str, decoding: Decoding) -> int:
    """Refuse (422) a prompt that is too long; return its number of tokens."""
    engine, call = exchange.engine, exchange.call
    call.prompt, call.decoding = prompt, decoding
    count = engine.count(prompt)
    if count + decoding.max_tokens > engine.context_length:
        raise Refusal(
            422,
            f"Input validation error: {count} input tokens and {decoding.max_tokens} new tokens "
            f"do not fit into {engine.context_length}",
        )
    return count


def _asked(exchange: HttpExchange, *, full_text: bool) -> _Asked:
    body = exchange.json_object(other=422)
    prompt = _inputs(body)
    values = body.get("parameters") or {}
    if not isinstance(values, dict):
        raise Refusal(422, "`parameters` must be an object")
    given = Parameters(values, status=422)
    decoding, sampled = sampling(given)
    if decoding.max_tokens == 0:
        room = exchange.engine.context_length - exchange.engine.count(prompt)
        most = max(1, min(_DEFAULT_NEW_TOKENS, room))
        decoding = replace(decoding, max_tokens=most)
    return _Asked(
        prompt=prompt,
        decoding=decoding,
        sampled=sampled,
        details=given.flag("details"),
        prefill=given.flag("decoder_input_details"),
        full_text=given.flag("return_full_text", full_text),
    )


def _inputs(body: Mapping[str, Any]) -> str:
    inputs = body.get("inputs")
    if not isinstance(inputs, str):
        raise Refusal(422, "`inputs` must be a string")
    if not inputs:
        raise Refusal(422, "Input validation error: `inputs` cannot be empty")
    return inputs


def _token(token: Token) -> dict[str, Any]:
    return {
        "id": token.id,
        "text": token.text,
        "logprob": token.logprob if token.logprob is not None else 0.0,
        "special": token.special,
    }


def _details(asked: _Asked, answer: GeneratedText, prefill: Sequence[Token]) -> dict[str, Any]:
    return {
        "finish_reason": _FINISH[answer.finish],
        "generated_tokens": answer.count,
        "seed": asked.decoding.seed if asked.sampled else None,
        "prefill": [{"id": t.id, "text": t.text, "logprob": t.logprob} for t in prefill],
        "tokens": [_token(step.token) for step in answer.steps],
    }


def _event(
    asked: _Asked, step: GenerationStep, index: int, text: str, prompt_tokens: int
) -> dict[str, Any]:
    last = step.finish is not None
    details = {
        "finish_reason": _FINISH[step.finish] if step.finish else "",
        "generated_tokens": index,
        "seed": asked.decoding.seed if asked.sampled else None,
        "input_length": prompt_tokens,
    }
    return {
        "index": index,
        "token": _token(step.token),
        "generated_text": asked.shown(text) if last else None,
        "details": details if last else None,
    }
