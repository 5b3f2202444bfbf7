"""The log has the facts of each request, and no prompts, answers or text of providers."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from phi2sdk import AsyncPhi2Client
from phi2sdk.client.policies import Fallback, Retry, RetryBudget
from phi2sdk.errors import Overloaded, Phi2Error, ProviderFault
from tests.scripted import ScriptedBackend, Step

PROMPT, ANSWER = "Tell nobody of the red door.", "The door is red."


def busy() -> Step:
    return Overloaded(f"busy with {PROMPT!r}", status=503, request_id="r-7")


def client(backend: Retry | Fallback) -> AsyncPhi2Client:
    phi = AsyncPhi2Client(ScriptedBackend([]))
    phi.backend = backend
    return phi


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.DEBUG, "phi2sdk")
    return caplog


def lines(said: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    assert all(record.name == "phi2sdk" for record in said.records)
    assert PROMPT not in said.text
    assert ANSWER not in said.text
    return [(record.levelname, record.getMessage()) for record in said.records]


async def test_a_retry_is_a_warning_and_an_answer_a_line_at_debug(
    said: pytest.LogCaptureFixture,
) -> None:
    await client(Retry(ScriptedBackend([busy()], [ANSWER]), base=0.0)).generate(PROMPT)
    retried, done = lines(said)
    assert retried == (
        "WARNING",
        "scripted: Overloaded (status 503, request id r-7), attempt 1 of 4; the next one in 0.00 s",
    )
    assert done[0] == "DEBUG"
    assert done[1].startswith("scripted answered in 0.")
    assert done[1].endswith(" s: 7 + 1 tokens, finish reason stop, 2 attempts")


async def test_a_fallback_names_the_failed_and_the_next_target(
    said: pytest.LogCaptureFixture,
) -> None:
    first = Retry(ScriptedBackend([busy()], target="a"), attempts=1)
    second = Retry(ScriptedBackend([ANSWER], target="b"))
    await client(Fallback([first, second])).generate(PROMPT)
    assert lines(said)[:2] == [
        ("DEBUG", "a: Overloaded (status 503, request id r-7), attempt 1, the last"),
        ("WARNING", "a: Overloaded (status 503, request id r-7); continuing with b"),
    ]


async def test_a_spent_retry_budget_is_told(said: pytest.LogCaptureFixture) -> None:
    failing = ScriptedBackend([ProviderFault("x")])
    with pytest.raises(Phi2Error):
        await client(Retry(failing, budget=RetryBudget(reserve=0.0))).generate(PROMPT)
    assert lines(said) == [("WARNING", "scripted: ProviderFault, and no retry budget")]


def test_without_a_handler_nothing_is_logged() -> None:
    code = (
        "from phi2sdk.log import logger; import logging;"
        "logger.warning('unheard'); logging.getLogger('other').warning('heard')"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.strip() == "heard"
