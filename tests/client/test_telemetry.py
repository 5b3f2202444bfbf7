"""Spans and metrics of OpenTelemetry, read from its in-memory exporters."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics
from opentelemetry.semconv.attributes import error_attributes, http_attributes, server_attributes
from opentelemetry.trace import SpanKind, StatusCode

from phi2sdk import AsyncPhi2Client, Phi2Client, prompts
from phi2sdk.backends.base import Backend
from phi2sdk.client import telemetry
from phi2sdk.client.policies import Fallback, Retry
from phi2sdk.client.telemetry import Telemetry
from phi2sdk.completion import Event, Request
from phi2sdk.emulator import Fault
from phi2sdk.errors import (
    ConfigurationError,
    Overloaded,
    Phi2Error,
    ProviderFault,
    UnsupportedParameter,
)
from phi2sdk.testing import Phi2Emulator
from tests.scripted import ScriptedBackend

ANSWER: list[Any] = ["Light", " guides ships."]
SECRET_PROMPT = "Tell nobody of the red door."


@dataclass
class Seen:
    """The in-memory exporters, with the spans and metrics that they received."""

    spans: InMemorySpanExporter
    reader: InMemoryMetricReader
    tracers: TracerProvider
    meters: MeterProvider

    def telemetry(self, **options: Any) -> Telemetry:
        return Telemetry(tracer_provider=self.tracers, meter_provider=self.meters, **options)

    @property
    def tracer(self) -> trace.Tracer:
        return self.tracers.get_tracer("application")

    @property
    def ended(self) -> list[ReadableSpan]:
        """Our spans, in the order of their ends."""
        scope = telemetry.SCOPE
        return [s for s in self.spans.get_finished_spans() if s.instrumentation_scope.name == scope]  # type: ignore[union-attr]

    def one(self) -> ReadableSpan:
        (span,) = self.ended
        return span

    def points(self, metric: str) -> list[HistogramDataPoint]:
        found = self.reader.get_metrics_data()
        if found is None:
            return []
        return [
            point  # type: ignore[misc]
            for resource in found.resource_metrics
            for scope in resource.scope_metrics
            for one in scope.metrics
            if one.name == metric
            for point in one.data.data_points
        ]


@pytest.fixture
def seen() -> Iterator[Seen]:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers, meters = TracerProvider(shutdown_on_exit=False), MeterProvider([reader])
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    yield Seen(spans, reader, tracers, meters)
    tracers.shutdown()
    meters.shutdown()


def attributes(span: ReadableSpan) -> Mapping[str, Any]:
    assert span.attributes is not None
    return span.attributes


def span_id(span: ReadableSpan | trace.Span) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def parents(spans: Iterable[ReadableSpan]) -> set[int | None]:
    return {span.parent and span.parent.span_id for span in spans}


def retrying(*scripts: list[Any]) -> Retry:
    return Retry(ScriptedBackend(*scripts), base=0.0)


def client(seen: Seen, backend: Backend, **options: Any) -> AsyncPhi2Client:
    phi = AsyncPhi2Client(backend, telemetry=seen.telemetry(**options))
    phi.backend = backend
    return phi


# ------------------------------------------------------------------ names


def test_every_name_of_the_conventions_is_theirs() -> None:
    known = {
        value
        for module in (
            gen_ai_attributes,
            gen_ai_metrics,
            server_attributes,
            error_attributes,
            http_attributes,
        )
        for value in vars(module).values()
        if isinstance(value, str)
    }
    ours = {
        value
        for name, value in vars(telemetry).items()
        if name.isupper() and isinstance(value, str) and "." in value
    }
    assert len(ours) > 25
    assert {name for name in ours if not name.startswith("phi2sdk.")} <= known
    providers = {one.value for one in gen_ai_attributes.GenAiProviderNameValues}
    assert set(telemetry.PROVIDERS.values()) <= providers
    operations = {one.value for one in gen_ai_attributes.GenAiOperationNameValues}
    assert {"chat", "text_completion"} <= operations


def test_buckets_are_those_of_the_conventions() -> None:
    assert [round(bound, 2) for bound in telemetry.SECONDS] == [
        *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
        *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
    ]
    assert telemetry.TOKENS[:3] == [1, 4, 16]
    assert telemetry.TOKENS[-1] == 67_108_864


# ------------------------------------------------------------------ off, or not there


def test_without_it_nothing_of_it_is_imported() -> None:
    code = (
        "import sys; from phi2sdk import AsyncPhi2Client;"
        "AsyncPhi2Client('openai', base_url='http://127.0.0.1:1/v1');"
        "print([m for m in sys.modules if 'opentelemetry' in m or m == 'phi2sdk.client.telemetry'])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


async def test_without_it_the_events_go_their_usual_way(seen: Seen) -> None:
    phi = AsyncPhi2Client(ScriptedBackend(ANSWER))
    events = phi.events(phi.request("x"))
    assert getattr(events, "__name__", "") == "cut_at_stops"
    await events.aclose()
    assert (await phi.generate("x")).text == "Light guides ships."
    assert seen.ended == []


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ConfigurationError, match=r"phi2sdk\[telemetry\]"):
        AsyncPhi2Client(ScriptedBackend(ANSWER), telemetry=True)


async def test_true_takes_the_processs_own_providers(
    seen: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: seen.tracers)
    phi = AsyncPhi2Client(ScriptedBackend(ANSWER), telemetry=True)
    await phi.generate(SECRET_PROMPT)
    assert telemetry.INPUT_MESSAGES not in attributes(seen.one())


# ------------------------------------------------------------------ one request


async def test_a_request_is_one_span_with_its_sampling_and_usage(seen: Seen) -> None:
    phi = client(seen, retrying(ANSWER))
    await phi.generate(
        prompts.raw(SECRET_PROMPT),
        max_tokens=9, temperature=0.5, top_p=0.9, top_k=40, min_p=0.1, seed=3, stop=("END",),
    )  # fmt: skip
    span = seen.one()
    assert (span.name, span.kind) == ("text_completion", SpanKind.CLIENT)
    assert span.status.status_code is StatusCode.UNSET
    assert dict(attributes(span)) == {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "scripted",
        "phi2sdk.target": "scripted",
        "gen_ai.request.max_tokens": 9,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 0.9,
        "gen_ai.request.top_k": 40,
        "phi2sdk.request.min_p": 0.1,
        "gen_ai.request.seed": 3,
        "gen_ai.request.stop_sequences": ("END",),
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.model": "phi-2",
        "gen_ai.response.id": "request-1",
        "gen_ai.usage.input_tokens": 7,
        "gen_ai.usage.output_tokens": 2,
        "phi2sdk.attempts": 1,
    }


async def test_a_request_is_counted_and_timed(seen: Seen) -> None:
    phi = client(seen, retrying(ANSWER))
    await phi.generate("x")
    await phi.generate("x")
    labels = {
        "gen_ai.operation.name": "text_completion",
        "gen_ai.provider.name": "scripted",
        "gen_ai.response.model": "phi-2",
        "phi2sdk.target": "scripted",
    }
    (duration,) = seen.points("gen_ai.client.operation.duration")
    assert dict(duration.attributes or {}) == labels
    assert duration.count == 2
    assert 0 < duration.sum < 5
    assert list(duration.explicit_bounds) == telemetry.SECONDS
    usage = {
        (point.attributes or {})["gen_ai.token.type"]: (point.count, point.sum)
        for point in seen.points("gen_ai.client.token.usage")
    }
    assert usage == {"input": (2, 14), "output": (2, 4)}
    assert seen.points("gen_ai.client.operation.time_to_first_chunk") == []


async def test_a_stream_tells_its_first_chunk(seen: Seen) -> None:
    phi = client(seen, retrying(ANSWER))
    async with phi.stream("x") as stream:
        assert [chunk.text async for chunk in stream] == ANSWER
    found = attributes(seen.one())
    assert found["gen_ai.request.stream"] is True
    waited = found["gen_ai.response.time_to_first_chunk"]
    (point,) = seen.points("gen_ai.client.operation.time_to_first_chunk")
    assert point.sum == waited
    (duration,) = seen.points("gen_ai.client.operation.duration")
    assert 0 < waited <= duration.sum


async def test_an_answer_cut_at_a_stop_has_ended_well_and_its_estimates_are_no_counts(
    seen: Seen,
) -> None:
    phi = client(seen, retrying(["one", " END", " two", " three"]))
    async with phi.stream(prompts.raw("x"), stop=("END",)) as stream:
        assert "".join([chunk.text async for chunk in stream]) == "one "
    found = attributes(seen.one())
    assert found["gen_ai.response.finish_reasons"] == ("stop",)
    assert "gen_ai.usage.output_tokens" not in found
    assert seen.points("gen_ai.client.token.usage") == []
    assert len(seen.points("gen_ai.client.operation.duration")) == 1


# ------------------------------------------------------------------ failures


async def test_retries_are_events_of_one_span(seen: Seen) -> None:
    phi = client(seen, retrying([Overloaded("busy", status=503)], [ProviderFault("x")], ANSWER))
    await phi.generate("x")
    span = seen.one()
    assert attributes(span)["phi2sdk.attempts"] == 3
    assert span.status.status_code is StatusCode.UNSET
    first, second = span.events
    assert first.name == second.name == "phi2sdk.retry"
    assert dict(first.attributes or {}) == {
        "phi2sdk.target": "scripted",
        "error.type": "Overloaded",
        "http.response.status_code": 503,
        "phi2sdk.attempts": 1,
        "phi2sdk.retry.wait": 0.0,
    }
    assert (second.attributes or {})["phi2sdk.attempts"] == 2


async def test_a_failure_has_its_type_and_none_of_the_providers_words(seen: Seen) -> None:
    error = ProviderFault(f"you asked: {SECRET_PROMPT}", status=500, code="E7")
    phi = client(seen, ScriptedBackend(["part", error]))
    with pytest.raises(ProviderFault):
        async for _ in phi.stream(SECRET_PROMPT):
            pass
    span = seen.one()
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None
    found = attributes(span)
    assert found["error.type"] == "ProviderFault"
    assert found["http.response.status_code"] == 500
    assert found["phi2sdk.error.code"] == "E7"
    assert "red door" not in span.to_json()
    (duration,) = seen.points("gen_ai.client.operation.duration")
    assert (duration.attributes or {})["error.type"] == "ProviderFault"


@pytest.mark.parametrize("wrong", ["stream without end", "refused before it was sent", "a bug"])
async def test_whatever_goes_wrong_the_span_ends(seen: Seen, wrong: str) -> None:
    class Broken(ScriptedBackend):
        async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
            if wrong == "a bug":
                raise ZeroDivisionError
            async for event in super().stream(request):
                yield event

    phi = client(seen, Broken(ANSWER, end=wrong != "stream without end"))
    kinds = {
        "stream without end": (Phi2Error, "BadResponse", 1),
        "refused before it was sent": (UnsupportedParameter, "UnsupportedParameter", 0),
        "a bug": (ZeroDivisionError, "ZeroDivisionError", 0),
    }
    raised, name, calls = kinds[wrong]
    with pytest.raises(raised):
        await phi.generate("x", repetition_penalty=1.3 if calls == 0 else 1.0)
    found = attributes(seen.one())
    assert (found["error.type"], found["phi2sdk.attempts"]) == (name, calls)


async def test_a_fallback_is_one_span_that_names_who_answered(seen: Seen) -> None:
    class Other(ScriptedBackend):
        provider = "other"

        @property
        def model_name(self) -> str:
            return "phi-2-mirror"

    first = Retry(ScriptedBackend([Overloaded("busy")], target="a"), attempts=1)
    phi = client(seen, Fallback([first, Retry(Other(ANSWER, target="b"))]))
    await phi.generate("x")
    span = seen.one()
    found = attributes(span)
    assert span.name == "text_completion phi-2-mirror"
    assert (found["phi2sdk.target"], found["gen_ai.provider.name"]) == ("b", "other")
    assert [(e.attributes or {})["phi2sdk.target"] for e in span.events] == ["a"]
    (duration,) = seen.points("gen_ai.client.operation.duration")
    assert (duration.attributes or {})["phi2sdk.target"] == "b"


# ------------------------------------------------------------------ given up


async def test_an_abandoned_stream_ends_its_span_as_cancelled(seen: Seen) -> None:
    phi = client(seen, ScriptedBackend(["one", asyncio.Event()]))
    async with phi.stream("x") as stream:
        async for _ in stream:
            break
        assert seen.ended == []
    found = attributes(seen.one())
    assert found["gen_ai.response.finish_reasons"] == ("cancelled",)
    assert "error.type" not in found
    assert seen.points("gen_ai.client.operation.duration") == []


async def test_a_cancelled_request_ends_its_span(seen: Seen) -> None:
    asked = asyncio.Event()

    class Waiting(ScriptedBackend):
        async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
            async for event in super().stream(request):
                yield event
                asked.set()

    task = asyncio.create_task(client(seen, Waiting([asyncio.Event()])).generate("x"))
    await asked.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert attributes(seen.one())["gen_ai.response.finish_reasons"] == ("cancelled",)


def test_a_stream_that_is_forgotten_ends_its_span(seen: Seen) -> None:
    async def forgetful() -> None:
        phi = client(seen, ScriptedBackend(["one", asyncio.Event()]))
        async for _ in phi.stream("x"):
            return

    asyncio.run(forgetful())
    assert attributes(seen.one())["gen_ai.response.finish_reasons"] == ("cancelled",)


async def test_a_stream_that_is_not_read_makes_no_span(seen: Seen) -> None:
    phi = client(seen, ScriptedBackend(ANSWER))
    async with phi.stream("x"):
        pass
    assert seen.ended == []


def test_a_synchronous_stream_left_early_ends_its_span(
    seen: Seen, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("one two three four")
    phi2_emulator.openai.faults.push(Fault("hang", after=2))
    with Phi2Client("openai", telemetry=seen.telemetry()) as phi:
        for _ in phi.stream("x"):
            break
        assert attributes(seen.one())["gen_ai.response.finish_reasons"] == ("cancelled",)


# ------------------------------------------------------------------ content


async def test_content_is_emitted_only_where_it_is_asked_for(seen: Seen) -> None:
    prompt = prompts.chat([("Alice", SECRET_PROMPT)], reply_as="Bob")
    await client(seen, ScriptedBackend(ANSWER)).generate(prompt)
    await client(seen, ScriptedBackend(ANSWER), content=True).generate(prompt)
    without, with_it = seen.ended
    text = without.to_json()
    assert not any(word in text for word in ("red door", "ships", "Alice", "Bob"))
    found = attributes(with_it)
    (asked,) = json.loads(found["gen_ai.input.messages"])
    assert asked == {"role": "user", "parts": [{"type": "text", "content": prompt.text}]}
    (answered,) = json.loads(found["gen_ai.output.messages"])
    assert answered["role"] == "assistant"
    assert answered["finish_reason"] == "stop"
    assert answered["parts"] == [{"type": "text", "content": "Light guides ships."}]
    assert set(prompt.stop) <= set(found["gen_ai.request.stop_sequences"])


async def test_with_content_a_failure_has_the_text_so_far_and_the_words(seen: Seen) -> None:
    phi = client(seen, ScriptedBackend(["part", ProviderFault("in words")]), content=True)
    with pytest.raises(ProviderFault):
        async for _ in phi.stream("x"):
            pass
    span = seen.one()
    assert span.status.description == "in words"
    (answered,) = json.loads(attributes(span)["gen_ai.output.messages"])
    assert answered["parts"][0]["content"] == "part"
    assert answered["finish_reason"] == "error"


# ------------------------------------------------------------------ whose child


async def test_the_span_is_current_for_the_call_and_not_for_the_caller(seen: Seen) -> None:
    current: list[trace.Span] = []

    class Looking(ScriptedBackend):
        async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
            current.append(trace.get_current_span())
            async for event in super().stream(request):
                current.append(trace.get_current_span())
                yield event

    phi = client(seen, Looking(ANSWER))
    with seen.tracer.start_as_current_span("mine") as mine:
        async with phi.stream("x") as stream:
            async for _ in stream:
                assert trace.get_current_span() is mine
    assert {span_id(span) for span in current} == {span_id(seen.one())}
    assert parents([seen.one()]) == {span_id(mine)}


def test_the_callers_span_is_the_parent_across_threads(
    seen: Seen, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("Both guide.")
    with Phi2Client("openai", telemetry=seen.telemetry()) as phi:
        with seen.tracer.start_as_current_span("mine") as mine:
            phi.generate("x")
            list(phi.stream("x"))
            stream = phi.stream("x")
            list(phi.generate_many(["a", "b", "c"]))
        list(stream)  # made under the span, and read outside of it
        phi.generate("x")
    *inside, outside = seen.ended
    assert len(inside) == 6
    assert parents(inside) == {span_id(mine)}
    assert outside.parent is None


async def test_generate_many_makes_a_span_for_each_request(seen: Seen) -> None:
    phi = client(seen, ScriptedBackend(ANSWER))
    with seen.tracer.start_as_current_span("mine") as mine:
        answers = [answer async for answer in phi.generate_many(["x"] * 9, concurrency=4)]
    assert len(answers) == len(seen.ended) == 9
    assert parents(seen.ended) == {span_id(mine)}


@pytest.mark.parametrize(
    ("target", "provider", "model"),
    [
        ("azure", "azure.ai.inference", None),
        ("clarifai", "clarifai", "microsoft/text-generation/models/phi-2"),
        ("hf", "hf", None),
        ("openai", "openai", "microsoft/phi-2"),
    ],
)
def test_each_provider_has_a_name_a_model_and_an_address(
    seen: Seen, phi2_emulator: Phi2Emulator, target: str, provider: str, model: str | None
) -> None:
    phi2_emulator.answers("Both guide.")
    with Phi2Client(target, telemetry=seen.telemetry()) as phi:
        phi.generate("x")
    found = attributes(seen.one())
    port = int(getattr(phi2_emulator, target).url.rpartition(":")[2])
    assert found["gen_ai.provider.name"] == provider
    assert found.get("gen_ai.request.model") == model
    assert (found["server.address"], found["server.port"]) == ("127.0.0.1", port)
