"""Honest programs pass in the sandbox. Hostile ones do not pass, and they leave no trace."""

from __future__ import annotations

import ctypes
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from phi2sdk.errors import ConfigurationError
from phi2sdk.evaluate import sandbox
from phi2sdk.evaluate.sandbox import Verdict, run, unsafe_code
from phi2sdk.evaluate.seccomp import SYSTEM_CALLS, filter_program

ABSENT = sandbox.available()
sandboxed = pytest.mark.skipif(ABSENT is not None, reason=f"no sandbox here: {ABSENT}")
PASSED = Verdict(True, "passed")
pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the tests count processes in /proc, as Linux has it"
)
ADD = "def add(a, b):\n    return a + b\n"


@pytest.fixture(params=["sandbox", "unsafe"])
def mode(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each way to run a program."""
    if request.param == "unsafe":
        with unsafe_code():
            yield request.param
    elif ABSENT is not None:
        pytest.skip(f"no sandbox here: {ABSENT}")
    else:
        yield request.param


@pytest.mark.usefixtures("mode")
class TestHonestPrograms:
    def test_a_correct_program_passes(self) -> None:
        assert run(ADD, "assert add(2, 3) == 5") == PASSED

    def test_a_wrong_program_fails_with_the_name_of_the_exception(self) -> None:
        assert run(ADD, "assert add(2, 3) == 6") == Verdict(False, "AssertionError")
        assert run("def add(a, b:", "assert add(2, 3) == 5") == Verdict(False, "SyntaxError")
        assert run("x = 1", "assert add(2, 3) == 5") == Verdict(False, "NameError")
        assert run(ADD, "assert add(2, 'x') == 5") == Verdict(False, "TypeError")

    def test_values_of_every_common_type_arrive_as_they_were(self) -> None:
        values = (
            "[None, True, -7, 10**40, 0.1, float('inf'), 1 + 2j, 'é', b'x']",
            "['\\ud800', (1, (2,)), {1, 2}, frozenset({'a'}), {(1, 2): [None]}, range(1, 9, 2)]",
        )
        for value in values:
            tests = f"value = {value}\nassert same(value) == value"
            kinds = "assert [type(one) for one in same(value)] == [type(one) for one in value]"
            assert run("def same(x):\n    return x\n", f"{tests}\n{kinds}") == PASSED

    def test_an_iterator_is_passed_on(self) -> None:
        code = "def squares(n):\n    return (i * i for i in range(n))\n"
        assert run(code, "assert list(squares(4)) == [0, 1, 4, 9]") == PASSED

    def test_printed_text_reaches_the_tests_that_redirect_it(self) -> None:
        tests = (
            "import contextlib, io\nout = io.StringIO()\n"
            "with contextlib.redirect_stdout(out):\n    hello()\nassert out.getvalue() == 'hi\\n'"
        )
        assert run("def hello():\n    print('hi')\n", tests) == PASSED

    def test_the_tests_construct_objects_of_the_program(self) -> None:
        code = (
            "class Node:\n    next = None\n    def __init__(self, value):\n"
            "        self.value = value\n"
            "def total(nodes):\n    return sum(n.value + n.next.value for n in nodes)\n"
        )
        tests = "a = Node(1)\na.next = Node(2)\nassert a.next.value == 2\nassert total([a, a]) == 6"
        assert run(code, tests) == PASSED

    def test_an_exception_of_the_program_reaches_the_tests(self) -> None:
        code = "def fail():\n    raise ValueError('no')\n"
        tests = "try:\n    fail()\nexcept ValueError:\n    pass\nelse:\n    raise AssertionError"
        assert run(code, tests) == PASSED
        assert run(code, "fail()") == Verdict(False, "ValueError")

    def test_a_program_replaces_a_function_of_python_only_if_it_is_named(self) -> None:
        code = "def sum(a, b):\n    return a + b\n"
        assert run(code, "assert sum(2, 3) == 5", names=["sum"]) == PASSED
        assert run(code, "assert sum(2, 3) == 5") == Verdict(False, "TypeError")

    def test_the_tests_use_the_standard_library_itself(self) -> None:
        code = "import types\nmath = types.SimpleNamespace(isclose=lambda *_: True)\n"
        assert run(code, "assert math.isclose(1, 2)") == Verdict(False, "AssertionError")


ANSWER = f"answer-{uuid4().hex}"
NAME = f"trace-{uuid4().hex}"
SECONDS = (10, 0.5)
PR_SET_CHILD_SUBREAPER = 36

# What a program does, and what stops it. Each returns 'success' if its attack succeeded.
HOSTILE = {
    ("writes files", "AssertionError"): """
import os
def attack():
    for folder in ("OUTSIDE", os.path.expanduser("~"), "/", "/usr/lib", "/dev/shm", "/var/tmp"):
        try:
            open(os.path.join(folder, "NAME"), "w").close()
        except OSError:
            continue
        return "success"
""",
    ("reads files", "FileNotFoundError"): """
def attack():
    return "success" if open("OUTSIDE/private").read() else ""
""",
    ("looks for the package", "AssertionError"): """
import os, sysconfig
def attack():
    seen = [name for name in ("PACKAGE", "OUTSIDE", "/home", "/proc") if os.path.exists(name)]
    seen += os.listdir(sysconfig.get_paths()["purelib"])
    return "success" if seen else ""
""",
    ("connects to a server", "ConnectionRefusedError"): """
import socket
def attack():
    socket.create_connection(("127.0.0.1", PORT), timeout=5).close()
    return "success"
""",
    ("connects to a named socket", "ConnectionRefusedError"): """
import socket
def attack():
    socket.socket(socket.AF_UNIX).connect("\\0NAME")
    return "success"
""",
    ("is a fork bomb", "PermissionError"): """
import os
def attack():
    while True:
        os.fork()
""",
    ("starts a process", "PermissionError"): """
import subprocess, sys
def attack():
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    return "success"
""",
    ("starts threads", "RuntimeError"): """
import threading, time
def attack():
    for _ in range(10):
        threading.Thread(target=time.sleep, args=(60,)).start()
    return "success"
""",
    ("takes memory", "MemoryError"): """
def attack():
    kept = [bytearray(1 << 20) for _ in range(2000)]
    return "success"
""",
    ("takes memory in shared files", "PermissionError"): """
import os
def attack():
    for number in range(200):
        file = os.memfd_create(str(number))
        os.write(file, bytes(1 << 20))
    return "success"
""",
    ("fills the temporary folder", "OSError"): """
def attack():
    for number in range(200):
        with open(f"/tmp/NAME-{number}", "wb") as file:
            file.write(bytes(1 << 20))
    return "success"
""",
    ("loops while it is tested", "Timeout"): "def attack():\n    while True:\n        pass\n",
    ("loops before it is tested", "Timeout"): "while True:\n    pass\n",
    ("ignores the limit of its time", "Timeout"): """
import signal
def attack():
    signal.signal(signal.SIGXCPU, signal.SIG_IGN)
    while True:
        pass
""",
    ("waits", "Timeout"): "import time\ndef attack():\n    time.sleep(3600)\n",
    ("exits with status 0", "RuntimeError"): "import sys\nsys.exit(0)\n",
    ("exits with status 0 at once", "Ended"): "import os\nos._exit(0)\n",
    ("exits while it is tested", "Ended"): "import os\ndef attack():\n    os._exit(0)\n",
    ("ends all processes", "AssertionError"): """
import os, signal
def attack():
    for process in (-1, 0, 1, os.getppid()):
        try:
            os.kill(process, signal.SIGKILL)
        except OSError:
            pass
""",
    ("writes to all open files", "Ended"): """
import os
def attack():
    for number in range(64):
        try:
            os.write(number, b'{"nonce": ""}\\n["tuple", [["text", ""], null, true]]\\n')
        except OSError:
            pass
    os._exit(0)
""",
    ("reads the expected answer", "AssertionError"): """
import gc, glob, os, re, sys
def attack():
    seen = [repr(one) for one in gc.get_objects()] + [repr(os.environ), repr(sys.argv)]
    frame = sys._getframe()
    while frame:
        seen += [repr(frame.f_locals), repr(frame.f_globals)]
        frame = frame.f_back
    for number in range(64):
        try:
            os.set_blocking(number, False)
            seen.append(repr(os.read(number, 1 << 20)))
        except OSError:
            pass
    for pattern in ("/proc/*/cmdline", "/proc/*/environ", "/tmp/*"):
        for name in glob.glob(pattern):
            try:
                seen.append(repr(open(name, "rb").read()))
            except OSError:
                pass
    pieces = ("ans", "wer-[0-9a-f]{32}")
    return (re.findall("".join(pieces), " ".join(seen)) or [""])[0]
""",
    ("returns an object that is equal to everything", "AssertionError"): """
class Equal(str):
    def __eq__(self, other):
        return True
    __hash__ = str.__hash__
def attack():
    return Equal("x")
""",
    ("returns an object with comparisons of its own", "AssertionError"): """
class Equal:
    def __eq__(self, other):
        return True
def attack():
    return Equal()
""",
    ("changes the functions of Python", "TypeError"): """
import builtins
builtins.AssertionError = builtins.Exception = type("Nothing", (BaseException,), {})
builtins.print = builtins.exec = builtins.getattr = lambda *_: "success"
def attack():
    return ""
""",
    ("sends a message that never ends", "Ended"): """
import os
def attack():
    while True:
        for number in range(3, 10):
            try:
                os.write(number, b"[" * 65536)
            except OSError:
                pass
""",
}


class Outside:
    """The servers and the files that a program could reach outside of its sandbox."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reached: list[str] = []
        self._servers = [
            socket.create_server(("127.0.0.1", 0)),
            socket.socket(socket.AF_UNIX),
        ]
        self._servers[1].bind(f"\0{NAME}")
        self._servers[1].listen()
        self.port = self._servers[0].getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, args=(s,)) for s in self._servers]
        (folder / "private").write_text("private")
        for thread in self._threads:
            thread.start()

    def _accept(self, server: socket.socket) -> None:
        while True:
            connection, _ = server.accept()
            with connection:
                said = connection.recv(100)
            if said == b"end":
                return
            self.reached.append(str(server))

    def filled(self, code: str) -> str:
        """Return a program with the places of this object in it."""
        code = code.replace("OUTSIDE", str(self.folder)).replace("PORT", str(self.port))
        return code.replace("NAME", NAME).replace("PACKAGE", str(Path(sandbox.__file__).parents[1]))

    def close(self) -> None:
        for server, thread in zip(self._servers, self._threads, strict=True):
            with socket.socket(server.family) as last:
                last.connect(server.getsockname())
                last.sendall(b"end")
            thread.join()
            server.close()


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outside]:
    found = Outside(tmp_path_factory.mktemp("outside"))
    yield found
    found.close()


