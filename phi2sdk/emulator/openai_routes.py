"""The generating routes of the OpenAI protocol, for every emulator that serves it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal

from aiohttp import web

from phi2sdk.emulator.engine import Decoding, Token, echoed_tokens
from phi2sdk.emulator.exchange import Refusal
from phi2sdk.emulator.generation import (
    FINISH,
    GenerationStep,
    complete,
    keeping_stops,
    removing_stops,
)
from phi2sdk.emulator.http_exchange import HttpExchange
from phi2sdk.emulator.openai_servers import EXTENSIONS, SERVERS, ServerKind
from phi2sdk.emulator.parameters import Parameters
from phi2sdk.emulator.server import json_response
from phi2sdk.emulator.sse import EventStream
from phi2sdk.transport.openai_wire import (
    OpenAIReply,
    WireToken,
    chat_logprobs,
    completion_logprobs,
    usage,
)

__all__ = ["OpenAIRules", "Rendered", "chat", "completions", "render_chat"]

_SHARED = frozenset(
    {"model", "max_tokens", "temperature", "top_p", "n", "stream", "stream_options", "stop"}
    | {"presence_penalty", "frequency_penalty", "logit_bias", "user", "seed", "logprobs"}
)
_COMPLETION_KEYS = _SHARED | {"prompt", "echo", "best_of", "suffix"}
_CHAT_KEYS = _SHARED | {"messages", "max_completion_tokens", "top_logprobs", "response_format"}
_MAX_STOPS = 4
_DEFAULT_COMPLETION_TOKENS = 16


@dataclass(frozen=True, slots=True)
class OpenAIRules:
    """The differences between servers of this protocol.

    Attributes:
        models: The served names; ``None`` accepts any name, or no name.
        extensions: Accepted keys in addition to those of OpenAI.
        unknown_keys: Whether other keys are refused, or dropped without an error.
        chat_template: Whether chat is served, with the prompt in a template (``render_chat``).
        server: The server software, with its sampling keys, limits and errors.
    """

    models: frozenset[str] | None
    extensions: frozenset[str] = EXTENSIONS
    unknown_keys: Literal["refuse", "drop"] = "refuse"
    chat_template: bool = True
    server: ServerKind = SERVERS["openai"]


@dataclass(frozen=True, slots=True)
class Rendered:
    """A request as the server understood it."""

    prompt: str
    decoding: Decoding
    model: str
    chat: bool
    stream: bool
    include_usage: bool
    logprobs: int | None
    echo: bool = False


async def completions(exchange: HttpExchange, rules: OpenAIRules) -> web.StreamResponse:
    """Answer POST /v1/completions."""
    body = _checked_keys(exchange, rules, _COMPLETION_KEYS)
    given = Parameters(body)
    given.neutral("suffix", "")
    given.neutral("best_of", 1)
    prompts = given.strings("prompt")
    if len(prompts) != 1:
        raise given.refuse("prompt", "must be one text on this server")
    echo = given.flag("echo")
    max_tokens = given.integer("max_tokens", low=0 if echo else 1)
    return await _generate(
        exchange,
        Rendered(
            prompt=prompts[0],
            decoding=_decoding(
                given, _DEFAULT_COMPLETION_TOKENS if max_tokens is None else max_tokens
            ),
            model=_model(exchange, rules, given),
            chat=False,
            stream=given.flag("stream"),
            include_usage=_include_usage(given),
            logprobs=given.integer("logprobs", low=0, high=5),
            echo=echo,
        ),
        rules.server,
    )


async def chat(exchange: HttpExchange, rules: OpenAIRules) -> web.StreamResponse:
    """Answer POST /v1/chat/completions."""
    body = _checked_keys(exchange, rules, _CHAT_KEYS)
    given = Parameters(body)
    model = _model(exchange, rules, given)
    if not rules.chat_template:
        raise Refusal(400, "The model has no chat template.", code="chat_template_missing")
    given.neutral("response_format", {"type": "text"})
    prompt = render_chat(body.get("messages"))
    most = given.integer("max_completion_tokens", low=1)
    if most is None:
        most = given.integer("max_tokens", low=1)
    if most is None:
        most = max(1, exchange.engine.context_length - exchange.engine.count(prompt))
    wants_logprobs = given.flag("logprobs")
    given.integer("top_logprobs", low=0, high=20)
    return await _generate(
        exchange,
        Rendered(
            prompt=prompt,
            decoding=_decoding(given, most),
            model=model,
            chat=True,
            stream=given.flag("stream"),
            include_usage=_include_usage(given),
            logprobs=1 if wants_logprobs else None,
        ),
        rules.server,
    )


def render_chat(messages: object) -> str:
    """Return a prompt with each turn under its role, and the beginning of the assistant's turn."""
    if not isinstance(messages, list) or not messages:
        raise Refusal(400, "`messages` must be a list with at least one message", param="messages")
    turns = []
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise Refusal(400, "every message needs a `role`", param="messages")
        turns.append(f"{message['role'].capitalize()}: {_content(message.get('content'))}\n")
    return "".join(turns) + "Assistant:"


