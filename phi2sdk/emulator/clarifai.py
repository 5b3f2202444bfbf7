"""An emulator of Clarifai over gRPC: PostModelOutputs, GenerateModelOutputs and GetModel."""

from __future__ import annotations

import math
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import grpc
from clarifai_grpc.grpc.api import resources_pb2, service_pb2, service_pb2_grpc
from clarifai_grpc.grpc.api.status import status_code_pb2
from google.protobuf.json_format import MessageToDict

from phi2sdk.emulator.clarifai_exchange import (
    ClarifaiExchange,
    ClarifaiState,
    ModelAddress,
    StatusRefusal,
    status,
)
from phi2sdk.emulator.clarifai_faults import play_before, play_in_stream
from phi2sdk.emulator.clock import Schedule
from phi2sdk.emulator.engine import Decoding, Engine
from phi2sdk.emulator.generation import complete, removing_stops

__all__ = ["ClarifaiServer", "ModelAddress"]

_MAX_INPUTS = 128
_DEFAULT_PARAMS = {"temperature": 0.7, "max_tokens": 256.0, "top_p": 0.95, "top_k": 40.0}


class ClarifaiServer(ClarifaiState):
    """The emulated Clarifai API; ``url`` is ``host:port``.

    Attributes:
        address: The only model of this emulator.
        known_params: The inference parameters that the model accepts; other parameters are refused
            with MODEL_INVALID_ARGUMENT.
        defaults: The values of parameters that a request leaves out.
    """

    provider = "clarifai"

    def __init__(self, engine: Engine, *, key: str, schedule: Schedule) -> None:
        super().__init__(engine, key=key, schedule=schedule)
        self.known_params = frozenset(_DEFAULT_PARAMS)
        self.defaults = dict(_DEFAULT_PARAMS)
        self._server: Any = None
        self._url: str | None = None

    @property
    def url(self) -> str:
        """Return ``host:port`` for an insecure channel; Clarifai's SDK needs ``http://`` too."""
        if self._url is None:
            raise RuntimeError("the clarifai emulator is not running")
        return self._url

    async def start(self, host: str, port: int) -> None:
        """Start to listen. Port 0 takes a free port."""
        self.stopping = False
        self._server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        service_pb2_grpc.add_V2Servicer_to_server(_servicer(self), self._server)
        name = f"[{host}]" if ":" in host else host
        try:
            bound = self._server.add_insecure_port(f"{name}:{port}")
        except RuntimeError as error:
            self._server = None
            raise OSError(f"cannot bind {name}:{port}") from error
        self._url = f"{name}:{bound}"
        await self._server.start()

    async def stop(self) -> None:
        """Abort the calls in progress and close the port."""
        self.stopping = True
        if self._server is not None:
            await self._server.stop(grace=None)
            self._server = None

    async def get_model(self, request: Any, context: Any) -> Any:
        """Answer GetModel, which Clarifai's SDK calls before its first prediction."""
        exchange = ClarifaiExchange(self, "GetModel", request, context, generating=False)
        async with exchange:
            reply = await play_before(exchange, service_pb2.SingleModelResponse)
            if reply is None:
                try:
                    exchange.check(request.user_app_id, request.model_id)
                    reply = service_pb2.SingleModelResponse(
                        status=exchange.answered(status_code_pb2.SUCCESS), model=self.model_info()
                    )
                except StatusRefusal as refusal:
                    reply = service_pb2.SingleModelResponse(
                        status=exchange.answered(refusal.code, refusal.details)
                    )
            return reply

    async def post_outputs(self, request: Any, context: Any) -> Any:
        """Answer PostModelOutputs: one response with the answers to all inputs."""
        exchange = ClarifaiExchange(self, "PostModelOutputs", request, context, generating=True)
        async with exchange:
            reply = await play_before(exchange, service_pb2.MultiOutputResponse)
            return await self._predict(exchange) if reply is None else reply

    async def generate_outputs(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:
        """Answer GenerateModelOutputs: a stream with the answer to one input."""
        exchange = ClarifaiExchange(self, "GenerateModelOutputs", request, context, generating=True)
        async with exchange:
            reply = await play_before(exchange, service_pb2.MultiOutputResponse)
            if reply is not None:
                yield reply
                return
            async with aclosing(play_in_stream(exchange, self._pieces(exchange))) as messages:
                async for message, characters in messages:
                    if characters:
                        exchange.call.mark_sent(characters)
                    yield message

    def model_info(self) -> Any:
        """Return the model in the form of GetModel."""
        return resources_pb2.Model(
            id=self.address.model,
            name=self.address.model,
            user_id=self.address.user,
            app_id=self.address.app,
            model_type_id="text-to-text",
            model_version=resources_pb2.ModelVersion(
                id="emulated",
                app_id=self.address.app,
                user_id=self.address.user,
                status=status(status_code_pb2.MODEL_TRAINED),
            ),
        )

    async def _predict(self, exchange: ClarifaiExchange) -> Any:
        request = exchange.request
        try:
            exchange.check(request.user_app_id, request.model_id)
            decoding = self._decoding(request)
            prompts = [self._prompt(one, decoding) for one in _inputs(request)]
            outputs, prompt_tokens, count = [], 0, 0
            for given, prompt in zip(request.inputs, prompts, strict=True):
                exchange.understood(prompt, decoding)
                answer = await complete(removing_stops(self.engine, prompt, decoding))
                prompt_tokens += self.engine.count(prompt)
                count += answer.count
                output = self._output(answer.text, given)
                output.prompt_tokens = self.engine.count(prompt)
                output.completion_tokens = answer.count
                outputs.append(output)
                exchange.bill(prompt_tokens, count, answer.finish)
        except StatusRefusal as refusal:
            return service_pb2.MultiOutputResponse(
                status=exchange.answered(refusal.code, refusal.details)
            )
        except (LookupError, RuntimeError) as broken:
            code = status_code_pb2.MODEL_PREDICTION_FAILED
            return service_pb2.MultiOutputResponse(status=exchange.answered(code, str(broken)))
        await exchange.pace.until(count - 1)
        exchange.call.mark_sent(sum(len(output.data.text.raw) for output in outputs))
        return service_pb2.MultiOutputResponse(
            status=exchange.answered(status_code_pb2.SUCCESS), outputs=outputs
        )

    async def _pieces(self, exchange: ClarifaiExchange) -> AsyncGenerator[tuple[Any, int], None]:
        request = exchange.request
        try:
            exchange.check(request.user_app_id, request.model_id)
            decoding = self._decoding(request)
            inputs = _inputs(request)
            if len(inputs) > 1:
                raise StatusRefusal(
                    status_code_pb2.CONN_INVALID_REQUEST, "a stream takes one input"
                )
            prompt = self._prompt(inputs[0], decoding)
            exchange.understood(prompt, decoding)
            prompt_tokens, count = self.engine.count(prompt), 0
            steps = removing_stops(self.engine, prompt, decoding)
            async with aclosing(exchange.pace.writes(steps)) as writes:
                async for group in writes:
                    count += len(group)
                    finish = group[-1].finish
                    text = "".join(step.text for step in group)
                    output = self._output(text, inputs[0])
                    exchange.bill(prompt_tokens, count, finish or "")
                    if finish is not None:
                        output.prompt_tokens, output.completion_tokens = prompt_tokens, count
                    ok = exchange.answered(status_code_pb2.SUCCESS)
                    yield service_pb2.MultiOutputResponse(status=ok, outputs=[output]), len(text)
        except StatusRefusal as refusal:
            refused = exchange.answered(refusal.code, refusal.details)
            yield service_pb2.MultiOutputResponse(status=refused), 0
        except (LookupError, RuntimeError) as broken:
            failed = exchange.answered(status_code_pb2.MODEL_PREDICTION_FAILED, str(broken))
            yield service_pb2.MultiOutputResponse(status=failed), 0

    def _output(self, text: str, given: Any) -> Any:
        output = resources_pb2.Output(
            id=uuid.uuid4().hex,
            status=status(status_code_pb2.SUCCESS),
            model=self.model_info(),
            input=given,
            data=resources_pb2.Data(text=resources_pb2.Text(raw=text)),
        )
        output.created_at.GetCurrentTime()
        return output

    def _prompt(self, one: Any, decoding: Decoding) -> str:
        prompt: str = one.data.text.raw
        if not prompt:
            raise StatusRefusal(status_code_pb2.MODEL_INVALID_ARGUMENT, "an input has no text")
        length = self.engine.count(prompt)
        if length + decoding.max_tokens > self.engine.context_length:
            raise StatusRefusal(
                status_code_pb2.MODEL_INVALID_ARGUMENT,
                f"{length} tokens and max_tokens {decoding.max_tokens} do not fit into the context",
            )
        return prompt

    def _decoding(self, request: Any) -> Decoding:
        try:
            params = MessageToDict(request.model.model_version.output_info.params)
        except ValueError:  # JSON has no such number
            raise _no_number("a parameter") from None
        unknown = sorted(set(params) - self.known_params)
        if unknown:
            raise StatusRefusal(
                status_code_pb2.MODEL_INVALID_ARGUMENT, f"the model has no parameter {unknown[0]}"
            )
        stops = params.pop("stop", ())
        numbers = {**self.defaults, **{name: _number(name, params[name]) for name in params}}
        top_k = int(numbers.get("top_k", 0))
        seed = numbers.get("seed")
        decoding = Decoding(
            max_tokens=int(numbers["max_tokens"]),
            temperature=numbers["temperature"],
            top_p=numbers["top_p"],
            top_k=top_k if top_k > 0 else None,
            min_p=numbers.get("min_p", 0.0),
            repetition_penalty=numbers.get("repetition_penalty", 1.0),
            seed=int(seed) if seed is not None else None,
            stop=(stops,) if isinstance(stops, str) else tuple(stops),
        )
        good = decoding.max_tokens >= 1 and decoding.temperature >= 0 and 0 < decoding.top_p <= 1
        if not good:
            raise StatusRefusal(
                status_code_pb2.MODEL_INVALID_ARGUMENT, "a parameter is out of its range"
            )
        return decoding


def _inputs(request: Any) -> list[Any]:
    inputs = list(request.inputs)
    if not 1 <= len(inputs) <= _MAX_INPUTS:
        raise StatusRefusal(
            status_code_pb2.CONN_INVALID_REQUEST, f"1 to {_MAX_INPUTS} inputs, given {len(inputs)}"
        )
    return inputs


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise _no_number(name)
    try:
        number = float(value)
    except ValueError:
        raise _no_number(name) from None
    if not math.isfinite(number):
        raise _no_number(name)
    return number


def _no_number(name: str) -> StatusRefusal:
    return StatusRefusal(status_code_pb2.MODEL_INVALID_ARGUMENT, f"{name} must be a number")


def _servicer(server: ClarifaiServer) -> Any:
    class Servicer(service_pb2_grpc.V2Servicer):  # type: ignore[misc]
        GetModel = staticmethod(server.get_model)
        PostModelOutputs = staticmethod(server.post_outputs)
        GenerateModelOutputs = staticmethod(server.generate_outputs)

    return Servicer()
