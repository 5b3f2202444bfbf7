"""Clarifai's calls end when they should, and leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import pytest

from phi2sdk import prompts
from phi2sdk.backends.clarifai import ClarifaiBackend
from phi2sdk.completion import Chunk, Completion, Request
from phi2sdk.emulator import Emulator, Fault, Schedule, ScriptedEngine
from phi2sdk.errors import ConnectionFailed
from phi2sdk.sampling import Sampling
from phi2sdk.secret import Secret
from tests.backends.clarifai_server import (
    ANSWER,
    PAT,
    answer,
    backend_of,
    both_ways,
    emulator,
    ended,
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


async def test_closing_the_generator_early_cancels_the_call_at_the_server() -> None:
    async with (
        emulator(schedule=Schedule(per_token=0.01), engine=ScriptedEngine("a b ", eos=False)) as at,
        backend_of(at.clarifai.url) as backend,
    ):
        async with aclosing(backend.stream(request(max_tokens=2000))) as events:
            async for event in events:
                if isinstance(event, Chunk):
                    break
        call = await ended(at)
    assert call.cancelled
    assert call.completion_tokens < 2000


@both_ways
async def test_cancelling_the_task_cancels_the_call_at_the_server(
    backend: ClarifaiBackend, provider: Emulator, stream: bool
) -> None:
    provider.clarifai.faults.push(Fault("hang"))
    task = asyncio.create_task(answer(backend, request(stream=stream)))
    await asyncio.to_thread(provider.clarifai.calls.wait_for, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await ended(provider)).cancelled


@both_ways
async def test_a_call_in_progress_at_close_fails_with_a_typed_error(
    backend: ClarifaiBackend, provider: Emulator, stream: bool
) -> None:
    provider.clarifai.faults.push(Fault("hang"))
    task = asyncio.create_task(answer(backend, request(stream=stream)))
    await asyncio.to_thread(provider.clarifai.calls.wait_for, 1)
    await backend.close()
    with pytest.raises(ConnectionFailed, match="the client was closed during the answer"):
        await task


async def test_closing_twice_is_harmless_and_a_later_call_opens_again(
    backend: ClarifaiBackend,
) -> None:
    await backend.close()
    assert (await answer(backend, request())).text == ANSWER
    await backend.close()
    await backend.close()
    assert (await answer(backend, request())).text == ANSWER


async def test_many_streams_at_once_do_not_mix() -> None:
    engine = ScriptedEngine(lambda prompt: f"answer to {prompt.splitlines()[0]}")
    async with emulator(engine=engine) as at, backend_of(at.clarifai.url) as backend:
        asked = [Request(prompts.instruct(f"no {i}"), Sampling(), i % 2 == 0) for i in range(64)]
        answers = await asyncio.gather(*(answer(backend, one) for one in asked))
    assert [a.text for a in answers] == [f"answer to Instruct: no {i}" for i in range(64)]


def _leftovers(run: Callable[[Emulator], None]) -> tuple[list[str], list[Any]]:
    """Threads that ``run`` left behind, and what it could not raise."""
    unraised: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, unraised.append
    before = set(threading.enumerate())
    try:
        with Emulator(ScriptedEngine(ANSWER), key=PAT, providers=["clarifai"]).running() as at:
            run(at)
        gc.collect()
    finally:
        sys.unraisablehook = hook
    return [t.name for t in threading.enumerate() if t not in before], unraised


def test_two_loops_in_turn_each_get_a_channel_and_nothing_is_left() -> None:
    def run(at: Emulator) -> None:
        backend = ClarifaiBackend(pat=Secret(PAT), base=at.clarifai.url)

        async def once(*, close: bool) -> None:
            assert (await answer(backend, request())).text == ANSWER
            if close:
                await backend.close()

        asyncio.run(once(close=False))
        asyncio.run(once(close=True))
        asyncio.run(once(close=False))
        asyncio.run(backend.close())

    assert _leftovers(run) == ([], [])


def _errors_of_loops(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Collect what an event loop logged, such as an event for a loop that is already closed."""
    return [
        record.getMessage()
        for record in caplog.records
        if record.name == "asyncio" and record.levelno >= logging.ERROR
    ]


