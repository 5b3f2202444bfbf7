"""The route ``POST /score`` of Azure's managed online endpoints, for the Phi-2 asset."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from aiohttp import web

from phi2sdk.emulator.engine import Decoding
from phi2sdk.emulator.exchange import Refusal
from phi2sdk.emulator.generation import complete, removing_stops
from phi2sdk.emulator.http_exchange import HttpExchange
from phi2sdk.emulator.parameters import Parameters
from phi2sdk.emulator.server import json_response

_DEFAULT_NEW_TOKENS = 256
_KNOWN = frozenset({"max_new_tokens", "temperature", "top_p", "top_k", "do_sample", "stop"})
_KNOWN_OLDER = _KNOWN | {"repetition_penalty", "return_full_text"}


@dataclass(frozen=True, slots=True)
class ScoreStyle:
    """The differences between releases of the asset.

    Attributes:
        engine: ``newer`` answers the first prompt only; ``older`` answers all prompts, and accepts
            ``repetition_penalty`` and ``return_full_text`` too. Both drop unknown parameters.
        reply: ``output`` is ``{"output": [...]}``, ``list`` is ``[...]``, ``frame`` is
            ``[{"0": ...}]``.
        echo: Whether the answer begins with the prompt.
        strict: Whether unknown parameters are refused (status 424).
        encode: The number of times that the response is encoded as a JSON string. The inference
            server encodes the response of a ``score.py`` that returns a string.
    """

    engine: Literal["newer", "older"] = "newer"
    reply: Literal["output", "list", "frame"] = "output"
    echo: bool = True
    strict: bool = False
    encode: int = 0


async def score(exchange: HttpExchange, style: ScoreStyle) -> web.StreamResponse:
    """Answer a request.

    Raises:
        Refusal: The model failed (status 424).
    """
    prompts, values = _read(exchange.json_object())
    known = _KNOWN if style.engine == "newer" else _KNOWN_OLDER
    taken = known if style.engine == "newer" else known - {"stop"}
    if style.strict and (unknown := sorted(values.keys() - taken)):
        raise Refusal(424, f"the model does not use the parameters {', '.join(unknown)}")
    given = Parameters({name: values[name] for name in values.keys() & known}, status=424)
    echo = style.echo and given.flag("return_full_text", True)
    if style.engine == "newer":
        prompts = prompts[:1]
    outputs, prompt_tokens, count, characters = [], 0, 0, 0
    for prompt in prompts:
        decoding = _decoding(given, style)
        exchange.call.prompt, exchange.call.decoding = prompt, decoding
        length = exchange.engine.count(prompt)
        if length + decoding.max_tokens > exchange.engine.context_length:
            raise Refusal(424, "the prompt and max_new_tokens do not fit into the context")
        answer = await complete(removing_stops(exchange.engine, prompt, decoding))
        prompt_tokens += length
        count += answer.count
        characters += len(answer.text)
        outputs.append(prompt + answer.text if echo else answer.text)
        exchange.bill(prompt_tokens, count, answer.finish)
    await exchange.pace.until(count - 1)
    exchange.call.mark_sent(characters)
    reply: object = {"output": outputs} if style.reply == "output" else outputs
    if style.reply == "frame":
        reply = [{str(index): text} for index, text in enumerate(outputs)]
    for _ in range(style.encode):
        reply = json.dumps(reply)
    return json_response(reply)


def _read(body: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    data = body.get("input_data")
    if isinstance(data, dict):
        prompts, values = data.get("input_string"), data.get("parameters")
    else:
        prompts, values = data, body.get("params")
    values = {} if values is None else values
    if isinstance(prompts, str):
        prompts = [prompts]
    if not isinstance(prompts, list) or not all(isinstance(text, str) for text in prompts):
        raise Refusal(424, "input_data must hold prompts: input_string and parameters, or a list")
    if not prompts or not isinstance(values, dict):
        raise Refusal(424, "input_data is empty, or its parameters are not an object")
    return prompts, values


def _decoding(given: Parameters, style: ScoreStyle) -> Decoding:
    do_sample = given.flag("do_sample", style.engine == "newer")
    temperature = given.number("temperature", 1.0, low=0.0)
    top_k = given.integer("top_k", low=-1)
    return Decoding(
        max_tokens=given.integer("max_new_tokens", low=1) or _DEFAULT_NEW_TOKENS,
        temperature=temperature if do_sample else 0.0,
        top_p=given.number("top_p", 1.0, low=0.0, high=1.0) or 1.0,
        top_k=top_k if top_k is not None and top_k > 0 else None,
        repetition_penalty=given.number("repetition_penalty", 1.0),
        stop=given.strings("stop"),
    )