def _content(content: object) -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict)]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "".join(str(text) for text in texts)
    raise Refusal(400, "a message's `content` must be text", param="messages")


def _checked_keys(
    exchange: HttpExchange, rules: OpenAIRules, known: frozenset[str]
) -> dict[str, Any]:
    body = exchange.json_object()
    allowed = known | rules.extensions
    unknown = sorted(set(body) - allowed)
    if unknown and rules.unknown_keys == "refuse":
        raise Refusal(
            rules.server.refused,
            f"unrecognized key in the body: {unknown[0]}",
            code="unknown_parameter",
            param=unknown[0],
        )
    return rules.server.read({key: value for key, value in body.items() if key in allowed})


def _model(exchange: HttpExchange, rules: OpenAIRules, given: Parameters) -> str:
    name = given.text("model")
    if rules.models is None:
        return name or exchange.engine.model
    if name is None:
        raise given.refuse("model", "is missing")
    if name not in rules.models:
        raise Refusal(
            404, f"The model `{name}` does not exist.", code="model_not_found", param="model"
        )
    return name


def _decoding(given: Parameters, max_tokens: int) -> Decoding:
    given.neutral("n", 1)
    given.neutral("presence_penalty", 0)
    given.neutral("frequency_penalty", 0)
    given.neutral("logit_bias", {})
    top_k = given.integer("top_k", low=-1)
    penalty = given.number("repetition_penalty", 1.0)
    if penalty <= 0:
        raise given.refuse("repetition_penalty", "must be above 0")
    top_p = given.number("top_p", 1.0, high=1.0)
    if top_p <= 0:
        raise given.refuse("top_p", "must be above 0")
    return Decoding(
        max_tokens=max_tokens,
        temperature=given.number("temperature", 1.0, low=0.0, high=2.0),
        top_p=top_p,
        top_k=top_k if top_k is not None and top_k > 0 else None,
        min_p=given.number("min_p", 0.0, low=0.0, high=1.0),
        repetition_penalty=penalty,
        seed=given.integer("seed"),
        stop=tuple(stop for stop in given.strings("stop", at_most=_MAX_STOPS) if stop),
    )


def _include_usage(given: Parameters) -> bool:
    options = given.get("stream_options")
    if options is None:
        return False
    if not given.flag("stream"):
        raise given.refuse("stream_options", "needs `stream`: true")
    if not isinstance(options, dict):
        raise given.refuse("stream_options", "must be an object")
    return Parameters(options).flag("include_usage")


