"""A pytest plugin: the fixture ``phi2_emulator`` serves every provider on loopback.

::

    def test_my_application(phi2_emulator):
        phi2_emulator.answers({"lighthouse": "Both guide."})
        assert my_application() == "Both guide."         # its Phi2Client("azure") needs no change
        assert phi2_emulator.azure.calls[0].authorized

The package registers it for pytest, so nothing has to be imported.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from phi2sdk.emulator.azure import AzureServer
    from phi2sdk.emulator.clarifai import ClarifaiServer
    from phi2sdk.emulator.emulator import Emulator
    from phi2sdk.emulator.engine import Answers, Engine
    from phi2sdk.emulator.hf import HFServer
    from phi2sdk.emulator.openai import OpenAIServer

__all__ = ["Phi2Emulator", "phi2_emulator"]


class Phi2Emulator:
    """What the fixture hands to a test: the running emulator and its script.

    Attributes:
        emulator: The ``phi2sdk.emulator.Emulator`` itself.
        environment: The variables that were set for the test.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.environment = emulator.environment()

    def answers(self, answers: Answers) -> None:
        """Script what every provider answers (see ``phi2sdk.emulator.ScriptedEngine``)."""
        from phi2sdk.emulator.engine import ScriptedEngine

        self.emulator.engine = ScriptedEngine(answers)

    def serve(self, engine: Engine) -> None:
        """Let another engine answer, such as a ``ModelEngine``."""
        self.emulator.engine = engine

    @property
    def key(self) -> str:
        """The key that every provider accepts."""
        return self.emulator.key

    @property
    def azure(self) -> AzureServer:
        """The Azure server: ``calls``, ``faults``, ``schedule``, ``meter``."""
        return self.emulator.azure

    @property
    def clarifai(self) -> ClarifaiServer:
        """The Clarifai server."""
        return self.emulator.clarifai

    @property
    def hf(self) -> HFServer:
        """The Hugging Face server."""
        return self.emulator.hf

    @property
    def openai(self) -> OpenAIServer:
        """The OpenAI-compatible server."""
        return self.emulator.openai


@pytest.fixture
def phi2_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Phi2Emulator]:
    """Every provider that is installed, on loopback, with the environment pointing at it.

    Works for synchronous and asynchronous tests: the emulator has a thread of its own. Requests
    to loopback are kept from any proxy that the environment names.
    """
    from importlib.util import find_spec

    from phi2sdk.emulator.emulator import PROVIDERS, Emulator

    grpc_installed = find_spec("clarifai_grpc") is not None
    names = [name for name in PROVIDERS if name != "clarifai" or grpc_installed]
    with Emulator(providers=names).running() as emulator:
        handle = Phi2Emulator(emulator)
        for name, value in handle.environment.items():
            monkeypatch.setenv(name, value)
        for name in ("NO_PROXY", "no_proxy"):
            others = os.environ.get(name)
            monkeypatch.setenv(name, f"{others},127.0.0.1" if others else "127.0.0.1")
        yield handle
