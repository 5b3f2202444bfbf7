"""Every failure of Clarifai has an error class, a code and a time limit, and no key in it."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import grpc
import grpc.aio
import pytest
from clarifai_grpc.grpc.api.status import status_code_pb2

from phi2sdk.backends.clarifai import ClarifaiBackend
from phi2sdk.backends.clarifai_status import (
    BY_GROUP,
    BY_RPC_CODE,
    BY_STATUS,
    error_for_status,
    kind_of,
)
from phi2sdk.backends.clarifai_transport import Endpoint, GrpcTransport
from phi2sdk.completion import Chunk
from phi2sdk.emulator import Emulator, Fault
from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    ConfigurationError,
    ConnectionFailed,
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    PermissionDenied,
    Phi2Error,
    ProviderFault,
    RateLimited,
    Timeout,
    TransientError,
)
from phi2sdk.secret import Secret
from phi2sdk.transport.http import Timeouts
from phi2sdk.transport.redaction import Redactor
from tests.backends.clarifai_server import (
    ANSWER,
    PAT,
    RawServer,
    answer,
    backend_of,
    both_ways,
    emulator,
    ended,
    failure,
    message,
    raw_server,
    request,
)


@pytest.fixture
async def provider() -> AsyncIterator[Emulator]:
    async with emulator() as running:
        yield running


@pytest.fixture
async def backend(provider: Emulator) -> AsyncIterator[ClarifaiBackend]:
    async with backend_of(provider.clarifai.url) as ready:
        yield ready


@pytest.fixture
async def raw() -> AsyncIterator[RawServer]:
    async with raw_server() as served:
        yield served


async def pieces_until_failure(backend: ClarifaiBackend) -> tuple[list[str], Phi2Error]:
    pieces: list[str] = []
    try:
        async for event in backend.stream(request()):
            if isinstance(event, Chunk):
                pieces.append(event.raw)
    except Phi2Error as error:
        return pieces, error
    raise AssertionError("the stream did not fail")


async def drain(messages: AsyncGenerator[Any, None]) -> None:
    async with aclosing(messages):
        async for _ in messages:
            pass


def _codes() -> list[int]:
    groups = [code for group, _ in BY_GROUP for code in (group.start, group.stop - 1)]
    return sorted({*BY_STATUS, *groups, 24150, 424242})


@pytest.mark.parametrize("code", _codes())
async def test_each_status_becomes_its_error_with_the_code_shown(
    backend: ClarifaiBackend, provider: Emulator, code: int
) -> None:
    kind = kind_of(code)
    for stream, where in ((True, "before_headers"), (False, "before_headers"), (True, "output")):
        provider.clarifai.faults.push(Fault("clarifai", status=code, where=where))  # type: ignore[arg-type]
        error = await failure(backend, request(stream=stream))
        # A reply that only says 'failure' leaves the reason to its output.
        assert (type(error), error.code, error.provider) == (kind, str(code), "clarifai")
        assert error.retryable == issubclass(kind, TransientError)
    assert len(provider.clarifai.calls) == 3, "one call a request: nothing is retried down here"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (10020, ProviderFault),
        (10030, TransientError),
        (11001, AuthenticationFailed),
        (11002, AuthenticationFailed),
        (11008, AuthenticationFailed),
        (11009, AuthenticationFailed),
        (11200, AuthenticationFailed),
        (11007, PermissionDenied),
        (11003, RateLimited),
        (11005, RateLimited),
        (11004, PermissionDenied),
        (11006, PermissionDenied),
        (11100, InvalidRequest),
        (11102, InvalidRequest),
        (40001, InvalidRequest),
        (21200, ModelNotFound),
        (21353, ModelNotFound),
        (21201, PermissionDenied),
        (21202, InvalidRequest),
        (21313, ProviderFault),
        (21351, ModelLoading),
        (21352, ModelLoading),
        (21355, ModelLoading),
        (21354, TransientError),
        (25604, TransientError),
        (98009, Timeout),
        (98014, TransientError),
        (98004, ProviderFault),
        (99009, ProviderFault),
        (424242, ProviderFault),
    ],
)
def test_the_table_says_what_a_person_would(code: int, kind: type[Phi2Error]) -> None:
    assert issubclass(kind_of(code), kind)


def test_the_table_knows_only_statuses_that_exist() -> None:
    known = set(status_code_pb2.StatusCode.values())
    assert set(BY_STATUS) <= known


def test_a_failure_tells_request_id_words_and_wait() -> None:
    reply = message(code=21351)
    reply.status.description = "Model\ndeploying"
    reply.status.details = f"asked with {PAT}\x1b[31m"
    reply.status.req_id = "req-17"
    reply.status.time_remaining = 12
    error = error_for_status(reply, Redactor((Secret(PAT),)))
    assert isinstance(error, ModelLoading)
    assert error.message == "Model deploying: asked with *** [31m"
    assert (error.request_id, error.retry_after) == ("req-17", 12.0)


@pytest.mark.parametrize("code", BY_RPC_CODE, ids=lambda code: code.name)
@both_ways
async def test_each_grpc_code_becomes_its_error(
    backend: ClarifaiBackend, provider: Emulator, code: grpc.StatusCode, stream: bool
) -> None:
    provider.clarifai.faults.push(Fault("grpc", code=code.name))
    error = await failure(backend, request(stream=stream))
    assert (type(error), error.code) == (BY_RPC_CODE[code], code.name)
    assert len(provider.clarifai.calls) == 1, "gRPC's own retries are off"


def test_every_grpc_code_has_its_line() -> None:
    assert set(BY_RPC_CODE) == set(grpc.StatusCode) - {grpc.StatusCode.OK}
    assert all(not issubclass(kind, ConfigurationError) for kind in BY_RPC_CODE.values())


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("grpc", code="UNAVAILABLE", after=2), ConnectionFailed),
        (Fault("error_event", after=2), ProviderFault),
        (Fault("garbage", form="null", after=2), BadResponse),
    ],
)
async def test_a_stream_that_breaks_fails_after_the_text_it_delivered(
    backend: ClarifaiBackend, provider: Emulator, fault: Fault, kind: type[Phi2Error]
) -> None:
    provider.clarifai.faults.push(fault)
    pieces, error = await pieces_until_failure(backend)
    assert type(error) is kind
    assert len(pieces) == 2
    assert ANSWER.startswith("".join(pieces))


async def test_a_wrong_key_is_an_authentication_failure(provider: Emulator) -> None:
    async with backend_of(provider.clarifai.url, pat=Secret("not-the-key")) as backend:
        error = await failure(backend, request())
        assert isinstance(error, AuthenticationFailed)
        assert error.code == "11009"
        with pytest.raises(AuthenticationFailed):
            await backend.check()


async def test_a_model_that_is_not_there_is_not_found(provider: Emulator) -> None:
    async with backend_of(provider.clarifai.url, model="somebody/app/other") as backend:
        assert isinstance(await failure(backend, request()), ModelNotFound)
        with pytest.raises(ModelNotFound):
            await backend.check()


async def test_check_names_the_model_and_its_version(backend: ClarifaiBackend) -> None:
    assert await backend.check() == "has microsoft/text-generation/phi-2, version emulated"


@both_ways
async def test_a_closed_port_is_a_failed_connection(stream: bool) -> None:
    async with emulator() as provider:
        url = provider.clarifai.url
    async with backend_of(url) as backend:
        error = await failure(backend, request(stream=stream))
    assert isinstance(error, ConnectionFailed)
    assert error.code == "UNAVAILABLE"


async def test_https_means_tls(provider: Emulator) -> None:
    async with backend_of(f"https://{provider.clarifai.url}") as backend:
        assert isinstance(await failure(backend, request()), ConnectionFailed)
    assert not provider.clarifai.calls, "the key did not go out in clear"


@pytest.mark.parametrize(
    ("timeouts", "timeout"),
    [
        (Timeouts(attempt=0.2), None),
        (Timeouts(attempt=30), 0.2),
        (Timeouts(attempt=30), -1.0),
        (Timeouts(idle=0.2), None),
    ],
    ids=["attempt", "request", "no time left", "idle"],
)
@both_ways
async def test_a_server_that_hangs_is_left_in_time(
    provider: Emulator, timeouts: Timeouts, timeout: float | None, stream: bool
) -> None:
    provider.clarifai.faults.push(Fault("hang"))
    async with backend_of(provider.clarifai.url, timeouts=timeouts) as backend:
        began = time.monotonic()
        error = await failure(backend, request(stream=stream, timeout=timeout))
        assert time.monotonic() - began < 5
    assert isinstance(error, Timeout)


@pytest.mark.parametrize("limit", ["attempt", "idle"])
async def test_a_stream_that_falls_silent_is_left_in_time(provider: Emulator, limit: str) -> None:
    provider.clarifai.faults.push(Fault("hang", after=2))
    async with backend_of(provider.clarifai.url, timeouts=Timeouts(**{limit: 0.3})) as backend:
        pieces, error = await pieces_until_failure(backend)
    assert isinstance(error, Timeout)
    assert len(pieces) == 2
    assert (await ended(provider)).cancelled


async def test_an_endless_stream_is_bounded(provider: Emulator) -> None:
    provider.clarifai.faults.push(Fault("endless", after=1))
    wire = GrpcTransport(Endpoint.parse(provider.clarifai.url), Secret(PAT), Timeouts(), 20_000)
    async with backend_of(provider.clarifai.url) as shown:
        body = shown._message(request(), shown.prepare(request())[0]).SerializeToString()
    with pytest.raises(BadResponse, match="longer than 20000 bytes"):
        await drain(wire.stream("GenerateModelOutputs", body, 10))
    await wire.close()
    assert (await ended(provider)).cancelled


@both_ways
async def test_a_message_over_the_limit_is_not_taken(raw: RawServer, stream: bool) -> None:
    raw.replies = [message("x" * 70_000).SerializeToString()]
    wire = GrpcTransport(Endpoint.parse(raw.url), Secret(PAT), Timeouts(), 65_536)
    with pytest.raises(Phi2Error) as caught:
        await drain(wire.stream("GenerateModelOutputs" if stream else "PostModelOutputs", b"", 10))
    assert caught.value.code == "RESOURCE_EXHAUSTED"
    await wire.close()


@pytest.mark.parametrize(
    "fault",
    [
        None,
        Fault("grpc", code="UNAUTHENTICATED", body=f"bad key {PAT}"),
        Fault("grpc", code="INTERNAL", body=f"bad key {PAT}", after=1),
        Fault("clarifai", status=11008, body=f"bad key {PAT}"),
        Fault("clarifai", status=21313, body=f"bad key {PAT}", where="output"),
        Fault("hang"),
        Fault("garbage", form="null"),
    ],
    ids=lambda fault: fault.kind if fault else "none",
)
@both_ways
async def test_the_key_is_in_no_error_log_or_repr(
    provider: Emulator, fault: Fault | None, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    async with backend_of(provider.clarifai.url, timeouts=Timeouts(attempt=0.3)) as backend:
        if fault:
            provider.clarifai.faults.push(fault)
        try:
            shown.append(repr(await answer(backend, request(stream=stream))))
        except Phi2Error as error:
            shown += [str(error), repr(error), repr(vars(error)), traceback.format_exc()]
            shown += [repr(error.__cause__), repr(error.__context__)]
        shown += [repr(backend), str(backend), repr(vars(backend)), repr(vars(backend._wire))]
    shown += [record.getMessage() for record in caplog.records]
    assert PAT not in "\n".join(shown)
