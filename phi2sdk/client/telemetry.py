"""OpenTelemetry spans and metrics of requests: the names, and the class that emits them.

::

    Phi2Client("azure", telemetry=True)                      # names, numbers and failures
    Phi2Client("azure", telemetry=Telemetry(content=True))   # prompts and answers as well

One span covers a request with all its attempts, and is the current span while the call is made, so
that an instrumentation of aiohttp or gRPC adds its spans below it. Its parent is the span that was
current where the request was made, in any thread. Names follow the semantic conventions for
generative AI clients (https://github.com/open-telemetry/semantic-conventions-genai); names that the
conventions do not define begin with ``phi2sdk.``. A client without telemetry does not import this
module.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from time import perf_counter_ns
from typing import TYPE_CHECKING, TypeGuard

import phi2sdk
from phi2sdk.client.policies import leaves
from phi2sdk.completion import Chunk, Count, Event, Request, Retrying, Sent
from phi2sdk.errors import BadResponse, ConfigurationError, Phi2Error
from phi2sdk.fold import Fold
from phi2sdk.text import untrusted

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import TracerProvider

    from phi2sdk.backends.base import Backend

__all__ = ["Telemetry"]

Attribute = str | bool | int | float | list[str]

SCOPE = "phi2sdk"
"""Name of the tracer and of the meter."""

# --------------------------------------------------------------------------- names: conventions

OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_TOP_P = "gen_ai.request.top_p"
REQUEST_TOP_K = "gen_ai.request.top_k"
REQUEST_SEED = "gen_ai.request.seed"
REQUEST_STOP_SEQUENCES = "gen_ai.request.stop_sequences"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_FINISH_REASONS = "gen_ai.response.finish_reasons"
RESPONSE_TIME_TO_FIRST_CHUNK = "gen_ai.response.time_to_first_chunk"
USAGE_INPUT_TOKENS = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ_INPUT_TOKENS = "gen_ai.usage.cache_read.input_tokens"
INPUT_MESSAGES = "gen_ai.input.messages"
OUTPUT_MESSAGES = "gen_ai.output.messages"
TOKEN_TYPE = "gen_ai.token.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
ERROR_TYPE = "error.type"
STATUS_CODE = "http.response.status_code"

OPERATION_DURATION = "gen_ai.client.operation.duration"
TIME_TO_FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
TOKEN_USAGE = "gen_ai.client.token.usage"

SECONDS = [0.01 * 2**n for n in range(14)]
"""Bounds of the histogram buckets of the conventions: 10 ms to 82 s."""
TOKENS = [4**n for n in range(14)]

PROVIDERS: Mapping[str, str] = {"azure": "azure.ai.inference"}
"""Provider names that differ from the names of the conventions."""
FINISH_REASONS: Mapping[str, str] = {"filter": "content_filter"}

# --------------------------------------------------------------------------- names: phi2sdk

TARGET = "phi2sdk.target"
REQUEST_MIN_P = "phi2sdk.request.min_p"
REQUEST_REPETITION_PENALTY = "phi2sdk.request.repetition_penalty"
ATTEMPTS = "phi2sdk.attempts"
ERROR_CODE = "phi2sdk.error.code"
RETRY_EVENT = "phi2sdk.retry"
RETRY_WAIT = "phi2sdk.retry.wait"

CANCELLED = "cancelled"
"""Finish reason of a canceled request, which is not a failure and is in no metric."""


class Telemetry:
    """Emits a span and metrics for each request of the clients that use it.

    Args:
        content: Add prompts, answers, the stops of the prompt format and error messages to the
            spans. They may be long and contain personal data; by default none is emitted.
        tracer_provider: Receives the spans; the provider of the process by default.
        meter_provider: Receives the metrics; the provider of the process by default.

    Raises:
        ConfigurationError: opentelemetry-api is not installed.
    """

    def __init__(
        self,
        *,
        content: bool = False,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        try:
            from opentelemetry import metrics, trace
        except ImportError as error:
            raise ConfigurationError(
                "telemetry needs opentelemetry-api, which is not installed: "
                "python -m pip install 'phi2sdk[telemetry]'"
            ) from error
        self.content = content
        version = phi2sdk.__version__
        self.tracer = trace.get_tracer(SCOPE, version, tracer_provider)
        meter = metrics.get_meter(SCOPE, version, meter_provider)

        def histogram(name: str, unit: str, words: str, bounds: list[float]) -> Histogram:
            return meter.create_histogram(
                name, unit, words, explicit_bucket_boundaries_advisory=bounds
            )

        self.duration = histogram(OPERATION_DURATION, "s", "GenAI operation duration.", SECONDS)
        self.first_chunk = histogram(
            TIME_TO_FIRST_CHUNK, "s", "Time to receive the first chunk.", SECONDS
        )
        self.tokens = histogram(
            TOKEN_USAGE, "{token}", "Number of input and output tokens used.", [*TOKENS]
        )

    def observe(
        self, events: AsyncGenerator[Event, None], request: Request, backend: Backend
    ) -> AsyncGenerator[Event, None]:
        """Pass the events of a request on, and emit its span below the current span."""
        from opentelemetry import context

        return self._observed(events, request, tuple(leaves(backend)), context.get_current())

    async def _observed(
        self,
        events: AsyncGenerator[Event, None],
        request: Request,
        backends: tuple[Backend, ...],
        parent: Context,
    ) -> AsyncGenerator[Event, None]:
        operation = _Operation(self, request, backends, parent)
        try:
            async with aclosing(events):
                while True:
                    # Current only while this waits: at the yield the context is the caller's.
                    with operation.current():
                        event = await anext(events, None)
                    if event is None:
                        break
                    operation.take(event)
                    yield event
        except BaseException as error:
            operation.end(error)
            raise
        operation.end(None)


class _Operation:
    """One request, from the start of its span to the end."""

    def __init__(
        self,
        telemetry: Telemetry,
        request: Request,
        backends: tuple[Backend, ...],
        parent: Context,
    ) -> None:
        from opentelemetry import trace

        self._telemetry = telemetry
        self._request = request
        self._backends = {backend.target: backend for backend in reversed(backends)}
        self._account = Fold(request)
        self._calls = 0
        self._first_ns: int | None = None
        self._begun_ns = perf_counter_ns()
        self._common = _whom(backends[0])
        self._span = telemetry.tracer.start_span(
            _span_name(self._common),
            parent,
            trace.SpanKind.CLIENT,
            {**self._common, **_asked(request, content=telemetry.content)},
        )
        self._context = trace.set_span_in_context(self._span, parent)

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the span current for the calls within the ``with`` block."""
        from opentelemetry import context

        token = context.attach(self._context)
        try:
            yield
        finally:
            context.detach(token)

    def take(self, event: Event) -> None:
        """Record one event."""
        self._account.take(event)
        if isinstance(event, Chunk):
            if self._first_ns is None and event.raw:
                self._first_ns = event.t_ns
        elif isinstance(event, Sent):
            self._calls += 1
            self._turn_to(event.receipt.target)
        elif isinstance(event, Retrying):
            self._span.add_event(
                RETRY_EVENT,
                {
                    TARGET: self._common[TARGET],
                    **_failure(event.error),
                    ATTEMPTS: self._calls,
                    RETRY_WAIT: event.wait,
                },
            )

    def end(self, error: BaseException | None) -> None:
        """End the span of a request that was answered, failed, or was canceled."""
        account = self._account
        if error is None and account.done is None:
            error = BadResponse("the stream ended without a final event")
        if isinstance(error, Phi2Error):
            account.fail(error, perf_counter_ns())
        seconds = (perf_counter_ns() - self._begun_ns) / 1e9
        given_up = isinstance(error, GeneratorExit | asyncio.CancelledError)
        self._span.set_attribute(ATTEMPTS, self._calls)
        if self._telemetry.content:
            reason = CANCELLED if given_up else "error" if error else self._finish_reason()
            said = _message("assistant", "".join(account.text), finish_reason=reason or "stop")
            self._span.set_attribute(OUTPUT_MESSAGES, said)
        if error is None:
            self._answered(seconds)
        elif given_up:
            self._span.set_attribute(RESPONSE_FINISH_REASONS, [CANCELLED])
        else:
            self._failed(error, seconds)
        self._span.end()

    def _finish_reason(self) -> str | None:
        reason = self._account.done.finish_reason if self._account.done else None
        return FINISH_REASONS.get(reason, reason) if reason else None

    def _turn_to(self, target: str) -> None:
        """Set the attributes of the target that is called now; a fallback changes it."""
        backend = self._backends.get(target)
        if backend is None or (target == self._common[TARGET] and SERVER_ADDRESS in self._common):
            return
        self._common = _whom(backend)
        self._span.update_name(_span_name(self._common))
        self._span.set_attributes(self._common)

    def _answered(self, seconds: float) -> None:
        completion = self._account.completion()
        reported: dict[str, Attribute] = {}
        if reason := self._finish_reason():
            reported[RESPONSE_FINISH_REASONS] = [reason]
        if completion.model:
            self._common[RESPONSE_MODEL] = untrusted(completion.model)
        if completion.request_id:
            reported[RESPONSE_ID] = untrusted(completion.request_id)
        usage = completion.usage
        for name, kind, count in (
            (USAGE_INPUT_TOKENS, "input", usage.input),
            (USAGE_OUTPUT_TOKENS, "output", usage.output_billed),
            (USAGE_CACHE_READ_INPUT_TOKENS, "", usage.cached),
        ):
            if _counted(count):
                reported[name] = count.value
                if kind:
                    labels = {**self._common, TOKEN_TYPE: kind}
                    self._telemetry.tokens.record(count.value, labels)
        sent = self._account.sent
        if self._first_ns is not None and sent is not None and sent.streamed:
            waited = (self._first_ns - self._begun_ns) / 1e9
            reported[RESPONSE_TIME_TO_FIRST_CHUNK] = waited
            self._telemetry.first_chunk.record(waited, self._common)
        self._span.set_attributes({**self._common, **reported})
        self._telemetry.duration.record(seconds, self._common)

    def _failed(self, error: BaseException, seconds: float) -> None:
        from opentelemetry.trace import StatusCode

        failure = _failure(error)
        self._span.set_attributes(failure)
        words = error.message if self._telemetry.content and isinstance(error, Phi2Error) else None
        self._span.set_status(StatusCode.ERROR, words)
        labels = {**self._common, ERROR_TYPE: failure[ERROR_TYPE]}
        self._telemetry.duration.record(seconds, labels)


