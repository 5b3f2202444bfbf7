"""A server process of a benchmark: start it, wait until it answers, and read its CPU and memory."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.error import URLError
from urllib.request import Request, urlopen

from common import prefer_this_process

__all__ = ["Server", "free_port"]

START_SECONDS = 240
_QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # without it, the start waits for a download
    "LITELLM_LOG": "ERROR",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "NO_PROXY": "127.0.0.1",
}


def free_port() -> int:
    """Return a port of loopback that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server on loopback, from its start until the ``with`` block ends.

    Args:
        command: The command that starts it.
        port: Its port.
        body: A chat request that it must answer before it counts as ready.
        path: The path of this request.
        core: The core that it uses; ``None`` for all.
        cwd: The folder in which it runs.
        environment: Further variables of its environment.

    Attributes:
        ready_s: Seconds from the start of the process to the first answer.
    """

    def __init__(
        self,
        command: Sequence[str],
        port: int,
        body: Mapping[str, Any],
        *,
        path: str = "/v1/chat/completions",
        core: int | None = 0,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.ready_s = 0.0
        self._command, self._body, self._path = command, json.dumps(body).encode(), path
        self._cwd = cwd
        root = str(Path(__file__).resolve().parent.parent)
        self._environment = os.environ | _QUIET | {"PYTHONPATH": root} | dict(environment or {})
        self._core = core
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        core = self._core

        def pin() -> None:
            prefer_this_process()  # as the clients and the upstream server do
            if core is not None:
                os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[core]})

        started = time.monotonic()
        self._child = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,  # llama.cpp's server ends with its standard input
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=self._cwd,
            env=self._environment,
            preexec_fn=pin,
        )
        try:
            while not self._answers():
                if self._child.poll() is not None:
                    raise RuntimeError(f"the server ended with status {self._child.returncode}")
                if time.monotonic() > started + START_SECONDS:
                    raise RuntimeError(f"the server did not answer within {START_SECONDS} s")
                time.sleep(0.05)
        except BaseException:
            self.__exit__()
            raise
        self.ready_s = time.monotonic() - started
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.communicate(timeout=20)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.communicate()

    @property
    def child(self) -> subprocess.Popen[bytes]:
        """The process."""
        assert self._child is not None
        return self._child

    def cpu(self) -> float:
        """Return the CPU seconds that the process has used."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_mib(self) -> float:
        """Return the memory of the process in MiB."""
        pages = int(Path(f"/proc/{self.child.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def _answers(self) -> bool:
        request = Request(self.url + self._path, self._body, {"Content-Type": "application/json"})
        try:
            with urlopen(request, timeout=60) as reply:
                return bool(reply.status == 200)
        except (URLError, OSError):
            return False


if __name__ == "__main__":
    sys.exit("this module is used by bench/serve.py")
