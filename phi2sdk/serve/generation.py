"""The generating routes: a request to prompts, prompts to answers, answers to a response."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import replace
from time import monotonic, perf_counter

from aiohttp import web

from phi2sdk import prompts
from phi2sdk.errors import InvalidRequest
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import Sampling
from phi2sdk.serve import logprobs
from phi2sdk.serve.admission import Admission
from phi2sdk.serve.answers import Answer, Ask, used
from phi2sdk.serve.bodies import ChatBody, CompletionBody, GenerationBody
from phi2sdk.serve.exchange import Exchange
from phi2sdk.serve.models import Model
from phi2sdk.serve.refusal import Refusal
from phi2sdk.transport.openai_wire import (
    OpenAIReply,
    WireToken,
    chat_logprobs,
    completion_logprobs,
)

__all__ = ["Generation"]

_STALLED_SECONDS = 5.0
"""Time after the deadline of a stream until a client that does not read is disconnected."""


class Generation:
    """One request for completions.

    Attributes:
        model: The model that was asked for.
        answers: The answers, each while it arrives and when it is complete.
        chat: Whether the response is that of the chat route.
        first: ``perf_counter`` when the first text was sent.
    """

    def __init__(self, exchange: Exchange, body: GenerationBody, model: Model, deadline: float):
        self.model = model
        self.answers: list[Answer] = []
        self.chat = isinstance(body, ChatBody)
        self.first: float | None = None
        self._exchange = exchange
        self._body = body
        self._deadline = deadline
        self._reply = OpenAIReply.new(exchange.id, model.name, chat=self.chat)

    async def respond(self, admission: Admission) -> web.StreamResponse:
        """Generate the answers in a slot, and send them.

        Raises:
            Refusal: The request cannot be answered.
            Phi2Error: A target failed.
        """
        async with admission.slot(self._deadline):
            for ask in await self._asks():
                self.answers += [
                    Answer(_with_seed(ask, choice)) for choice in range(self._body.choices)
                ]
            if self._body.stream:
                return await self._stream()
            await self._complete(admission)
        self.describe()
        choices = [
            self._reply.choice(index, answer.text, answer.finish, self._logprobs(answer.tokens))
            for index, answer in enumerate(self.answers)
        ]
        document = self._reply.response(choices)
        if (usage := used(self.answers)) is not None:
            document["usage"] = usage
        return self._exchange.document(document)

    # ------------------------------------------------------------------ the request

    async def _asks(self) -> list[Ask]:
        """Return the prompts of the request with what is asked for."""
        body, model = self._body, self.model
        top: int | None
        if isinstance(body, CompletionBody):
            top, echo, most = body.logprobs, bool(body.echo), body.most_tokens
            if most == 0 and not echo:
                raise _invalid("max_tokens", "max_tokens=0 generates nothing, which needs echo")
            if body.best_of not in (None, 1, body.choices):
                raise _invalid("best_of", "best_of can only be 1 or the value of n")
            given = [await self._prompt(one) for one in body.prompts()]
        else:
            assert isinstance(body, ChatBody)
            top, echo, most = (body.top_logprobs or 0) if body.logprobs else None, False, 0
            if body.top_logprobs is not None and not body.logprobs:
                raise _invalid("top_logprobs", "top_logprobs needs logprobs: true")
            most = body.most_tokens
            given = [_named("messages", body.rendered)]
            self._exchange.headers["x-phi2-format"] = given[0].format
        sampling = body.sampling(max(1, most))
        asked = sampling if most > 0 else None
        if top is not None:
            logprobs.check(model, asked, top, echo=echo, stream=bool(body.stream))
        return [
            Ask(model, prompt, number, asked, self._deadline, top, echo, strip=self.chat)
            for number, prompt in enumerate(given)
        ]

    async def _prompt(self, given: str | list[int]) -> Prompt:
        if isinstance(given, str):
            allow = bool(self._body.allow_control_tokens)
            return _named("prompt", lambda: prompts.raw(given, allow_control_tokens=allow))
        if self.model.tokens is None:
            raise _invalid(
                "prompt",
                f"the model {self.model.name} takes no token ids. Send the prompt as a string",
                code="unsupported_parameter",
            )
        local = await self.model.tokens.load()
        try:
            text = local.decode(local.ids(given))
        except InvalidRequest as error:
            raise _invalid("prompt", error.message) from None
        return Prompt(text, allow_control_tokens=True, token_ids=tuple(given))

    # ------------------------------------------------------------------ the response

    async def _complete(self, admission: Admission) -> None:
        """Complete the answers, in as many slots as are free."""
        if len(self.answers) == 1:
            await self.answers[0].complete()
            return
        waiting = iter(self.answers)

        async def work() -> None:
            for answer in waiting:
                await answer.complete()

        async def help_out() -> None:
            try:
                await work()
            finally:
                admission.release()

        helpers = [
            asyncio.create_task(help_out())
            for _ in range(admission.take_free(len(self.answers) - 1))
        ]
        try:
            await work()
            await asyncio.gather(*helpers)
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)

    async def _stream(self) -> web.StreamResponse:
        exchange = self._exchange
        try:
            async with asyncio.timeout(self._deadline - monotonic() + _STALLED_SECONDS):
                for index, answer in enumerate(self.answers):
                    await self._send(index, answer)
                usage = used(self.answers) if self._body.include_usage else None
                if usage is not None:
                    self.describe()  # the cost is known only now, after the headers
                    await exchange.send(self._reply.usage_chunk(usage) | {"phi2": self._receipt()})
                return await exchange.end()
        except TimeoutError:  # the client does not read what is sent
            if exchange.request.transport is not None:
                exchange.request.transport.abort()
            raise Refusal(504, "the client did not read the stream", code="timeout") from None

    async def _send(self, index: int, answer: Answer) -> None:
        exchange, reply, offset = self._exchange, self._reply, 0
        begun = False
        async with aclosing(answer.pieces()) as pieces:
            async for text, tokens in pieces:
                if exchange.stream is None:
                    self.first = perf_counter()
                    self.describe()
                shown = self._logprobs(tokens, offset)
                offset += len(text)
                role = self.chat and not begun
                begun = True
                await exchange.send(reply.chunk(text, None, shown, role=role, index=index))
        if exchange.stream is None:
            self.describe()
        last = reply.chunk("", answer.finish, index=index)
        first = [reply.chunk("", role=True, index=index)] if self.chat and not begun else []
        await exchange.send(*first, last)

    @property
    def target(self) -> str | None:
        """The target that was called last, if one was."""
        calls = [answer.call for answer in self.answers if answer.call is not None]
        return calls[-1].target if calls else None

    def describe(self) -> None:
        """Set the headers that tell what was done so far."""
        headers = self._exchange.headers
        calls = [answer.call for answer in self.answers if answer.call is not None]
        targets = dict.fromkeys(call.target for call in calls if call.target is not None)
        if targets:
            headers["x-phi2-target"] = ",".join(targets)
            headers["x-phi2-attempts"] = str(sum(call.attempts for call in calls))
        done = [call.completion for call in calls]
        costs = [one.cost.usd for one in done if one is not None and one.cost is not None]
        if calls and len(costs) == len(calls):
            headers["x-phi2-cost-usd"] = f"{sum(costs):.6g}"

    def _receipt(self) -> dict[str, object]:
        """Return the receipt of a stream."""
        headers = self._exchange.headers
        receipt: dict[str, object] = {
            "target": headers["x-phi2-target"],
            "attempts": int(headers["x-phi2-attempts"]),
        }
        if "x-phi2-cost-usd" in headers:
            receipt["cost_usd"] = float(headers["x-phi2-cost-usd"])
        return receipt

    def _logprobs(
        self, tokens: Sequence[WireToken] | None, offset: int = 0
    ) -> dict[str, object] | None:
        if tokens is None:
            return None
        if self.chat:
            return chat_logprobs(tokens)
        assert isinstance(self._body, CompletionBody)
        return completion_logprobs(tokens, offset, top=bool(self._body.logprobs))


def _with_seed(ask: Ask, choice: int) -> Ask:
    """Return the same prompt for another choice, with a seed of its own."""
    sampling = ask.sampling
    if choice == 0 or sampling is None or sampling.seed is None:
        return ask
    other: Sampling = replace(sampling, seed=(sampling.seed + choice) % 2**63)
    return replace(ask, sampling=other)


def _named(parameter: str, make: Callable[[], Prompt]) -> Prompt:
    """Return a prompt; an error names the parameter that it is from."""
    try:
        return make()
    except InvalidRequest as error:
        error.parameter = error.parameter or parameter
        raise


def _invalid(param: str, message: str, *, code: str = "invalid_value") -> Refusal:
    return Refusal(400, message, code=code, param=param)
