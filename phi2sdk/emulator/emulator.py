"""Emulators of all providers, on the event loop of the caller or in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, Self, get_args

from phi2sdk.emulator.azure import AzureServer
from phi2sdk.emulator.clock import Schedule
from phi2sdk.emulator.engine import Engine, ScriptedEngine
from phi2sdk.emulator.hf import HFServer
from phi2sdk.emulator.openai import OpenAIServer
from phi2sdk.secret import EMULATOR_KEY
from phi2sdk.transport.endpoint import is_loopback

if TYPE_CHECKING:
    from phi2sdk.emulator.clarifai import ClarifaiServer

__all__ = ["PROVIDERS", "Emulator", "EmulatorThread", "Provider", "PublicBindRefused", "no_proxy"]

Provider = Literal["azure", "clarifai", "hf", "openai"]
PROVIDERS: tuple[Provider, ...] = get_args(Provider)


def no_proxy(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that keep requests to loopback from a proxy named in ``environ``."""
    return {
        name: ",".join(filter(None, (environ.get(name), "127.0.0.1")))
        for name in ("NO_PROXY", "no_proxy")
    }


class PublicBindRefused(ValueError):
    """The address to listen on can be reached from other machines."""


class Emulator:
    """Serve the protocols of the providers on loopback, with one engine that answers.

    Use it as an async context manager, or ``running()`` in synchronous code. Each provider is a
    server with ``url``, ``key``, ``calls``, ``faults``, ``schedule``, ``engine`` and ``meter``.

    Args:
        engine: The engine that answers; a ``ScriptedEngine`` by default. The caller closes it.
        key: The key that every provider accepts.
        schedule: The times when tokens are sent; ``server.schedule`` changes it for one provider.
        host: The address to listen on. An address other than loopback needs ``allow_public``.
        port: 0 takes free ports; otherwise the providers take ``port``, ``port + 1`` and so on.
        providers: The providers to start. ``clarifai`` needs the package clarifai-grpc.

    Raises:
        PublicBindRefused: ``host`` is not loopback and ``allow_public`` is not set.
    """

    def __init__(
        self,
        engine: Engine | None = None,
        *,
        key: str = EMULATOR_KEY,
        schedule: Schedule | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        providers: Iterable[Provider] = PROVIDERS,
        allow_public: bool = False,
    ) -> None:
        if not allow_public and not is_loopback(host):
            raise PublicBindRefused(
                f"{host!r} is not loopback: other machines could use the emulator. Listen on "
                "127.0.0.1, or pass allow_public=True (--allow-public-bind) if that is meant."
            )
        self.key = key
        self._engine: Engine = engine if engine is not None else ScriptedEngine()
        self._schedule = schedule if schedule is not None else Schedule()
        self._host = host
        self._port = port
        self.providers: tuple[Provider, ...] = tuple(providers)
        unknown = [name for name in self.providers if name not in PROVIDERS]
        if unknown:
            raise ValueError(f"unknown provider {unknown[0]!r}: one of {', '.join(PROVIDERS)}")
        self.azure = AzureServer(self._engine, key=key, schedule=self._schedule)
        self.hf = HFServer(self._engine, key=key, schedule=self._schedule)
        self.openai = OpenAIServer(self._engine, key=key, schedule=self._schedule)
        self._clarifai: ClarifaiServer | None = None

    @property
    def clarifai(self) -> ClarifaiServer:
        """Return the Clarifai server; its gRPC packages are imported on first use."""
        if self._clarifai is None:
            from phi2sdk.emulator.clarifai import ClarifaiServer

            self._clarifai = ClarifaiServer(self._engine, key=self.key, schedule=self._schedule)
        return self._clarifai

    @property
    def engine(self) -> Engine:
        """Return the engine that answers, except for servers with their own engine."""
        return self._engine

    @engine.setter
    def engine(self, engine: Engine) -> None:
        self._engine = engine
        for server in self._servers():
            server.engine = engine

    @property
    def schedule(self) -> Schedule:
        """Return the times when tokens are sent, except for servers with their own schedule."""
        return self._schedule

    @schedule.setter
    def schedule(self, schedule: Schedule) -> None:
        self._schedule = schedule
        for server in self._servers():
            server.schedule = schedule

    def environment(self) -> dict[str, str]:
        """Return the environment variables that point clients at the running emulator."""
        values: dict[str, str] = {}
        if "azure" in self.providers:
            values |= {"AZURE_PHI2_ENDPOINT": self.azure.url, "AZURE_PHI2_KEY": self.azure.key}
        if "clarifai" in self.providers:
            values |= {
                "CLARIFAI_API_BASE": f"http://{self.clarifai.url}",
                "CLARIFAI_PAT": self.clarifai.key,
            }
        if "hf" in self.providers:
            values |= {"HF_PHI2_ENDPOINT": self.hf.url, "HF_TOKEN": self.hf.key}
        if "openai" in self.providers:
            values |= {
                "OPENAI_BASE_URL": f"{self.openai.url}/v1",
                "OPENAI_API_KEY": self.openai.key,
            }
        return values

    async def start(self) -> None:
        """Start all servers; if one cannot start, stop the others."""
        try:
            for offset, server in enumerate(self._servers()):
                await server.start(self._host, self._port + offset if self._port else 0)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Abort the requests in progress and close all ports."""
        for server in self._servers():
            await server.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    @contextmanager
    def running(self) -> Iterator[Self]:
        """Run in a thread, for synchronous code."""
        with EmulatorThread(self):
            yield self

    def _servers(self) -> list[AzureServer | ClarifaiServer | HFServer | OpenAIServer]:
        return [getattr(self, name) for name in self.providers]


class EmulatorThread:
    """A context manager that runs an emulator in a thread with its own event loop."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None

    def start(self) -> Emulator:
        """Start, and return when every server listens."""
        if self._thread is not None:
            raise RuntimeError(
                "the thread of this emulator was started already: create another emulator"
            )
        self._thread = threading.Thread(target=self._run, name="phi2-emulator", daemon=True)
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self.emulator

    def stop(self) -> None:
        """Stop, and return when the thread has ended. It may be called twice."""
        if self._thread is None or self._loop is None or self._stop is None:
            return
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:  # raised in the thread that called start()
            self._failure = error
        finally:
            self._started.set()

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with self.emulator:
            self._started.set()
            await self._stop.wait()

    def __enter__(self) -> Emulator:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()
