from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from phi2sdk import prompts
from phi2sdk.backends import build
from phi2sdk.backends.local_gpu import LocalBackend
from phi2sdk.completion import Chunk, Completion, Count, Done, Event, Opened, Request, Sent
from phi2sdk.errors import ConfigurationError, ContextLengthExceeded, ProviderFault, Timeout
from phi2sdk.fold import fold
from phi2sdk.sampling import PARAMETERS, Sampling

SUMMARY = prompts.summarize("A glacier is a river of ice. It moves slowly and carries stones.")
OPEN_ENDED = prompts.raw("Instruct: Write a paragraph about rivers.\nOutput:")


def ask(prompt: prompts.Prompt = OPEN_ENDED, **settings: Any) -> Request:
    options = {k: settings.pop(k) for k in ("stream", "timeout") if k in settings}
    return Request(prompt, Sampling(**({"max_tokens": 12} | settings)), **options)


async def answer(backend: LocalBackend, request: Request) -> Completion:
    return await fold(backend.stream(request), request)


async def drain(events: AsyncGenerator[Event, None]) -> None:
    async for _ in events:
        pass


@pytest.fixture
def backend() -> LocalBackend:
    """Not loaded yet; each test closes it, which it can only do inside its event loop."""
    return LocalBackend(model="demo", dtype="float32", device="cpu")


async def test_an_answer_comes_token_by_token_with_its_account(backend: LocalBackend) -> None:
    request = ask(SUMMARY, max_tokens=30)
    events: list[Event] = [event async for event in backend.stream(request)]
    model = await backend.load()
    await backend.close()
    assert isinstance(events[0], Sent)
    assert events[0].streamed
    assert isinstance(events[1], Opened)
    assert all(isinstance(event, Chunk) for event in events[2:-1])
    done = events[-1]
    assert isinstance(done, Done)
    chunks = [event for event in events if isinstance(event, Chunk)]
    steps = list(model.tokens(request.prompt.text, request.sampling))
    assert [c.token_ids for c in chunks] == [(step.id,) for step in steps]
    assert [c.logprobs[0] for c in chunks] == pytest.approx([s.logprob for s in steps], abs=1e-5)
    assert [chunk.tokens for chunk in chunks] == [1] * len(steps)
    assert done.usage.input == Count(len(model.encode(request.prompt.text)))
    assert done.usage.output_billed == Count(len(steps))
    assert done.finish_reason == ("stop" if steps[-1].special else "length")
    times = [event.t_ns for event in events]
    assert times == sorted(times)


async def test_without_a_stream_the_same_answer_comes_at_once(backend: LocalBackend) -> None:
    streamed = await answer(backend, ask())
    whole = await answer(backend, ask(stream=False))
    await backend.close()
    assert whole.text == streamed.text
    assert whole.token_ids == streamed.token_ids
    assert (whole.timing.ttft, len(whole.timing.chunks)) == (None, 1)
    assert streamed.timing.ttft is not None


async def test_a_stop_ends_the_work_with_the_token_that_completes_it(
    backend: LocalBackend,
) -> None:
    long = await answer(backend, ask(max_tokens=40))
    word = long.text.split()[3]
    cut = await answer(backend, ask(max_tokens=40, stop=(word,)))
    await backend.close()
    assert cut.finish_reason == "stop"
    assert cut.raw_text.strip().endswith(word)
    assert long.raw_text.startswith(cut.raw_text)
    assert len(cut.raw_text) < len(long.raw_text)


async def test_every_parameter_is_sent_under_its_own_name(backend: LocalBackend) -> None:
    sampling = Sampling(
        temperature=0.5,
        top_p=0.9,
        top_k=5,
        min_p=0.1,
        repetition_penalty=1.1,
        seed=1,
        stop=("x",),
    )
    wire, receipt = backend.prepare(Request(OPEN_ENDED, sampling))
    await backend.close()
    assert set(wire) == set(PARAMETERS)
    assert {fate.fate for fate in receipt.parameters} == {"sent"}


async def test_requests_at_once_are_answered_as_if_each_were_alone(backend: LocalBackend) -> None:
    requests = [ask(temperature=1.0, seed=seed) for seed in range(5)]
    alone = [(await answer(backend, request)).token_ids for request in requests]
    together = await asyncio.gather(*(answer(backend, request) for request in requests))
    await backend.close()
    assert [completion.token_ids for completion in together] == alone


async def test_a_closed_stream_frees_the_thread_for_the_next_request(
    backend: LocalBackend,
) -> None:
    async with aclosing(backend.stream(ask(max_tokens=1500, temperature=50.0, seed=1))) as events:
        async for event in events:
            if isinstance(event, Chunk):
                break
    completion = await asyncio.wait_for(answer(backend, ask(max_tokens=1)), 10)
    await backend.close()
    assert len(completion.token_ids) == 1


async def test_a_cancelled_task_ends_its_request(backend: LocalBackend) -> None:
    await backend.load()
    started = asyncio.Event()

    async def long() -> None:
        async for event in backend.stream(ask(max_tokens=1500, temperature=50.0, seed=1)):
            if isinstance(event, Chunk):
                started.set()

    task = asyncio.create_task(long())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    completion = await asyncio.wait_for(answer(backend, ask(max_tokens=1)), 10)
    await backend.close()
    assert completion.finish_reason == "length"


async def test_a_deadline_is_a_timeout_and_ends_the_work(backend: LocalBackend) -> None:
    await backend.load()
    with pytest.raises(Timeout, match=r"within 0\.02 s"):
        await answer(backend, ask(max_tokens=1900, temperature=50.0, seed=1, timeout=0.02))
    completion = await asyncio.wait_for(answer(backend, ask(max_tokens=1)), 10)
    await backend.close()
    assert len(completion.token_ids) == 1


