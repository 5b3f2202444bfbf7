"""The reference server for Clarifai's protocol: gRPC, streaming outputs on a known schedule.

``python -m phi2sdk.measure.reference_server_grpc SCENARIO`` prints its port. Its log is what
``PostModelOutputs`` answers, as JSON text.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import asdict
from time import perf_counter_ns
from typing import Any

import grpc
from clarifai_grpc.grpc.api import resources_pb2, service_pb2
from clarifai_grpc.grpc.api.status import status_code_pb2, status_pb2

from phi2sdk.measure.reference_server import Answered, Scenario, _until, main

_OK = status_pb2.Status(code=status_code_pb2.SUCCESS)
_SERVICE = "clarifai.api.V2"


class _Served:
    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.log: list[Answered] = []

    async def stream(self, request: Any, context: Any) -> AsyncIterator[Any]:
        answered = Answered(_prompt(request), perf_counter_ns())
        self.log.append(answered)
        for write in range(self.scenario.writes):
            await _until(answered.read_ns, self.scenario.due(write))
            answered.write_ns.append(perf_counter_ns())
            yield _outputs(f" w{write}", write + 1)

    async def log_of(self, request: Any, context: Any) -> Any:
        log, self.log = self.log, []
        return _outputs(json.dumps([asdict(answered) for answered in log]), 1)


async def serve(scenario: Scenario) -> tuple[Any, int]:
    """Listen on a free port of the loopback: the server and its port."""
    served = _Served(scenario)
    kinds = {
        "request_deserializer": service_pb2.PostModelOutputsRequest.FromString,
        "response_serializer": service_pb2.MultiOutputResponse.SerializeToString,
    }
    handler = grpc.method_handlers_generic_handler(
        _SERVICE,
        {
            "GenerateModelOutputs": grpc.unary_stream_rpc_method_handler(served.stream, **kinds),
            "PostModelOutputs": grpc.unary_unary_rpc_method_handler(served.log_of, **kinds),
        },
    )
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, port


def _outputs(text: str, tokens: int) -> Any:
    data = resources_pb2.Data(text=resources_pb2.Text(raw=text))
    output = resources_pb2.Output(
        id="reference", status=_OK, data=data, prompt_tokens=8, completion_tokens=tokens
    )
    return service_pb2.MultiOutputResponse(status=_OK, outputs=[output])


def _prompt(request: Any) -> str:
    return str(request.inputs[0].data.text.raw) if request.inputs else ""


if __name__ == "__main__":
    asyncio.run(main(serve))
