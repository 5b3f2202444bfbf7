"""The HTTP providers on loopback, and one way to ask them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from phi2sdk import Secret, prompts
from phi2sdk.backends.base import Backend
from phi2sdk.completion import Completion, Event, Request, fold
from phi2sdk.emulator import Emulator, ScriptedEngine
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