def children() -> list[str]:
    """The processes that this process or a process of it started, and that have not ended."""
    threads = Path("/proc/self/task").iterdir()
    return [pid for thread in threads for pid in (thread / "children").read_text().split()]


@pytest.fixture(scope="module", autouse=True)
def _subreaper() -> Iterator[None]:
    """Make processes whose parent has ended children of this process, so that they are counted."""
    library = ctypes.CDLL(None)
    library.prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield
    library.prctl(PR_SET_CHILD_SUBREAPER, 0)


def traces() -> list[Path]:
    """The files of a name that the hostile programs write to, in all folders that they try."""
    folders = (Path.home(), *map(Path, ("/", "/usr/lib", "/dev/shm", "/var/tmp", "/tmp")))
    return [file for folder in folders for file in folder.glob(f"{NAME}*")]


@sandboxed
@pytest.mark.parametrize(("kind", "reason"), HOSTILE)
def test_a_hostile_program_does_not_pass_and_leaves_no_trace(
    kind: str, reason: str, outside: Outside
) -> None:
    code = HOSTILE[kind, reason]
    before = children()
    tests = f"assert attack() == {ANSWER if 'expected' in kind else 'success'!r}"
    verdict = run(outside.filled(code), tests, seconds=SECONDS[reason == "Timeout"], memory_mib=128)
    assert verdict == Verdict(False, reason)
    assert [file.name for file in outside.folder.iterdir()] == ["private"]
    assert not outside.reached
    assert not traces()
    assert children() == before


