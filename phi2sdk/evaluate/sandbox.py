"""Check programs that a model wrote, without trusting them.

Each program runs in a sandbox of bubblewrap (``bwrap``) with its own namespaces. It sees no network
and no other processes, and of the files only the interpreter and the libraries of the system, which
are read-only. Its tests run in a second sandbox (see :mod:`phi2sdk.evaluate.inside`). A program has
passed if its tests print the nonce of this run. Neither sandbox leaves files or processes.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from phi2sdk.errors import ConfigurationError
from phi2sdk.evaluate.seccomp import filter_program

UNSAFE = (
    "With --unsafe-code, programs that a model wrote run with your rights and outside of any "
    "sandbox: they can read, change and delete your files, use the network with your credentials, "
    "and leave processes behind. Only their processor time, file size and, on Linux, memory are "
    "limited. Use it only on a machine without anything of value, such as a virtual machine of its "
    "own"
)
"""What ``--unsafe-code`` means."""

SECONDS = 5.0
ELAPSED = 4
"""The limit of the elapsed time, in multiples of that of the processor time."""
MEMORY_MIB = 512
TMP_BYTES = 16 << 20
_SCRIPT = Path(__file__).with_name("inside.py")
_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib")
_PACKAGES = ("python*/site-packages", "python*/dist-packages")
_INSIDE = {"LANG": "C.UTF-8", "PYTHONHASHSEED": "0"}
"""The environment of a program; equal hashes give equal results in each run."""
_KILLED = (-9, 128 + 9)
"""How a process of this one ends that exceeds its processor time, and how bubblewrap reports it."""
_unsafe: ContextVar[bool] = ContextVar("unsafe", default=False)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of the tests of a program.

    Attributes:
        passed: All tests passed within the limits.
        reason: Why not: the name of an exception such as ``AssertionError``, ``Timeout``, or
            ``Ended`` if the process of the program ended or sent no valid reply. ``passed`` if it
            passed.
    """

    passed: bool
    reason: str


def available() -> str | None:
    """Return why programs cannot run in the sandbox on this machine; ``None`` if they can."""
    found = shutil.which("bwrap")
    if found is None:
        return "bubblewrap is not installed. Install it, for example with apt install bubblewrap"
    if filter_program() is None:
        return "the sandbox supports x86-64 and 64-bit Arm only. Use such a machine"
    return _obstacle(found)


@lru_cache(maxsize=4)
def _obstacle(bwrap: str) -> str | None:
    with _filter() as rules:
        tried = subprocess.run(  # noqa: S603
            [*_bubblewrap(bwrap, rules), *_python("program", 5, MEMORY_MIB)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env={},
            pass_fds=[rules],
            timeout=30,
            check=False,
        )
    if tried.returncode == 0:
        return None
    said = tried.stderr.decode(errors="replace").strip().splitlines()
    return (
        f"bubblewrap cannot start a sandbox here ({said[-1] if said else 'it says nothing'}). Use "
        "bubblewrap 0.7 or later on a system that permits user namespaces; containers need "
        "permission for them"
    )


def require() -> None:
    """Check that the sandbox can run on this machine.

    Raises:
        ConfigurationError: It cannot; the message states the alternative.
    """
    problem = available()
    if problem is not None:
        raise ConfigurationError(
            f"programs of a model run in a sandbox only, and {problem}. The alternative is "
            f"--unsafe-code. {UNSAFE}"
        )


@contextmanager
def unsafe_code() -> Iterator[None]:
    """Run the programs of the block without a sandbox: see :data:`UNSAFE`."""
    token = _unsafe.set(True)
    try:
        yield
    finally:
        _unsafe.reset(token)


def run(
    code: str,
    tests: str,
    *,
    names: Iterable[str] = (),
    seconds: float = SECONDS,
    memory_mib: int = MEMORY_MIB,
) -> Verdict:
    """Return whether a program passes its tests.

    Args:
        code: The program: the source of a Python module.
        tests: Source with assertions. The names that it does not define are those of the program.
        names: Names of the program in the tests that Python or its library has too, such as
            ``sum``.
        seconds: Processor time of the program, in whole seconds. The limit of the elapsed time is
            four times as long.
        memory_mib: Memory of the program in MiB (2**20 bytes).

    Raises:
        ConfigurationError: The sandbox cannot run on this machine, and the call is not within
            :func:`unsafe_code`; or even that is impossible.
    """
    unsafe = _unsafe.get()
    if not unsafe:
        require()
    elif os.name != "posix":
        raise ConfigurationError(
            "programs of a model are executed on Linux and macOS only. Leave out the task, or use "
            "one of these systems"
        )
    nonce = secrets.token_hex(16)
    job = {"code": code, "tests": tests, "names": list(names), "nonce": nonce}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory()) if unsafe else None
        limits = max(1, round(seconds)), memory_mib
        program = stack.enter_context(_process(folder, _python("program", *limits)))
        assert program.stdin is not None
        assert program.stdout is not None
        ends = program.stdin.fileno(), program.stdout.fileno()
        checks = stack.enter_context(_process(folder, _python("tests", *limits, *ends), ends))
        program.stdin.close()
        program.stdout.close()
        try:
            out, _ = checks.communicate(json.dumps(job).encode(), timeout=ELAPSED * seconds)
        except subprocess.TimeoutExpired:
            return Verdict(False, "Timeout")
        verdict = _verdict(out, nonce)
        if verdict.reason == "Ended":
            with suppress(subprocess.TimeoutExpired):
                if program.wait(timeout=1) in _KILLED:
                    return Verdict(False, "Timeout")
    return verdict


