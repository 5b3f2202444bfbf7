"""The pytest plug-in: the fixture ``phi2_emulator`` serves all providers on loopback.

::

    def test_my_application(phi2_emulator):
        phi2_emulator.answers({"lighthouse": "Both guide."})
        assert my_application() == "Both guide."         # its Phi2Client("azure") needs no change
        assert phi2_emulator.azure.calls[0].authorized

A test with the marker ``phi2_no_network`` fails if it connects to anything but loopback. The
option ``--phi2-no-network``, or ``phi2_no_network = true`` in the configuration, applies to all
tests except those with the marker ``phi2_no_network(False)``.

pytest loads the plug-in automatically.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from phi2sdk.emulator.azure import AzureServer
    from phi2sdk.emulator.clarifai import ClarifaiServer
    from phi2sdk.emulator.emulator import Emulator
    from phi2sdk.emulator.engine import Answers, Engine
    from phi2sdk.emulator.exchange import Call
    from phi2sdk.emulator.hf import HFServer
    from phi2sdk.emulator.openai import OpenAIServer

__all__ = ["Phi2Emulator", "phi2_emulator"]


class Phi2Emulator:
    """The running emulator and its answers, as a test receives them.

    Attributes:
        emulator: The ``phi2sdk.emulator.Emulator``.
        environment: The environment variables that are set for the test.
    """

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.environment = emulator.environment()

    def answers(self, answers: Answers) -> None:
        """Set the answers of all providers (see ``phi2sdk.emulator.ScriptedEngine``)."""
        from phi2sdk.emulator.engine import ScriptedEngine

        self.emulator.engine = ScriptedEngine(answers)

    def serve(self, engine: Engine) -> None:
        """Answer with another engine, such as a ``ModelEngine``."""
        self.emulator.engine = engine

    @property
    def calls(self) -> list[Call]:
        """Return the calls to all providers in the order of arrival."""
        servers = (getattr(self.emulator, name) for name in self.emulator.providers)
        return sorted((c for s in servers for c in s.calls), key=lambda call: call.t_received_ns)

    @property
    def key(self) -> str:
        """Return the key that every provider accepts."""
        return self.emulator.key

    @property
    def azure(self) -> AzureServer:
        """Return the Azure server with ``calls``, ``faults``, ``schedule`` and ``meter``."""
        return self.emulator.azure

    @property
    def clarifai(self) -> ClarifaiServer:
        """Return the Clarifai server."""
        return self.emulator.clarifai

    @property
    def hf(self) -> HFServer:
        """Return the Hugging Face server."""
        return self.emulator.hf

    @property
    def openai(self) -> OpenAIServer:
        """Return the OpenAI-compatible server."""
        return self.emulator.openai


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that forbids the network in all tests."""
    text = "forbid all connections except to loopback, in every test"
    parser.getgroup("phi2sdk").addoption("--phi2-no-network", action="store_true", help=text)
    parser.addini("phi2_no_network", text, type="bool", default=False)


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "phi2_no_network(forbid=True): the test fails if it connects to anything but loopback",
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Forbid the network while a test and its fixtures run."""
    if not _no_network(item):
        return (yield)
    from phi2sdk.testing.network_guard import forbidden

    with forbidden(item.nodeid) as tried:
        item.stash[_TRIED] = tried
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test whose code caught the exception of the refused connection."""
    result = yield
    if tried := item.stash.get(_TRIED, []):
        pytest.fail(f"{item.nodeid} {tried[0]}, which is not allowed in this test", False)
    return result


_TRIED = pytest.StashKey[list[str]]()


def _no_network(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("phi2_no_network")
    if marker is not None:
        return bool(marker.kwargs.get("forbid", next(iter(marker.args), True)))
    return bool(item.config.getoption("phi2_no_network") or item.config.getini("phi2_no_network"))


@pytest.fixture
def phi2_emulator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Phi2Emulator]:
    """Serve all installed providers on loopback, and set their environment variables.

    The emulator runs in a thread, so the fixture works for synchronous and asynchronous tests.
    Requests to loopback do not use a proxy of the environment.
    """
    from importlib.util import find_spec

    from phi2sdk.emulator.emulator import PROVIDERS, Emulator, no_proxy

    grpc_installed = find_spec("clarifai_grpc") is not None
    names = [name for name in PROVIDERS if name != "clarifai" or grpc_installed]
    with Emulator(providers=names).running() as emulator:
        handle = Phi2Emulator(emulator)
        for name, value in {**no_proxy(os.environ), **handle.environment}.items():
            monkeypatch.setenv(name, value)
        yield handle