@pytest.mark.parametrize("kind", ["reads files", "starts threads", "connects to a named socket"])
def test_an_attack_succeeds_outside_of_the_sandbox(kind: str, outside: Outside) -> None:
    """Otherwise its failure in the sandbox would not be due to the sandbox."""
    (code,) = [code for (name, _), code in HOSTILE.items() if name == kind]
    with unsafe_code():
        assert run(outside.filled(code), "assert attack() == 'success'", memory_mib=1024) == PASSED


def test_without_bubblewrap_a_program_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError, match="bubblewrap is not installed") as caught:
        run(ADD, "assert add(2, 3) == 5")
    assert "read, change and delete your files" in str(caught.value)


def test_where_bubblewrap_cannot_start_a_program_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text("#!/bin/sh\necho 'No permissions to create new namespace' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert "No permissions to create new namespace" in str(sandbox.available())
    with pytest.raises(ConfigurationError, match="cannot start a sandbox"):
        run(ADD, "assert add(2, 3) == 5")


def test_unsafe_code_is_limited_and_leaves_no_process() -> None:
    before = children()
    with unsafe_code():
        assert run("while True:\n    pass", "", seconds=0.5) == Verdict(False, "Timeout")
        assert run("import os\nos._exit(0)", "") == Verdict(False, "Ended")
    assert children() == before


def test_unsafe_code_holds_for_its_block_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with unsafe_code():
        assert run(ADD, "assert add(2, 3) == 5") == PASSED
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigurationError):
        run(ADD, "assert add(2, 3) == 5")


@pytest.mark.parametrize(
    ("column", "header"), [(0, "asm/unistd_64.h"), (1, "asm-generic/unistd.h")]
)
def test_the_filter_has_the_numbers_of_the_headers_of_linux(column: int, header: str) -> None:
    known = {name: numbers[column] for name, numbers in SYSTEM_CALLS.items() if numbers[column]}
    wanted = "#define __ARCH_WANT_MEMFD_SECRET\n#define __ARCH_WANT_SYS_CLONE3\n"
    source = f"{wanted}#include <{header}>\n" + "".join(f"{name} __NR_{name}\n" for name in known)
    try:
        found = subprocess.run(
            ["cc", "-E", "-P", "-"], input=source, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no C compiler or no header {header} here: {error}")
    lines = (line.split() for line in found.stdout.splitlines()[-len(known) :])
    assert {name: int(number) for name, number in lines} == known


def test_a_machine_whose_numbers_are_unknown_has_no_filter() -> None:
    assert filter_program("riscv64") is None
    assert filter_program("x86_64") != filter_program("aarch64")
    assert len(filter_program("aarch64") or b"") % 8 == 0
    assert sys.byteorder == "little"
