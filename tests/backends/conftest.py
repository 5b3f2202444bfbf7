"""The HTTP providers on loopback, and one way to ask them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from phi2sdk import Secret, prompts
from phi2sdk.backends.azure import AzureBackend
from phi2sdk.backends.base import Backend
from phi2sdk.backends.hf import HFBackend
from phi2sdk.completion import Completion, Event, Request
from phi2sdk.emulator import Emulator, ScriptedEngine
from phi2sdk.fold import fold
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import Sampling
from phi2sdk.stops import cut_at_stops

ANSWER = "Light guides ships. Numbers guide minds – naïvely."
PROMPT = prompts.instruct("Compare mathematics and a lighthouse.")
KEY = Secret("test-key")


@pytest.fixture
async def providers() -> AsyncIterator[Emulator]:
    async with Emulator(ScriptedEngine(ANSWER), providers=("azure", "hf", "openai")) as running:
        yield running


def request(prompt: Prompt = PROMPT, *, stream: bool = True, **sampling: Any) -> Request:
    return Request(prompt, Sampling(**{"max_tokens": 64, **sampling}), stream=stream)


async def ask(backend: Backend, asked: Request | None = None) -> Completion:
    """One answer, as a client takes it: cut at its stops."""
    asked = asked or request()
    return await fold(cut_at_stops(backend.stream(asked), asked), asked)


async def events(backend: Backend, asked: Request | None = None) -> list[Event]:
    return [event async for event in backend.stream(asked or request())]


Make = Callable[..., AzureBackend]

STYLES: list[dict[str, Any]] = [
    {"style": "score"},
    {"style": "score", "form": "params"},
    {"style": "score", "engine": "older"},
    {"style": "tgi"},
    {"style": "chat"},
    {"style": "v1"},
    {"style": "v1", "route": "chat"},
]


@pytest.fixture
async def make(providers: Emulator) -> AsyncIterator[Make]:
    made: list[AzureBackend] = []

    def build(**settings: Any) -> AzureBackend:
        given = {"endpoint": providers.azure.url, "key": KEY, **settings}
        made.append(AzureBackend(**given))
        return made[-1]

    yield build
    for backend in made:
        await backend.close()


@pytest.fixture
async def hf(providers: Emulator) -> AsyncIterator[HFBackend]:
    backend = HFBackend(endpoint=providers.hf.url, token=KEY)
    yield backend
    await backend.close()