async def test_a_prompt_that_cannot_fit_is_refused_before_it_is_sent(
    backend: LocalBackend,
) -> None:
    with pytest.raises(ContextLengthExceeded, match="2048"):
        await anext(backend.stream(ask(max_tokens=2048)))
    await backend.close()


async def test_a_failing_request_leaves_the_next_one_unharmed(
    backend: LocalBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = await backend.load()
    hidden = model.phi.hidden

    def fail(*args: Any) -> Any:
        raise RuntimeError("boom")

    monkeypatch.setattr(model.phi, "hidden", fail)
    with pytest.raises(ProviderFault, match="boom"):
        await answer(backend, ask())
    monkeypatch.setattr(model.phi, "hidden", hidden)
    assert len((await answer(backend, ask(max_tokens=1))).token_ids) == 1
    await backend.close()


def test_it_serves_several_event_loops_in_turn(backend: LocalBackend) -> None:
    first = asyncio.run(answer(backend, ask()))
    second = asyncio.run(answer(backend, ask()))
    asyncio.run(backend.close())
    assert first.token_ids == second.token_ids


async def test_closing_twice_is_harmless_and_leaves_no_thread(backend: LocalBackend) -> None:
    before = threading.active_count()
    await backend.load()
    assert any(thread.name == "phi2-local-model" for thread in threading.enumerate())
    await backend.close()
    await backend.close()
    assert not any(thread.name == "phi2-local-model" for thread in threading.enumerate())
    assert threading.active_count() <= before + 1  # asyncio.to_thread keeps one of its own
    with pytest.raises(ConfigurationError, match="closed"):
        await backend.load()


async def test_closing_ends_a_request_that_runs(backend: LocalBackend) -> None:
    request = ask(max_tokens=1900, temperature=50.0, seed=1)
    async with aclosing(backend.stream(request)) as events:
        async for event in events:
            if isinstance(event, Chunk):
                break
        await asyncio.wait_for(backend.close(), 10)
        with pytest.raises(ConfigurationError, match="closed"):
            await drain(events)


async def test_a_load_that_failed_may_be_tried_again(tmp_path: Path) -> None:
    backend = LocalBackend(model=tmp_path / "model", device="cpu")
    with pytest.raises(ConfigurationError, match="no model folder"):
        await answer(backend, ask())
    bundled = Path(__file__).parents[2] / "phi2sdk" / "demo" / "checkpoint"
    os.symlink(bundled, tmp_path / "model")
    assert (await answer(backend, ask(max_tokens=1))).model == str(tmp_path / "model")
    await backend.close()


async def test_a_score_is_that_of_the_answer_and_comes_between_the_steps_of_others(
    backend: LocalBackend,
) -> None:
    completion = await answer(backend, ask(temperature=1.0, seed=4))
    prompt = OPEN_ENDED.text
    async with aclosing(backend.stream(ask(max_tokens=1500, temperature=50.0, seed=1))) as events:
        await anext(events)
        score = await backend.score(prompt, completion.token_ids)
    await backend.close()
    assert score.logprob == pytest.approx(completion.logprobs, abs=1e-3)
    with pytest.raises(ConfigurationError, match="closed"):
        await backend.score(prompt, "a")


async def test_check_says_what_is_there_without_loading_it(backend: LocalBackend) -> None:
    assert "loaded with the first request" in await backend.check()
    await backend.load()
    assert await backend.check() == "demo in float32 on cpu"
    await backend.close()


async def test_the_context_length_is_known_once_it_is_loaded(backend: LocalBackend) -> None:
    before = backend.capabilities
    await backend.load()
    assert (before.context_length, backend.capabilities.context_length) == (None, 2048)
    await backend.close()


def test_the_model_may_come_from_the_environment() -> None:
    built = build("local", target="mine", settings={}, environ={"PHI2_MODEL": "demo"})
    assert isinstance(built, LocalBackend)
    assert built.target == "mine"


@pytest.mark.parametrize("setting", [{"dtype": "float8"}, {"device": "tpu"}])
def test_a_wrong_setting_is_refused_when_it_is_built(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="Use one of"):
        LocalBackend(**setting)


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"torch.*pip install 'phi2sdk\[local\]'"):
        LocalBackend()


def test_building_it_imports_no_torch() -> None:
    run("""
import sys
from phi2sdk.backends.local_gpu import LocalBackend
LocalBackend(model="demo")
assert not {"torch", "transformers", "numpy"} & set(sys.modules)
""")


def test_a_fork_gets_a_thread_of_its_own_on_a_cpu_and_is_refused_on_a_gpu() -> None:
    run("""
import asyncio, os, sys
import torch
torch.set_num_threads(1)  # a pool of threads does not survive a fork
from phi2sdk import prompts
from phi2sdk.backends.local_gpu import LocalBackend
from phi2sdk.completion import Request
from phi2sdk.fold import fold
from phi2sdk.errors import ConfigurationError
from phi2sdk.sampling import Sampling

backend = LocalBackend(model="demo", device="cpu", dtype="float32")
request = Request(prompts.raw("a"), Sampling(max_tokens=3))
ask = lambda: asyncio.run(fold(backend.stream(request), request)).token_ids
before = ask()
child = os.fork()
if child == 0:
    try:
        assert ask() == before
        asyncio.run(backend.close())
        os._exit(0)
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
assert os.waitpid(child, 0)[1] == 0
assert ask() == before
model = asyncio.run(backend.load())
type(model).device = "cuda:0"
backend._worker.pid = -1  # as a child sees it
try:
    ask()
except ConfigurationError as error:
    assert "spawn" in str(error)
else:
    sys.exit("not refused")
""")


def run(program: str) -> None:
    """In a process of its own."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
