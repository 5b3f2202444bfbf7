"""Cancelled at any await point, a request leaves nothing behind."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from phi2sdk import AsyncPhi2Client, Phi2Client
from phi2sdk.backends.base import Backend, Capabilities
from phi2sdk.demo import checkpoint_path
from phi2sdk.emulator import Emulator, Fault, ScriptedEngine
from phi2sdk.errors import ConfigurationError
from tests.reliability.matrix import ANSWER, KEY, TARGETS
from tests.reliability.stage import OPTIONS, PROMPT, open_backend, url_of, without_waits
from tests.reliability.stepping import (
    AbandonedGenerators,
    CancelAt,
    open_files,
    quiet_loop,
    settle,
)

Use = Callable[[AsyncPhi2Client], Awaitable[Any]]
SHORT = "Light guides ships."


async def generate(phi: AsyncPhi2Client) -> str:
    return (await phi.generate(PROMPT, **OPTIONS)).text


async def stream(phi: AsyncPhi2Client) -> str:
    async with phi.stream(PROMPT, **OPTIONS) as running:
        return "".join([chunk.text async for chunk in running])


async def many(phi: AsyncPhi2Client) -> str:
    answers = phi.generate_many([PROMPT, PROMPT], concurrency=2, **OPTIONS)
    try:
        return "".join([str(answer) async for _, answer in answers])
    finally:
        await answers.aclose()


USES: dict[str, Use] = {"generate": generate, "stream": stream, "generate_many": many}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(ScriptedEngine(SHORT), key=KEY).running() as running:
        yield running


@pytest.fixture(autouse=True)
def _temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    assert list(tmp_path.iterdir()) == [], "no temporary file is left"


async def cancel_everywhere(
    open_client: Callable[[], AsyncPhi2Client], use: Use, prepare: Callable[[], None]
) -> int:
    """Cancel at the first, the second, ... suspension, closing included; how many there were."""
    abandoned = AbandonedGenerators()
    step = 0
    with abandoned.watched():
        while True:
            step += 1
            prepare()
            phi = open_client()

            async def whole(phi: AsyncPhi2Client = phi) -> Any:
                async with phi:
                    return await use(phi)

            driver = CancelAt(whole(), step)
            task = asyncio.ensure_future(_await(driver))
            outcome: Any = (await asyncio.gather(task, return_exceptions=True))[0]
            cancelled = isinstance(outcome, asyncio.CancelledError)
            assert cancelled or isinstance(outcome, str), outcome
            await phi.close()
            assert await quiet_loop() == [], f"cancelled at step {step}"
            assert abandoned.found == [], f"cancelled at step {step}"
            if driver.steps < step:
                return step - 1


async def _await(driver: CancelAt) -> Any:
    return await driver


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("target", TARGETS)
async def test_cancelling_at_any_step_leaves_nothing(
    target: str, use: str, emulator: Emulator
) -> None:
    server = getattr(emulator, TARGETS[target][0])
    url = url_of(emulator, target)

    def open_client() -> AsyncPhi2Client:
        backend = open_backend(target, url)
        phi = AsyncPhi2Client(backend)
        phi.backend = without_waits(backend)
        return phi

    def prepare() -> None:
        server.faults.clear()
        server.faults.push(Fault("status", status=503), times=1)  # so that a retry is in progress

    # What gRPC and the resolver keep for the process is made now.
    await use_once(open_client, USES[use])
    files, threads = open_files(), {thread.name for thread in threading.enumerate()}
    steps = await cancel_everywhere(open_client, USES[use], prepare)
    server.faults.clear()
    assert steps >= 1
    for call in server.calls:
        assert await asyncio.to_thread(call.ended.wait, 5), "the server is through with every call"
    threads |= {f"asyncio_{number}" for number in range(32)}  # the loop's own, it ends them
    assert await asyncio.to_thread(settle, files, threads) == (set(), set())


async def use_once(open_client: Callable[[], AsyncPhi2Client], use: Use) -> None:
    async with open_client() as phi:
        assert await use(phi)
    await asyncio.to_thread(lambda: None)


@pytest.mark.parametrize("use", USES)
async def test_cancelling_the_local_model_frees_its_slot(use: str) -> None:
    threads = {thread.name for thread in threading.enumerate()}
    prepared: list[AsyncPhi2Client] = []

    def open_client() -> AsyncPhi2Client:
        phi = AsyncPhi2Client("local", model=str(checkpoint_path()), dtype="float32")
        prepared.append(phi)
        return phi

    async def ask(phi: AsyncPhi2Client) -> str:
        return f"{await USES[use](phi)}."

    await cancel_everywhere(open_client, ask, lambda: None)
    assert prepared
    _, left = await asyncio.to_thread(
        settle, open_files(), threads | {"asyncio_0", "asyncio_1", "asyncio_2", "asyncio_3"}
    )
    assert left == set()


@pytest.mark.parametrize("target", TARGETS)
async def test_closing_during_requests_ends_them_and_closing_again_is_harmless(
    target: str, emulator: Emulator
) -> None:
    server = getattr(emulator, TARGETS[target][0])
    server.faults.push(Fault("hang"), times=3)
    seen = len(server.calls)
    phi = AsyncPhi2Client(open_backend(target, url_of(emulator, target)))
    tasks = [asyncio.ensure_future(generate(phi)) for _ in range(3)]
    await asyncio.to_thread(server.calls.wait_for, seen + 3)
    await phi.close()
    await phi.close()
    outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert all(isinstance(outcome, Exception) for outcome in outcomes), outcomes
    assert await quiet_loop() == []
    for call in server.calls[seen:]:
        assert await asyncio.to_thread(call.ended.wait, 5)
    server.faults.clear()


@pytest.mark.parametrize("target", TARGETS)
def test_a_closed_client_says_so(target: str, emulator: Emulator) -> None:
    with Phi2Client(open_backend(target, url_of(emulator, target))) as phi:
        assert phi.generate(PROMPT, **OPTIONS).text == SHORT
    phi.close()
    for use in (
        lambda: phi.generate(PROMPT),
        lambda: list(phi.stream(PROMPT)),
        lambda: list(phi.generate_many([PROMPT])),
        lambda: phi.check(),
    ):
        with pytest.raises(ConfigurationError, match="closed"):
            use()


def test_the_driver_finds_what_is_left(emulator: Emulator) -> None:
    """The net has no hole: a backend that leaves a task behind is caught."""

    class Careless(Backend):
        provider = "careless"

        async def stream(self, request: Any) -> Any:
            self.left = asyncio.ensure_future(asyncio.sleep(3600))
            await asyncio.sleep(0)
            yield

        capabilities = Capabilities()

        @property
        def dialect(self) -> Any:
            raise NotImplementedError

    async def main() -> None:
        phi = AsyncPhi2Client(Careless())
        with pytest.raises(AssertionError, match="cancelled at step 1"):
            await cancel_everywhere(lambda: phi, generate, lambda: None)
        phi.backend.inner.left.cancel()  # type: ignore[attr-defined]

    asyncio.run(main())
    assert ANSWER.startswith(SHORT)
