"""Run a command: report errors in one line, and choose the exit status.

This module imports nothing heavy, so that a missing package and Ctrl-C are handled cleanly while
the other modules are imported.
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

DONE, REQUIREMENT_FAILS, USAGE, FAILED, INTERRUPTED, NO_READER = 0, 1, 2, 3, 130, 141

_EXTRAS = {
    **dict.fromkeys(("typer", "rich", "numpy", "scipy", "rapidfuzz", "jinja2"), "compare"),
    **dict.fromkeys(("opentelemetry", "prometheus_client"), "serve"),
    **dict.fromkeys(("grpc", "clarifai_grpc", "google"), "clarifai"),
    **dict.fromkeys(("torch", "transformers", "safetensors", "tokenizers"), "local"),
    **dict.fromkeys(("lm_eval", "datasets"), "evaluate"),
    "pyarrow": "bulk",
    "ray": "ray",
}
"""Package -> the extra that installs it."""
NEXT_STEPS = {
    "AuthenticationFailed": "set a key that the provider accepts",
    "PermissionDenied": "request the permission from the provider, or use another account",
    "ModelNotFound": "check the name of the model and the path of the endpoint",
    "ConnectionFailed": "check the host and port of the endpoint, and that it is running",
    "Timeout": "check that the endpoint is running, or increase timeouts",
    "ModelLoading": "wait until the model is loaded",
}
"""Name of an error -> the next step."""


def run(
    name: str, load: Callable[[], Callable[[], object]], *, extra: str | None = None
) -> NoReturn:
    """Run a command and exit with its status.

    Args:
        name: The command as the user typed it; error messages begin with it.
        load: Imports the command and returns it. Called without arguments, the command returns its
            status (or nothing) or raises ``SystemExit``.
        extra: The extra that installs all packages of the command; by default the extra of the
            missing package.
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
        if _by_ctrl_c(leaving):  # typer turns it into a status, without a message
            _say("interrupted")
            return INTERRUPTED
        return leaving.code
    except Phi2Error as error:
        _say(f"{name}: {for_terminal(str(error))}{_next_step(error)}")
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


def _next_step(error: Phi2Error) -> str:
    """Return the next step as a sentence, where the message is a response of the provider."""
    step = NEXT_STEPS.get(type(error).__name__) if error.status or error.code else None
    return f". Next step: {step}." if step else ""


def _by_ctrl_c(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


@contextmanager
def leaving_at_once() -> Iterator[None]:
    """End the process at once on Ctrl-C, while modules are imported and no work has begun.

    ``KeyboardInterrupt`` in the middle of an import would appear as a traceback or an
    ``ImportError`` of the module that is imported.
    """
    try:
        before = signal.signal(signal.SIGINT, _leave)
    except ValueError:  # signals can only be handled in the main thread
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
    """Standard output cannot be written. It is not an ``OSError``, which requests handle."""

    def __init__(self, reason: OSError) -> None:
        super().__init__(str(reason))
        self.reason = reason


class _Output(io.FileIO):
    """Standard output, with its own exception for failed writes."""

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except BlockingIOError:
            raise
        except OSError as error:
            raise _OutputLost(error) from error


def _watch_output() -> None:
    """Distinguish a failure of standard output from a failure of the command."""
    before = sys.stdout
    if before is None or before is not sys.__stdout__ or not isinstance(before, io.TextIOWrapper):
        return  # replaced, for example by a test
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(_Output(before.fileno(), "w", closefd=False)),
        encoding=before.encoding,
        errors=before.errors,
        line_buffering=before.line_buffering,
        write_through=before.write_through,
    )


def _give_up_output() -> None:
    """Discard the buffered output, so that Python reports no second error at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _say(line: str) -> None:
    print(re.sub(r"\s*\n\s*", " ", line), file=sys.stderr)  # noqa: T201