def _verdict(out: bytes, nonce: str) -> Verdict:
    try:
        found = json.loads(out)
    except ValueError:
        return Verdict(False, "Ended")
    if found.get("nonce") == nonce:
        return Verdict(True, "passed")
    return Verdict(False, str(found.get("reason")))


@contextmanager
def _process(
    folder: str | None, command: Sequence[str], keep: Sequence[int] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a process in a sandbox, or only in a folder, and end it with all its processes."""
    with ExitStack() as stack:
        rules = [] if folder else [stack.enter_context(_filter())]
        process = subprocess.Popen(  # noqa: S603 - this module is about it
            [*(arg for one in rules for arg in _bubblewrap("bwrap", one)), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env=_INSIDE if folder else None,
            pass_fds=[*keep, *rules],
            start_new_session=True,
        )
    with process:
        try:
            yield process
        finally:
            if not folder:
                _end_sandbox(process)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def _end_sandbox(process: subprocess.Popen[bytes]) -> None:
    """End the process in a sandbox. Bubblewrap waits for it and then ends too.

    If bubblewrap ended first, its child would stay a zombie in a container that collects none.
    """
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with suppress(OSError, subprocess.TimeoutExpired):
        for child in children.read_text().split():
            os.kill(int(child), signal.SIGKILL)
            process.wait(timeout=5)


@contextmanager
def _filter() -> Iterator[int]:
    """Open a pipe with the filter of system calls, and yield its file descriptor."""
    program = filter_program()
    assert program is not None
    rules, write = os.pipe()
    try:
        with open(write, "wb") as pipe:
            pipe.write(program)
        yield rules
    finally:
        os.close(rules)


def _python(*arguments: object) -> list[str]:
    """Return the command that runs ``inside.py`` without the packages of this environment."""
    source = _SCRIPT.read_text(encoding="utf-8")
    flags = ("-S", "-s", "-P", "-B", "-X", "utf8")
    return [_interpreter(), *flags, "-c", source, *map(str, arguments)]


def _interpreter() -> str:
    return os.path.realpath(getattr(sys, "_base_executable", sys.executable))


def _bubblewrap(bwrap: str, rules: int) -> list[str]:
    """Return the command of a sandbox, to which the command of a program is appended.

    Args:
        bwrap: The command of bubblewrap.
        rules: File descriptor from which bubblewrap reads the filter of system calls.
    """
    command = [bwrap, "--unshare-all", "--unshare-user", "--die-with-parent", "--new-session"]
    # With a process of its own as the first one, bubblewrap would not wait for the end of all.
    command += ["--as-pid-1"]
    command += ["--uid", "65534", "--gid", "65534", "--hostname", "sandbox", "--cap-drop", "ALL"]
    command += ["--seccomp", str(rules), "--clearenv"]
    for name, value in _INSIDE.items():
        command += ["--setenv", name, value]
    command += _files()
    # Without the limit of its size, a file system in memory would evade the limit of the memory.
    command += ["--size", str(TMP_BYTES), "--tmpfs", "/tmp", "--chdir", "/tmp"]  # noqa: S108
    return [*command, "--dev", "/dev", "--remount-ro", "/dev", "--remount-ro", "/"]


@lru_cache(maxsize=1)
def _files() -> list[str]:
    """Return the arguments for what exists in a sandbox: interpreter and libraries, read-only.

    Installed packages are hidden, since the answers of the bundled tasks are among them.
    """
    own = (f"{sys.base_prefix}/lib", f"{sys.base_prefix}/lib64")
    arguments: list[str] = []
    for path in map(Path, dict.fromkeys((*_LIBRARIES, *own))):
        if path.is_symlink():
            arguments += ["--symlink", os.readlink(path), str(path)]
        elif path.is_dir():
            arguments += ["--ro-bind", str(path), str(path)]
            for pattern in _PACKAGES:
                for packages in map(str, path.glob(pattern)):
                    arguments += ["--tmpfs", packages, "--remount-ro", packages]
    arguments += ["--ro-bind-try", "/etc/ld.so.cache", "/etc/ld.so.cache"]
    return [*arguments, "--ro-bind", _interpreter(), _interpreter()]
