"""A blocking model on its own thread, and what stops it."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from subprocess import run

import aiohttp
import pytest

from phi2sdk.emulator import Decoding, Emulator, ModelEngine, Token
from phi2sdk.sampling import Sampling


class EndlessModel:
    """Counts up, a step whenever the test allows one; notes when it was told to stop."""

    name = "counting"
    context_length = 1000

    def __init__(self, *, steps: int = 1000) -> None:
        self.steps = steps
        self.gate = threading.Semaphore(0)
        self.stopped = threading.Event()
        self.samplings: list[Sampling] = []

    def encode(self, text: str) -> list[int]:
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode()

    def tokens(
        self, prompt: str, sampling: Sampling, *, cancelled: threading.Event
    ) -> Iterator[Token]:
        self.samplings.append(sampling)
        try:
            for index in range(min(self.steps, sampling.max_tokens)):
                while not self.gate.acquire(timeout=0.01):
                    if cancelled.is_set():
                        return
                yield Token(index, f" {index}", -1.0)
            if self.steps < sampling.max_tokens:
                yield Token(50256, "", -1.0, special=True)
        finally:
            self.stopped.set()


async def test_tokens_come_from_the_model_in_order() -> None:
    model = EndlessModel(steps=3)
    model.gate.release(10)
    engine = ModelEngine(model)
    decoding = Decoding(10, temperature=0.5, top_k=3, stop=("x",))
    tokens = [token async for token in engine.tokens("Hello", decoding)]
    engine.close()
    assert [token.text for token in tokens] == [" 0", " 1", " 2", "<|endoftext|>"]
    assert tokens[-1].special
    [sampling] = model.samplings
    assert (sampling.temperature, sampling.top_k, tuple(sampling.stop)) == (0.5, 3, ())
    assert engine.count("abc") == 3
    assert [token.text for token in engine.prompt_tokens("abc")] == ["a", "b", "c"]


async def test_a_failing_model_raises_where_the_tokens_are_awaited() -> None:
    class Failing(EndlessModel):
        def encode(self, text: str) -> list[int]:
            return []

        def tokens(
            self, prompt: str, sampling: Sampling, *, cancelled: threading.Event
        ) -> Iterator[Token]:
            raise RuntimeError("out of order")

    engine = ModelEngine(Failing())
    with pytest.raises(RuntimeError, match="out of order"):
        [token async for token in engine.tokens("Hello", Decoding(3))]
    engine.close()


async def test_a_client_that_leaves_stops_the_model() -> None:
    model = EndlessModel()
    engine = ModelEngine(model)
    async with (
        Emulator(engine, providers=("openai",)) as emulator,
        aiohttp.ClientSession(headers={"Authorization": "Bearer test-key"}) as http,
    ):
        model.gate.release(3)
        body = {"model": "counting", "prompt": "Hello", "stream": True, "max_tokens": 500}
        async with http.post(f"{emulator.openai.url}/v1/completions", json=body) as reply:
            await reply.content.readuntil(b'" 2"')
            reply.close()
        assert await asyncio.to_thread(model.stopped.wait, 5)
        call = emulator.openai.calls[0]
        await asyncio.to_thread(call.ended.wait, 5)
        assert call.cancelled
        assert call.completion_tokens == 3
    engine.close()


def test_importing_the_emulator_loads_neither_torch_nor_grpc() -> None:
    code = (
        "import sys, phi2sdk.emulator, phi2sdk.testing;"
        "sys.exit(bool({'torch', 'transformers', 'grpc', 'numpy'} & set(sys.modules)))"
    )
    assert run([sys.executable, "-c", code], check=False).returncode == 0