@both_ways
def test_what_was_cancelled_leaves_nothing_once_the_backend_is_closed(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def left_early(at: Emulator) -> None:
        backend = ClarifaiBackend(pat=Secret(PAT), base=at.clarifai.url)
        before = asyncio.all_tasks()
        async with aclosing(backend.stream(request())) as events:
            async for event in events:
                if isinstance(event, Chunk):
                    break
        seen = len(at.clarifai.calls)
        at.clarifai.faults.push(Fault("hang"))
        task = asyncio.create_task(answer(backend, request(stream=stream)))
        await asyncio.to_thread(at.clarifai.calls.wait_for, seen + 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await backend.close()
        assert asyncio.all_tasks() == before

    def run(at: Emulator) -> None:
        for _ in range(20):  # each loop ends at once: a late event would find it closed
            asyncio.run(left_early(at))

    caplog.set_level(logging.WARNING)
    assert _leftovers(run) == ([], [])
    assert _errors_of_loops(caplog) == []


@pytest.mark.parametrize("in_flight", [True, False], ids=["in flight", "left early"])
def test_closing_waits_until_grpc_is_through(
    in_flight: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def closed_at_once(at: Emulator) -> None:
        backend = ClarifaiBackend(pat=Secret(PAT), base=at.clarifai.url)
        before = asyncio.all_tasks()
        seen = len(at.clarifai.calls)
        at.clarifai.faults.push(Fault("hang", after=None if in_flight else 1))
        task = asyncio.create_task(_first_chunk(backend))
        if in_flight:
            await asyncio.to_thread(at.clarifai.calls.wait_for, seen + 1)
            await backend.close()
            with pytest.raises(ConnectionFailed):
                await task
        else:
            await task
            await backend.close()
        assert asyncio.all_tasks() == before

    def run(at: Emulator) -> None:
        for _ in range(20):
            asyncio.run(closed_at_once(at))

    caplog.set_level(logging.WARNING)
    assert _leftovers(run) == ([], [])
    assert _errors_of_loops(caplog) == []


async def _first_chunk(backend: ClarifaiBackend) -> None:
    async with aclosing(backend.stream(request())) as events:
        async for event in events:
            if isinstance(event, Chunk):
                return


@both_ways
def test_a_request_may_be_cancelled_at_any_step(
    stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def cancelled_after(steps: int, at: Emulator) -> bool:
        backend = ClarifaiBackend(pat=Secret(PAT), base=at.clarifai.url)
        before = asyncio.all_tasks()
        task = asyncio.create_task(answer(backend, request(stream=stream)))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        outcome = await asyncio.gather(task, return_exceptions=True)
        await backend.close()
        assert asyncio.all_tasks() == before
        assert isinstance(outcome[0], asyncio.CancelledError | Completion), outcome
        return task.cancelled()

    def run(at: Emulator) -> None:
        for steps in range(60):
            cancelled.append(asyncio.run(cancelled_after(steps, at)))

    cancelled: list[bool] = []
    caplog.set_level(logging.WARNING)
    assert _leftovers(run) == ([], [])
    assert cancelled[0]
    assert _errors_of_loops(caplog) == []


_FORK = """
import asyncio, os, signal, sys
signal.alarm(25)  # whoever started this may be killed: then neither process stays
from phi2sdk import prompts
from phi2sdk.backends.clarifai import ClarifaiBackend
from phi2sdk.completion import Request
from phi2sdk.fold import fold
from phi2sdk.errors import ConfigurationError
from phi2sdk.sampling import Sampling
from phi2sdk.secret import Secret

def make():
    return ClarifaiBackend(pat=Secret(os.environ["CLARIFAI_PAT"]), base=sys.argv[1])

async def ask(backend):
    request = Request(prompts.qa("Why?"), Sampling())
    return (await fold(backend.stream(request), request)).text

backend = make()
async def first():
    text = await ask(backend)
    return text
print(asyncio.run(first()), flush=True)
child = os.fork()
if child == 0:
    signal.alarm(20)  # an alarm is not inherited
    for one in (backend, make()):
        try:
            asyncio.run(ask(one))
        except ConfigurationError as error:
            print(error, flush=True)
        asyncio.run(one.close())
    os._exit(0)
os.waitpid(child, 0)
print(asyncio.run(ask(backend)), flush=True)
asyncio.run(backend.close())
"""


def test_after_a_fork_the_error_advises_to_spawn_and_the_parent_continues() -> None:
    with Emulator(ScriptedEngine(ANSWER), key=PAT, providers=["clarifai"]).running() as at:
        done = subprocess.run(
            [sys.executable, "-c", _FORK, at.clarifai.url],
            env=os.environ | {"CLARIFAI_PAT": PAT},
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    first, child, other, parent = done.stdout.splitlines()
    assert first == parent == ANSWER
    assert child == other
    assert "'spawn'" in child
