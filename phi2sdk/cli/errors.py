"""How every command begins and ends: one line about what went wrong, and a status for whose it is.

This module imports nothing heavy, so that a missing package and Ctrl-C are met in order while the
rest is being imported.
"""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from phi2sdk.errors import ConfigurationError, InvalidRequest, Phi2Error
from phi2sdk.text import for_terminal

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = [
    "DONE",
    "FAILED",
    "INTERRUPTED",
    "NO_READER",
    "REQUIREMENT_FAILS",
    "USAGE",
    "leaving_at_once",
    "run",
]

DONE, REQUIREMENT_FAILS, USAGE, FAILED, INTERRUPTED, NO_READER = 0, 1, 2, 3, 130, 141

_EXTRAS = {
    **dict.fromkeys(("typer", "rich", "numpy", "scipy", "rapidfuzz", "jinja2"), "compare"),
    **dict.fromkeys(("grpc", "clarifai_grpc", "google"), "clarifai"),
    **dict.fromkeys(("torch", "transformers", "safetensors", "tokenizers"), "local"),
}
"""Package -> the extra that installs it."""


def run(
    name: str, load: Callable[[], Callable[[], object]], *, extra: str | None = None
) -> NoReturn:
    """Run a command and leave with its status.

    Args:
        name: What the user typed; begins the line about what went wrong.
        load: Imports the command and returns it. Called with no arguments, it returns its status
            (or nothing) or raises ``SystemExit``.
        extra: Installs all that the command needs; by default the extra of the missing package.
    """
    _watch_output()
    try:
        status = _status_of(name, load, extra)
        if sys.stdout is not None:
            sys.stdout.flush()
    except _OutputLost as lost:
        _give_up_output()
        status = NO_READER
        if not isinstance(lost.reason, BrokenPipeError):
            _say(f"{name}: standard output cannot be written: {lost.reason.strerror}")
            status = FAILED
    raise SystemExit(status)


def _status_of(
    name: str, load: Callable[[], Callable[[], object]], extra: str | None
) -> int | str | None:
    try:
        with leaving_at_once():
            work = load()
        status = work()
    except SystemExit as leaving:
        if _by_ctrl_c(leaving):  # typer turns it into a status, without a word
            _say("interrupted")
            return INTERRUPTED
        return leaving.code
    except Phi2Error as error:
        _say(f"{name}: {for_terminal(str(error))}")
        return USAGE if isinstance(error, ConfigurationError | InvalidRequest) else FAILED
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        install = f"python -m pip install 'phi2sdk[{extra or _EXTRAS[package]}]'"
        _say(f"{name} needs {package}, which is not installed: {install}")
        return USAGE
    except KeyboardInterrupt:
        _say("interrupted")
        return INTERRUPTED
    return status if isinstance(status, int) else DONE


def _by_ctrl_c(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """Imports under way: nothing has begun, so Ctrl-C ends the process here and now.

    An exception in the middle of an import would come out of whatever happens to be imported, as
    a traceback or as an ``ImportError``.
    """
    try:
        before = signal.signal(signal.SIGINT, _leave)
    except ValueError:  # not the main thread: signals are not ours
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"interrupted\n")
    os._exit(INTERRUPTED)


class _OutputLost(Exception):
    """Standard output takes no more. No ``OSError``, so that nobody takes it for a request's."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Output(io.FileIO):
    """The descriptor of standard output."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError as error:
            raise _OutputLost(error) from error


def _watch_output() -> None:
    """Tell a failure of standard output from one of the command."""
    before = sys.stdout
    if before is None or before is not sys.__stdout__ or not isinstance(before, io.TextIOWrapper):
        return  # somebody's own, such as a test's
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(before.fileno(), "w", closefd=False)),
        encoding=before.encoding,
        errors=before.errors,
        line_buffering=before.line_buffering,
        write_through=before.write_through,
    )


def _give_up_output() -> None:
    """What is still buffered goes nowhere, without another complaint at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _say(line: str) -> None:
    print(re.sub(r"\s*\n\s*", " ", line), file=sys.stderr)  # noqa: T201
