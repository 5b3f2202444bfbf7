"""Run cells of the matrix on shared emulators, with clients that do not wait."""

from __future__ import annotations

import asyncio
import gc
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType, ModuleType, TracebackType
from typing import Any

from phi2sdk import AsyncPhi2Client, Phi2Client, prompts
from phi2sdk.backends import build
from phi2sdk.backends.base import Backend
from phi2sdk.client.policies import Retry, RetryBudget
from phi2sdk.completion import Completion
from phi2sdk.emulator import Emulator
from phi2sdk.errors import Phi2Error
from phi2sdk.secret import Secret
from phi2sdk.transport.http import Timeouts
from tests.reliability.matrix import ATTEMPTS, KEY, TARGETS, Cell, Face, Place

PROMPT = prompts.raw("Compare mathematics and a lighthouse.")
OPTIONS: dict[str, Any] = {"max_tokens": 40}
LONGEST = 30.0
"""Seconds for a request, all attempts together: no cell comes near."""

_ADDRESS = {"azure": "endpoint", "hf": "endpoint", "openai": "base_url", "clarifai": "base"}


@dataclass(slots=True)
class Outcome:
    """The outcome of one request.

    Attributes:
        text: What the caller had in hand: a stream's chunks, or the answer.
        error: What was raised.
        completion: What was returned.
        shown: All that a logger could print of the error.
        leaks: The secrets in the objects that can be reached from the error.
    """

    text: str = ""
    error: Phi2Error | None = None
    completion: Completion | None = None
    shown: str = ""
    leaks: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def open_backend(
    target: str, url: str, timeouts: Timeouts = Timeouts(), *, key: str = KEY
) -> Backend:
    """A route's backend at an address."""
    backend, settings = TARGETS[target]
    if backend == "openai":
        url = f"{url}/v1"
    return build(
        backend,
        target=target.replace(" ", "_"),
        settings={
            **settings,
            _ADDRESS[backend]: url,
            "api_key": Secret(key),
            "timeouts": timeouts,
        },
        environ={},
    )


def url_of(emulator: Emulator, target: str) -> str:
    """Return the address of a route."""
    backend = TARGETS[target][0]
    server = getattr(emulator, backend)
    return f"http://{server.url}" if backend == "clarifai" else str(server.url)


def without_waits(backend: Backend, attempts: int = ATTEMPTS) -> Retry:
    """The retry policy with no back-off and a budget that is never spent."""
    return Retry(backend, attempts=attempts, base=0.0, budget=RetryBudget(reserve=1e9))


def play(cell: Cell, url: str, between: Callable[[], None]) -> tuple[Outcome, Outcome]:
    """The cell's request, then an ordinary one by the same client; ``between`` goes between."""
    backend: Any = open_backend(cell.target, url, cell.row.timeouts)

    def turn() -> None:
        if not isinstance(cell.row.cause, Place):
            backend._wire.timeouts = Timeouts()  # what was short is not the second request's
        between()

    if cell.client == "async":
        return asyncio.run(_play_async(cell.face, backend, turn))
    with Phi2Client(backend, timeout=LONGEST) as phi:
        phi._inner.backend = without_waits(backend)
        first = _ask(phi, cell.face)
        turn()
        return first, _ask(phi, cell.face)


async def _play_async(
    face: Face, backend: Backend, between: Callable[[], None]
) -> tuple[Outcome, Outcome]:
    async with AsyncPhi2Client(backend, timeout=LONGEST) as phi:
        phi.backend = without_waits(backend)
        first = await _ask_async(phi, face)
        between()
        second = await _ask_async(phi, face)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    first.failed += [f"a task is left: {task}" for task in left]
    return first, second


def _ask(phi: Phi2Client, face: Face) -> Outcome:
    outcome = Outcome()
    try:
        if face == "generate":
            outcome.completion = phi.generate(PROMPT, **OPTIONS)
            outcome.text = outcome.completion.raw_text
        else:
            with phi.stream(PROMPT, **OPTIONS) as stream:
                for chunk in stream:
                    outcome.text += chunk.text
            outcome.completion = stream.completion
    except Phi2Error as error:
        _note(outcome, error)
    return outcome


async def _ask_async(phi: AsyncPhi2Client, face: Face) -> Outcome:
    outcome = Outcome()
    try:
        if face == "generate":
            outcome.completion = await phi.generate(PROMPT, **OPTIONS)
            outcome.text = outcome.completion.raw_text
        else:
            async with phi.stream(PROMPT, **OPTIONS) as stream:
                async for chunk in stream:
                    outcome.text += chunk.text
            outcome.completion = stream.completion
    except Phi2Error as error:
        _note(outcome, error)
    return outcome


def _note(outcome: Outcome, error: Phi2Error) -> None:
    outcome.error = error
    outcome.shown = "".join(
        [str(error), repr(error), repr(vars(error)), *traceback.format_exception(error)]
    )
    outcome.leaks = leaks(error, *secrets().values())


def leaks(error: BaseException, *secrets: str) -> list[str]:
    """The objects with a secret that can be reached from an error; its frames apart.

    Frames hold the objects that made the call; what they show is looked at in test_secrets.py.
    """
    found, seen, ahead = [], set(), [error]
    while ahead:
        one: Any = ahead.pop()
        if id(one) in seen or isinstance(one, type | ModuleType | FunctionType | TracebackType):
            continue
        seen.add(id(one))
        if isinstance(one, Secret):
            found.append("a Secret")
        elif isinstance(one, str | bytes | bytearray):
            text = one if isinstance(one, str) else bytes(one).decode("latin-1")
            found += [f"{secret!r} in {text[:200]!r}" for secret in secrets if secret in text]
        elif isinstance(one, Mapping):  # headers among them, whose parts Python does not see
            ahead += [*one.keys(), *one.values()]
        else:
            ahead += gc.get_referents(one)
    return found


def secrets() -> Mapping[str, str]:
    """The key in the forms in which it could be found."""
    import base64

    return {
        "plain": KEY,
        "base64": base64.b64encode(KEY.encode()).decode().rstrip("="),
        "hex": KEY.encode().hex(),
    }
