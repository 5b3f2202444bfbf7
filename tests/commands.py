"""The phi2 command, run as a user runs it.

Each command is a process of its own, with its own arguments, folder, environment and streams. The
processes are forks of one that has imported the packages: a new interpreter would spend more time
with imports than most commands with their work. The start, the imports and the end of a new
interpreter are tested in ``tests/cli/test_command.py`` and ``tests/cli/test_exit.py``.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import json
import os
import pty
import runpy
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path

__all__ = ["on_a_terminal", "phi2"]

ROOT = Path(__file__).resolve().parent.parent
IMPORTED = ("torch", "scipy.stats", "rapidfuzz", "tokenizers", "jinja2", "phi2sdk.cli.app")
"""No package that reads the environment when it is imported, such as huggingface_hub."""


def phi2(
    *arguments: str, stdin: str = "", cwd: Path | None = None, **environment: str
) -> tuple[int, str, str]:
    """Status, standard output and standard error of one command."""
    known = {**os.environ, "NO_COLOR": "1", "COLUMNS": "120", **environment}
    with (
        tempfile.TemporaryFile("w+") as given,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as err,
    ):
        given.write(stdin)
        given.seek(0)
        forks = _forks()
        forks.start(arguments, cwd, known, [file.fileno() for file in (given, out, err)])
        status = forks.wait()
        out.seek(0)
        err.seek(0)
        return status, out.read(), err.read()


def on_a_terminal(
    *arguments: str, cwd: Path, environment: Mapping[str, str], columns: int = 80
) -> tuple[int, str]:
    """Status of one command, and all that it writes to a terminal of that width."""
    unset = ("COLUMNS", "LINES", "NO_COLOR", "TERM")
    known = {name: value for name, value in os.environ.items() if name not in unset}
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    forks = _forks()
    with open(os.devnull) as nothing:
        forks.start(
            arguments, cwd, {**known, **environment}, [nothing.fileno(), follower, follower]
        )
    os.close(follower)
    pieces = []
    try:
        while piece := os.read(leader, 65536):
            pieces.append(piece)
    except OSError:
        pass  # Linux reports an error when the other end is closed
    os.close(leader)
    return forks.wait(), b"".join(pieces).decode().replace("\r", "")


class _Forks:
    """The process whose forks are the commands, one after the other."""

    def __init__(self) -> None:
        self._channel, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                cwd=ROOT,
                pass_fds=[theirs.fileno()],
                process_group=0,
            )
        atexit.register(self.end)

    def start(
        self,
        arguments: Sequence[str],
        cwd: Path | None,
        environment: dict[str, str],
        streams: list[int],
    ) -> None:
        """Start a command with these standard streams."""
        command = json.dumps([arguments, str(cwd or Path.cwd()), environment])
        socket.send_fds(self._channel, [command.encode() + b"\n"], streams)

    def wait(self) -> int:
        """Wait for the end of the command, and return its status."""
        try:
            return int(self._channel.recv(16))
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End the process, and a command that still runs."""
        _forks.cache_clear()
        atexit.unregister(self.end)
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._channel.close()


@cache
def _forks() -> _Forks:
    return _Forks()


def _serve(channel: socket.socket) -> None:
    """Run commands until the other end is closed."""
    for name in IMPORTED:
        import_module(name)
    gc.freeze()  # a collection in a fork would copy the pages of all objects
    while True:
        command, streams, _, _ = socket.recv_fds(channel, 1 << 20, 3)
        while command and not command.endswith(b"\n"):
            command += channel.recv(1 << 20)
        if not command:
            return
        if (child := os.fork()) == 0:
            channel.close()
            arguments, cwd, environment = json.loads(command)
            _become(arguments, cwd, environment, streams)
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(child, 0)
        channel.send(b"%d" % os.waitstatus_to_exitcode(status))


def _become(
    arguments: list[str], cwd: str, environment: dict[str, str], streams: list[int]
) -> None:
    """Turn this process into the command, which ends it."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    sys.path[0] = cwd
    sys.argv[1:] = arguments
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    try:
        runpy.run_module("phi2sdk.cli", run_name="__main__", alter_sys=True)
    except SystemExit as left:
        global _status
        _status = left.code if isinstance(left.code, int) else 1
        raise


_status = 1


def _leave() -> None:
    """Leave without the release of the imported modules, which takes longer than most commands.

    It is registered first, so that it runs after all others.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_status)


if __name__ == "__main__":
    atexit.register(_leave)
    with socket.socket(fileno=int(sys.argv[1])) as _channel:
        _serve(_channel)