async def _generate(
    exchange: HttpExchange, asked: Rendered, server: ServerKind
) -> web.StreamResponse:
    engine, call = exchange.engine, exchange.call
    prompt_tokens = engine.count(asked.prompt)
    room = engine.context_length - prompt_tokens
    if server.context == "clip" and 1 <= room < asked.decoding.max_tokens:
        asked = replace(asked, decoding=replace(asked.decoding, max_tokens=room))
    call.prompt, call.decoding = asked.prompt, asked.decoding
    most = asked.decoding.max_tokens
    if most > room and server.context != "exceed":
        raise Refusal(
            400,
            f"The context holds {engine.context_length} tokens; {prompt_tokens} in the prompt and "
            f"{most} for the completion were asked for.",
            code="context_length_exceeded",
            param="messages" if asked.chat else "prompt",
        )
    generate = keeping_stops if server.keeps_stops else removing_stops
    steps = generate(engine, asked.prompt, asked.decoding)
    if asked.stream:
        return await _stream(exchange, asked, prompt_tokens, steps, server)
    return await _whole(exchange, asked, prompt_tokens, steps)


async def _whole(
    exchange: HttpExchange,
    asked: Rendered,
    prompt_tokens: int,
    generated: AsyncGenerator[GenerationStep, None],
) -> web.StreamResponse:
    steps: tuple[GenerationStep, ...] = ()
    if asked.decoding.max_tokens > 0:
        answer = await complete(generated)
        steps = answer.steps
        await exchange.pace.until(answer.count - 1)
    text = "".join(step.text for step in steps)
    finish = FINISH[steps[-1].finish or "length"] if steps else "length"
    exchange.bill(prompt_tokens, len(steps), finish)
    shown = asked.prompt + text if asked.echo else text
    used = usage(prompt_tokens, len(steps))
    reply = OpenAIReply.new(exchange.request_id, asked.model, chat=asked.chat)
    echoed = asked.echo and asked.logprobs is not None
    prompt = await echoed_tokens(exchange.engine, asked.prompt) if echoed else ()
    logprobs = _logprobs(asked, steps, 0, prompt)
    exchange.call.mark_sent(len(text))
    return json_response(reply.whole(shown, finish, logprobs, used))


async def _stream(
    exchange: HttpExchange,
    asked: Rendered,
    prompt_tokens: int,
    steps: AsyncGenerator[GenerationStep, None],
    server: ServerKind,
) -> web.StreamResponse:
    reply = OpenAIReply.new(exchange.request_id, asked.model, chat=asked.chat)
    stream = EventStream(exchange)
    await stream.open()
    if asked.chat:
        await stream.send(reply.chunk("", role=True))
    elif asked.echo:
        await stream.send(reply.chunk(asked.prompt))
    count, offset = 0, 0
    async with aclosing(exchange.pace.writes(steps)) as writes:
        async for group in writes:
            count += len(group)
            text = "".join(step.text for step in group)
            finish = group[-1].finish
            logprobs = _logprobs(asked, group, offset)
            offset += len(text)
            exchange.bill(prompt_tokens, count, FINISH[finish] if finish else "")
            if text or logprobs:
                await stream.send(reply.chunk(text, None, logprobs), characters=len(text))
            if finish is not None:
                last = reply.chunk("", FINISH[finish])
                used = {} if server.ends_with_done else {"usage": usage(prompt_tokens, count)}
                await stream.send(last | used)
    if server.ends_with_done:
        if asked.include_usage:
            await stream.send(reply.usage_chunk(usage(prompt_tokens, count)))
        await stream.send("[DONE]")
    return await stream.close()


def _logprobs(
    asked: Rendered, steps: Sequence[GenerationStep], offset: int, prompt: Sequence[Token] = ()
) -> dict[str, Any] | None:
    if asked.logprobs is None:
        return None
    generated = [_shown(step.token) for step in steps if not step.token.special]
    if asked.chat:
        return chat_logprobs([token._replace(top=()) for token in generated])
    tokens = [*map(_shown, prompt), *generated]
    return completion_logprobs(tokens, offset, top=asked.logprobs > 0)


def _shown(token: Token) -> WireToken:
    return WireToken(token.text, token.logprob, (token.best,) if token.best else ())
