"""Token counts that a request cannot have produced do no harm on any route."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest
from aiohttp import web
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from phi2sdk import prompts
from phi2sdk.backends.base import Backend
from phi2sdk.backends.counts import most_input, most_output, plausible
from phi2sdk.client.async_client import AsyncPhi2Client
from phi2sdk.client.budget import Budget, Spending, worst_case
from phi2sdk.client.telemetry import OPERATION_DURATION, TOKEN_USAGE, Telemetry
from phi2sdk.completion import Chunk, Completion, Count, Done, Event, Request, Sent, Usage
from phi2sdk.config import Target
from phi2sdk.pricing import resolve
from phi2sdk.sampling import Sampling
from phi2sdk.secret import Secret
from tests.backends.clarifai_server import message, raw_server
from tests.commands import phi2
from tests.scripted import ScriptedBackend
from tests.transport.misbehaving import serving

PRICE = resolve(
    {"model": "per-token", "input": 1000, "output": 2000, "source": "s", "date": "2026-11-01"}
)
PROMPT = prompts.raw("What guides ships?")
SAMPLING = Sampling(max_tokens=10)
REQUEST = Request(PROMPT, SAMPLING, timeout=20.0)

IMPOSSIBLE: list[Any] = [10**400, 10**30, 2**40, 19, -1, -(10**400), True, 7.0, 1e308, "7", [7], {}]
"""An answer of at most 10 tokens has none of these, and a prompt of 18 bytes only 19."""

ROUTES: dict[str, tuple[str, dict[str, Any]]] = {
    "openai": ("openai", {}),
    "openai_chat": ("openai", {"route": "chat"}),
    "hf": ("hf", {}),
    "hf_completions": ("hf", {"route": "completions"}),
    "azure_tgi": ("azure", {"style": "tgi"}),
    "azure_chat": ("azure", {"style": "chat"}),
    "azure_v1": ("azure", {"style": "v1"}),
}


def target_at(url: str, route: str) -> Target:
    backend, settings = ROUTES[route]
    addresses: dict[str, dict[str, Any]] = {
        "openai": {"base_url": f"{url}/v1", "server": "vllm"},
        "hf": {"endpoint": url},
        "azure": {"endpoint": url, "key": Secret("test-key")},
    }
    return Target(route, backend, {**addresses[backend], **settings}, PRICE)


@asynccontextmanager
async def reporting(count: Any) -> AsyncIterator[str]:
    """Every HTTP route answers 'Light', and says that it read and wrote ``count`` tokens."""
    usage = {
        "prompt_tokens": count,
        "completion_tokens": count,
        "prompt_tokens_details": {"cached_tokens": count},
    }
    details = {"finish_reason": "length", "generated_tokens": count, "input_length": count}
    token = {"id": 5, "text": "Light", "logprob": -0.5, "special": False}

    async def answer(request: web.Request) -> web.StreamResponse:
        body = await request.json()
        streamed = body.get("stream") or request.path.endswith("_stream")
        chat = request.path.endswith("chat/completions")
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
        if "inputs" in body and streamed:
            reply: Any = {"token": token, "details": details, "generated_text": "Light"}
        elif "inputs" in body:
            reply = {"generated_text": "Light", "details": {**details, "tokens": [token]}}
        elif chat:
            choice["delta" if streamed else "message"] = {"role": "assistant", "content": "Light"}
            reply = {"choices": [choice], "usage": usage}
        else:
            reply = {"choices": [{**choice, "text": "Light"}], "usage": usage}
        if not streamed:
            return web.json_response(reply)
        text = f"data: {json.dumps(reply)}\n\ndata: [DONE]\n\n"
        return web.Response(text=text, content_type="text/event-stream")

    async with serving(answer) as url:
        yield url


async def asked(phi: AsyncPhi2Client, *, stream: bool) -> Completion:
    if not stream:
        return await phi.generate(PROMPT, SAMPLING)
    async with phi.stream(PROMPT, SAMPLING) as pieces:
        async for _ in pieces:
            pass
    return pieces.completion


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
async def test_a_count_that_cannot_be_counts_as_not_reported(route: str, stream: bool) -> None:
    for count in IMPOSSIBLE:
        async with reporting(count) as url:
            async with AsyncPhi2Client(target_at(url, route), budget=10.0) as phi:
                answer = await asked(phi, stream=stream)
            assert answer.text == "Light"
            wraps = answer.receipt.wrapped
            output = answer.usage.output_billed
            if output is not None:  # counted from the tokens that arrived
                assert (output.value, route, stream) in (
                    (1, "hf", True),
                    (1, "azure_tgi", True),
                )
            assert answer.usage.input == (Count(19) if count == 19 else None)
            assert [tokens for _, _, tokens in answer.timing.chunks] in ([None], [1])
            spending = phi.spending
            assert spending is not None
            assert spending.held == 0
            assert 0 < spending.spent <= worst_case(PRICE, REQUEST, wraps=wraps)


@pytest.mark.parametrize("route", ROUTES)
async def test_an_honest_count_with_a_token_or_two_of_the_servers_own_is_kept(route: str) -> None:
    for count in (0, 1, 10, 11, 12):
        async with reporting(count) as url, AsyncPhi2Client(target_at(url, route)) as phi:
            answer = await asked(phi, stream=True)
            assert answer.usage.output_billed == Count(count)
            assert answer.usage.input == Count(count)


async def test_clarifai_counts_that_cannot_be_are_left_out_and_name_no_finish_reason() -> None:
    most = 2**32 - 1
    reply = message("Light", prompt_tokens=most, completion_tokens=most, cached_tokens=most)
    async with raw_server() as server:
        server.replies = [reply.SerializeToString()]
        settings = {"base": f"http://{server.url}", "pat": Secret("test-key")}
        async with AsyncPhi2Client(Target("c", "clarifai", settings, PRICE), budget=10.0) as phi:
            answer = await asked(phi, stream=False)
    assert (answer.text, answer.finish_reason, answer.usage) == ("Light", None, Usage())
    assert phi.spending is not None
    assert phi.spending.held == 0
    assert phi.spending.spent == pytest.approx(worst_case(PRICE, REQUEST))


async def test_the_log_says_that_a_count_was_left_out(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "phi2sdk")
    async with (
        reporting(10**400) as url,
        AsyncPhi2Client(target_at(url, "openai"), budget=10.0) as phi,
    ):
        await asked(phi, stream=False)
    (line,) = caplog.messages  # once, though a budget stands inside
    assert "cannot have produced" in line
    assert len(line) < 300


async def test_metrics_have_no_place_for_a_count_that_cannot_be() -> None:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    async with (
        reporting(10**400) as url,
        AsyncPhi2Client(
            target_at(url, "openai"), telemetry=Telemetry(meter_provider=meters)
        ) as phi,
    ):
        await asked(phi, stream=False)
    found = reader.get_metrics_data()
    assert found is not None
    names = {m.name for r in found.resource_metrics for s in r.scope_metrics for m in s.metrics}
    assert OPERATION_DURATION in names
    assert TOKEN_USAGE not in names
    meters.shutdown()


def test_more_cached_tokens_than_were_read_are_left_out() -> None:
    said = Usage(Count(5), Count(3), cached=Count(6))
    assert plausible(said, REQUEST, wraps=False) == Usage(Count(5), Count(3))
    said = Usage(Count(5), Count(3), cached=Count(5))
    assert plausible(said, REQUEST, wraps=False) == said


def test_a_prompt_has_at_most_a_token_a_byte_and_those_around_it() -> None:
    request = replace(REQUEST, prompt=prompts.raw("東" * 10))
    for wraps, extra in ((False, 8), (True, 256)):
        assert most_input(request, wraps=wraps) == 30 + extra
        most = Count(30 + extra)
        assert plausible(Usage(most), request, wraps=wraps).input == most
        assert plausible(Usage(Count(most.value + 1)), request, wraps=wraps).input is None
    assert most_output(request) == 18


# --------------------------------------------------------------------------- the hold


class Broken(ScriptedBackend):
    """A third-party backend, which raises or reports what a test specifies."""

    def __init__(self, usage: Any, raised: BaseException | None) -> None:
        super().__init__(["yes"])
        self._usage, self._raised = usage, raised

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        _, receipt = self.prepare(request)
        yield Sent(perf_counter_ns(), receipt, request.stream)
        yield Chunk("yes", "yes", perf_counter_ns(), tokens=1)
        if self._raised is not None:
            raise self._raised
        yield Done(perf_counter_ns(), "stop", self._usage)


async def drain(backend: Backend) -> None:
    async for _ in backend.stream(REQUEST):
        pass


@pytest.mark.parametrize(
    "raised",
    [
        RuntimeError("a bug"),
        OverflowError("int too large to convert to float"),
        asyncio.CancelledError(),
        MemoryError(),
        RecursionError(),
        BaseException("not even an Exception"),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_whatever_a_backend_raises_the_hold_is_settled(raised: BaseException) -> None:
    spending = Spending(10.0)
    with pytest.raises(type(raised)):
        await drain(Budget(Broken(Usage(), raised), price=PRICE, spending=spending))
    assert spending.held == 0
    assert spending.spent == pytest.approx(worst_case(PRICE, REQUEST))


@pytest.mark.parametrize(
    "value",
    [*IMPOSSIBLE, float("nan"), float("inf"), None, object()],
    ids=lambda value: repr(value)[:8],
)
async def test_whatever_a_backend_counts_the_hold_is_settled_at_its_worst_case(value: Any) -> None:
    spending = Spending(10.0)
    usage = Usage(Count(value), Count(value), Count(value), Count(value))
    await drain(Budget(Broken(usage, None), price=PRICE, spending=spending))
    assert spending.held == 0
    assert 0 < spending.spent <= worst_case(PRICE, REQUEST)


async def test_an_invalid_usage_settles_the_hold_before_it_fails() -> None:
    spending = Spending(10.0)
    with pytest.raises((AttributeError, TypeError)):
        await drain(Budget(Broken("seven", None), price=PRICE, spending=spending))
    assert spending.held == 0
    assert spending.spent == pytest.approx(worst_case(PRICE, REQUEST))


# --------------------------------------------------------------------------- phi2 compare


async def test_a_comparison_with_a_target_that_counts_nonsense_ends_with_a_report(
    tmp_path: Path,
) -> None:
    price = '{ model = "per-token", input = 1.0, output = 2.0, source = "s", date = "2026-11-01" }'
    (tmp_path / "input.jsonl").write_text('{"text": "Ships sail by night."}\n', encoding="utf-8")
    async with reporting(10**400) as url:
        (tmp_path / "phi2.toml").write_text(
            "".join(
                f'[targets.{name}]\nbackend = "openai"\nbase_url = "{url}/v1"\nprice = {price}\n'
                for name in ("a", "b")
            ),
            encoding="utf-8",
        )
        status, _, said = await asyncio.to_thread(
            phi2,
            *("compare", "input.jsonl", "--target", "a", "--target", "b", "--out", "run"),
            *("--budget-usd", "1", "--max-tokens", "10", "--yes"),
            cwd=tmp_path,
        )
    assert "Traceback" not in said
    assert status == 0, said
    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert "e+" not in json.dumps(report["targets"])  # no figure is astronomical
