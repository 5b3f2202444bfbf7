"""The fixture that applications get."""

from __future__ import annotations

import os

import aiohttp

from phi2sdk import Phi2Client
from phi2sdk.emulator import Fault
from phi2sdk.testing import Phi2Emulator


async def ask(path: str = "/generate") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {os.environ['HF_TOKEN']}"}
    async with (
        aiohttp.ClientSession(headers=headers) as http,
        http.post(os.environ["HF_PHI2_ENDPOINT"] + path, json={"inputs": "Hello"}) as reply,
    ):
        return reply.status, await reply.text()


async def test_the_environment_points_at_the_emulator(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers({"Hello": "Hi."})
    assert await ask() == (200, '{"generated_text":"Hi."}')
    phi2_emulator.hf.faults.push(Fault("status", status=503))
    assert (await ask())[0] == 503
    assert [call.authorized for call in phi2_emulator.hf.calls] == [True, True]


def test_it_works_without_a_loop_and_each_test_has_its_own(phi2_emulator: Phi2Emulator) -> None:
    assert phi2_emulator.hf.calls == []
    assert os.environ["OPENAI_BASE_URL"] == f"{phi2_emulator.openai.url}/v1"
    assert os.environ["CLARIFAI_API_BASE"] == f"http://{phi2_emulator.clarifai.url}"
    assert os.environ["AZURE_PHI2_KEY"] == phi2_emulator.key


def test_a_call_shows_itself_without_its_machinery(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers("ok")
    with Phi2Client("openai") as phi:
        phi.generate("Hello")
    shown = repr(phi2_emulator.openai.calls[0])
    assert "Event" not in shown
    assert "'/v1/completions'" in shown
    assert phi2_emulator.key not in shown
