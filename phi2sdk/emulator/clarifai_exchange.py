"""One Clarifai RPC with its record, its status and its billed tokens."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Any, Self

from clarifai_grpc.grpc.api.status import status_code_pb2, status_pb2

from phi2sdk.emulator.clock import Schedule
from phi2sdk.emulator.engine import Decoding, Engine
from phi2sdk.emulator.exchange import MASK, Call, Exchange, ServerState


def status(code: int, details: str = "") -> Any:
    """Return Clarifai's status message for a code; unknown codes are passed unchanged."""
    known = code in status_code_pb2.StatusCode.values()
    name = status_code_pb2.StatusCode.Name(code) if known else str(code)
    return status_pb2.Status(code=code, description=name, details=details)


class StatusRefusal(Exception):
    """A request that is answered with a Clarifai status other than success."""

    def __init__(self, code: int, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


@dataclass(frozen=True, slots=True)
class ModelAddress:
    """The address of a model: ``https://clarifai.com/<user>/<app>/models/<model>``."""

    user: str = "microsoft"
    app: str = "text-generation"
    model: str = "phi-2"

    @property
    def url(self) -> str:
        """Return the URL of the model."""
        return f"https://clarifai.com/{self.user}/{self.app}/models/{self.model}"


class ClarifaiState(ServerState):
    """The state of the emulated Clarifai API.

    Attributes:
        address: The only model of this emulator.
    """

    def __init__(self, engine: Engine, *, key: str, schedule: Schedule) -> None:
        super().__init__(engine, key=key, schedule=schedule)
        self.address = ModelAddress()


class ClarifaiExchange(Exchange):
    """One RPC, which is recorded when it arrives and closed when it ends."""

    def __init__(
        self, server: ClarifaiState, method: str, request: Any, context: Any, *, generating: bool
    ) -> None:
        metadata = [(name, str(value)) for name, value in context.invocation_metadata()]
        self.server = server
        self.request = request
        self.context = context
        call = Call(
            path=method,
            method="gRPC",
            headers={name: MASK if name == "authorization" else value for name, value in metadata},
            authorized=("authorization", f"Key {server.key}") in metadata,
            t_received_ns=time.perf_counter_ns(),
        )
        super().__init__(server, call)
        if call.authorized:
            call.keep(request.SerializeToString(), request)
        server.meter.requests += 1
        self.fault = server.faults.take(method, generating=generating)
        if self.fault is not None:
            self.call.fault = self.fault.kind
        server.calls.append(self.call)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            self.call.cancelled = not self.server.stopping
        self.call.ended.set()

    def check(self, owner: Any, model_id: str) -> None:
        """Refuse a wrong key, and then an unknown model."""
        address = self.server.address
        if not self.call.authorized:
            raise StatusRefusal(status_code_pb2.CONN_KEY_NOT_FOUND, "the key is not known here")
        if (owner.user_id, owner.app_id, model_id) != (address.user, address.app, address.model):
            raise StatusRefusal(status_code_pb2.MODEL_DOES_NOT_EXIST, "there is no such model")

    def understood(self, prompt: str, decoding: Decoding) -> None:
        """Record the prompt and the parameters that the engine receives."""
        self.call.prompt, self.call.decoding = prompt, decoding

    def answered(self, code: int, details: str = "") -> Any:
        """Return the status message for ``code``, and record it on the call."""
        self.call.status = code
        return status(code, details)
