"""TGI's Messages API: the OpenAI protocol with the rules of TGI."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from aiohttp import web

from phi2sdk.emulator.engine import Decoding
from phi2sdk.emulator.exchange import Refusal
from phi2sdk.emulator.generation import FINISH, complete, keeping_stops
from phi2sdk.emulator.http_exchange import Handler, HttpExchange
from phi2sdk.emulator.openai_routes import render_chat
from phi2sdk.emulator.parameters import Parameters
from phi2sdk.emulator.server import json_response
from phi2sdk.emulator.sse import EventStream, event_bytes
from phi2sdk.emulator.tgi import check_context, sampling
from phi2sdk.transport.openai_wire import OpenAIReply, usage

_DEFAULT_TOKENS = 1024


class TGIOpenAIRoutes:
    """Serve ``/v1/completions`` and ``/v1/chat/completions`` of TGI.

    TGI ignores the name of the model, keeps the stop text, adds the role to each chunk, and accepts
    temperature 0 (greedy) only for chat.

    Attributes:
        chat_template: Whether the model has a chat template; without one, the chat route refuses.
        sse_space: The same as on TGI's routes.
    """

    chat_template = True
    sse_space = True

    def table(self) -> Mapping[tuple[str, str], tuple[Handler, bool]]:
        """Return the routes for ``HttpServer.routes``."""
        return {
            ("POST", "/v1/completions"): (self.completions, True),
            ("POST", "/v1/chat/completions"): (self.chat, True),
            ("GET", "/v1/models"): (self.models, False),
        }

    async def models(self, exchange: HttpExchange) -> web.StreamResponse:
        """Answer GET /v1/models."""
        card = {"id": exchange.engine.model, "object": "model", "created": 0, "owned_by": "tgi"}
        return json_response({"object": "list", "data": [card]})

    async def completions(self, exchange: HttpExchange) -> web.StreamResponse:
        """Answer POST /v1/completions."""
        body = exchange.json_object(other=422)
        prompts = Parameters(body, status=422).strings("prompt")
        if len(prompts) != 1:
            raise Refusal(422, "`prompt` must be one text on this server")
        return await self._generate(exchange, body, prompts[0], chat=False)

    async def chat(self, exchange: HttpExchange) -> web.StreamResponse:
        """Answer POST /v1/chat/completions."""
        body = exchange.json_object(other=422)
        if not self.chat_template:
            raise Refusal(422, "Template error: the model has no chat template")
        try:
            prompt = render_chat(body.get("messages"))
        except Refusal as refusal:
            raise Refusal(422, refusal.message) from refusal
        return await self._generate(exchange, body, prompt, chat=True)

    def error_event(self, message: str, status: int = 424) -> bytes:
        """Return an error event of a stream, which has a status and no type."""
        error = {"error": {"message": message, "http_status_code": status}}
        return event_bytes(error, space=self.sse_space)

    async def _generate(
        self, exchange: HttpExchange, body: Mapping[str, Any], prompt: str, *, chat: bool
    ) -> web.StreamResponse:
        given = Parameters(body, status=422)
        try:
            decoding = _decoding(exchange, body, prompt, chat=chat)
            prompt_tokens = check_context(exchange, prompt, decoding)
        except Refusal as refusal:
            if not given.flag("stream"):
                raise
            refused = EventStream(exchange, space=self.sse_space)
            await refused.open()
            await refused.response.write(self.error_event(refusal.message, refusal.status))
            return refused.response
        reply = OpenAIReply.new(exchange.request_id, exchange.engine.model, chat=chat)
        steps = keeping_stops(exchange.engine, prompt, decoding)
        if not given.flag("stream"):
            answer = await complete(steps)
            await exchange.pace.until(answer.count - 1)
            finish = FINISH[answer.finish]
            exchange.bill(prompt_tokens, answer.count, finish)
            exchange.call.mark_sent(len(answer.text))
            used = usage(prompt_tokens, answer.count)
            return json_response(reply.whole(answer.text, finish, None, used))

        options = given.get("stream_options")
        with_usage = isinstance(options, dict) and bool(options.get("include_usage"))
        stream = EventStream(exchange, space=self.sse_space)
        await stream.open()
        count = 0
        async with aclosing(exchange.pace.writes(steps)) as writes:
            async for group in writes:
                count += len(group)
                ended = group[-1].finish
                word = FINISH[ended] if ended else None
                exchange.bill(prompt_tokens, count, word or "")
                chunks = [
                    reply.chunk(
                        # The completions route returns the end-of-text token as text.
                        step.token.text if step.token.special and not chat else step.text,
                        FINISH[step.finish] if step.finish else None,
                        role=chat,
                    )
                    for step in group
                ]
                await stream.send(*chunks, characters=sum(len(step.text) for step in group))
        if with_usage:
            await stream.send(reply.usage_chunk(usage(prompt_tokens, count)))
        await stream.send("[DONE]")
        return await stream.close()


def _decoding(
    exchange: HttpExchange, body: Mapping[str, Any], prompt: str, *, chat: bool
) -> Decoding:
    values = dict(body)
    values["max_new_tokens"] = values.pop("max_tokens", None)
    values["do_sample"] = True
    if values.get("temperature") == 0 and chat:
        values["temperature"], values["do_sample"] = None, False
    decoding, _ = sampling(Parameters(values, status=422))
    if decoding.max_tokens == 0:
        room = exchange.engine.context_length - exchange.engine.count(prompt)
        decoding = replace(decoding, max_tokens=max(1, min(_DEFAULT_TOKENS, room)))
    return decoding