def _whom(backend: Backend) -> dict[str, Attribute]:
    """Return the attributes that spans and metrics share: operation, provider and model."""
    common: dict[str, Attribute] = {
        OPERATION_NAME: "chat" if backend.capabilities.wraps else "text_completion",
        PROVIDER_NAME: PROVIDERS.get(backend.provider, backend.provider),
        TARGET: backend.target,
    }
    if model := backend.model_name:
        common[REQUEST_MODEL] = model
    if server := backend.server:
        common[SERVER_ADDRESS], common[SERVER_PORT] = server
    return common


def _span_name(common: Mapping[str, Attribute]) -> str:
    return f"{common[OPERATION_NAME]} {common.get(REQUEST_MODEL, '')}".rstrip()


def _asked(request: Request, *, content: bool) -> dict[str, Attribute]:
    """Return the attributes of the request: its sampling, and its prompt if content is emitted."""
    sampling = request.sampling
    asked: dict[str, Attribute] = {
        REQUEST_MAX_TOKENS: sampling.max_tokens,
        REQUEST_TEMPERATURE: float(sampling.temperature),
        REQUEST_TOP_P: float(sampling.top_p),
    }
    if request.stream:
        asked[REQUEST_STREAM] = True
    if sampling.top_k is not None:
        asked[REQUEST_TOP_K] = sampling.top_k
    if sampling.seed is not None:
        asked[REQUEST_SEED] = sampling.seed
    if not sampling.is_neutral("min_p"):
        asked[REQUEST_MIN_P] = float(sampling.min_p)
    if not sampling.is_neutral("repetition_penalty"):
        asked[REQUEST_REPETITION_PENALTY] = float(sampling.repetition_penalty)
    # The stops of a chat format contain the names of its speakers.
    stops = [*sampling.stop, *(request.prompt.stop if content else ())]
    if stops:
        asked[REQUEST_STOP_SEQUENCES] = stops
    if content:
        asked[INPUT_MESSAGES] = _message("user", request.prompt.text)
    return asked


def _message(role: str, text: str, **more: str) -> str:
    """Return one message in the JSON schema of the conventions."""
    return json.dumps([{"role": role, "parts": [{"type": "text", "content": text}], **more}])


def _failure(error: BaseException) -> dict[str, Attribute]:
    kind = type(error)
    if not isinstance(error, Phi2Error):
        return {ERROR_TYPE: f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")}
    found: dict[str, Attribute] = {ERROR_TYPE: kind.__name__}
    if error.status is not None:
        found[STATUS_CODE] = error.status
    if error.code is not None:
        found[ERROR_CODE] = error.code
    return found


def _counted(count: Count | None) -> TypeGuard[Count]:
    """Return whether a count is exact; the conventions do not permit estimates."""
    return count is not None and not count.estimated
