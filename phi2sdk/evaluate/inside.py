"""The two processes that check a program. The interpreter runs this file alone, without packages.

One process executes the program, and the other one executes its tests. A name that the tests do not
define is a name of the program: a call of it is a request to the process of the program, and the
result comes back. So the process of the program has neither the expected results nor the nonce
that a success prints, and what comes from it is data: no method of a class of the program is
called in a comparison.

Arguments and results are copied if they are numbers, text, bytes, lists, tuples, sets,
dictionaries, ranges or iterators. Other objects stay in the process of the program, and the tests
have references to them.
"""

from __future__ import annotations

import builtins
import importlib
import json
import os
import resource
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from itertools import islice
from types import ModuleType
from typing import IO, Any

MESSAGE_BYTES = 16 << 20
"""Largest message from the program. The tests fail after a longer one."""
VALUES = 1_000_000
"""Largest number of values that are copied from a collection or an iterator."""
FILE_BYTES = 16 << 20
OPEN_FILES = 64


class Ended(Exception):
    """The program's process ended, or sent what is not a message."""


class Reference:
    """An object in the process of the program. A reference is equal to itself only."""

    __slots__ = ("_link", "_number")

    def __init__(self, link: Link, number: int) -> None:
        object.__setattr__(self, "_link", link)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._link.ask("call", self, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return self._link.ask("get", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._link.ask("set", self, name, value)


class Codec:
    """Converts values to JSON values and back.

    Args:
        keep: Returns the number of an object that cannot be copied.
        find: Returns the object with a number, or what stands for it.
    """

    def __init__(self, keep: Callable[[Any], int], find: Callable[[int], Any]) -> None:
        every = self._encode_all
        self._encoders: tuple[tuple[type | tuple[type, ...], str, Callable[[Any], Any]], ...] = (
            (str, "text", str),
            (int, "integer", hex),
            (float, "float", lambda value: float(value).hex()),
            (complex, "complex", lambda value: [value.real.hex(), value.imag.hex()]),
            ((bytes, bytearray), "bytes", lambda value: value.hex()),
            (list, "list", every),
            (tuple, "tuple", every),
            (set, "set", every),
            (frozenset, "frozenset", every),
            (dict, "dictionary", lambda value: every(value.items())),
            (range, "range", lambda value: [value.start, value.stop, value.step]),
            (Iterator, "iterator", every),
            (object, "object", keep),
        )
        decoded = self._decode_all
        self._decoders: dict[str, Callable[[Any], Any]] = {
            "text": str,
            "integer": lambda content: int(content, 16),
            "float": float.fromhex,
            "complex": lambda content: complex(*map(float.fromhex, content)),
            "bytes": bytes.fromhex,
            "list": decoded,
            "tuple": lambda content: tuple(decoded(content)),
            "set": lambda content: set(decoded(content)),
            "frozenset": lambda content: frozenset(decoded(content)),
            "dictionary": lambda content: dict(decoded(content)),
            "range": lambda content: range(*content),
            "iterator": lambda content: iter(decoded(content)),
            "object": find,
        }

    def encode(self, value: Any) -> Any:
        """Return the JSON value for ``value``."""
        if value is None or value is True or value is False:
            return value
        for kind, tag, convert in self._encoders:
            if isinstance(value, kind):
                return [tag, convert(value)]
        raise AssertionError("every value is an object")

    def decode(self, coded: Any) -> Any:
        """Return the value of a JSON value.

        Raises:
            Exception: `encode` does not return such a value.
        """
        if coded is None or coded is True or coded is False:
            return coded
        tag, content = coded
        return self._decoders[tag](content)

    def _encode_all(self, values: Iterable[Any]) -> list[Any]:
        return [self.encode(value) for value in islice(values, VALUES)]

    def _decode_all(self, contents: list[Any]) -> list[Any]:
        return [self.decode(content) for content in contents]


class Link:
    """The connection of the tests to the program."""

    def __init__(self, requests: IO[bytes], replies: IO[bytes]) -> None:
        self._requests = requests
        self._replies = replies
        self._codec = Codec(_number, lambda number: Reference(self, int(number)))

    def ask(self, *request: Any) -> Any:
        """Return the result of an action in the process of the program.

        Raises:
            Ended: There is no answer.
            Exception: The exception that the program raised, if it is one of Python.
        """
        coded = self._codec.encode(request)
        try:
            _send(self._requests, coded)
            answer = self._codec.decode(json.loads(self._replies.readline(MESSAGE_BYTES)))
            printed, raised, result = answer
            sys.stdout.write(printed)
        except Exception as error:
            raise Ended from error
        if raised is not None:
            kind = getattr(builtins, str(raised), None)
            if isinstance(kind, type) and issubclass(kind, Exception):
                raise kind
            raise RuntimeError(raised)
        return result


def _number(value: Any) -> int:
    if isinstance(value, Reference):
        number: int = value._number
        return number
    raise TypeError(f"a test passes a {type(value).__name__}, which cannot be sent")


class Names(dict[str, Any]):
    """The global names of the tests. Those that the tests do not define are the program's.

    Args:
        link: The connection to the program.
        program: Names of the program that Python or its library has too.
    """

    def __init__(self, link: Link, program: Iterable[str]) -> None:
        super().__init__(__name__="tests", __builtins__=builtins)
        self._link = link
        self._program = frozenset(program)

    def __missing__(self, name: str) -> Any:
        if name not in self._program:
            if hasattr(builtins, name):
                raise KeyError(name)
            if name in sys.stdlib_module_names:
                return importlib.import_module(name)
        try:
            return self._link.ask("name", name)
        except AttributeError:
            raise KeyError(name) from None


def run_tests(requests: int, replies: int) -> None:
    """Run the tests that the standard input describes, and print the result as JSON.

    Args:
        requests: File descriptor for requests to the program.
        replies: File descriptor for its replies.
    """
    job = json.load(sys.stdin)
    with (
        open(requests, "wb") as sent,
        open(replies, "rb") as received,
        open(os.devnull, "w", encoding="utf-8") as nowhere,
    ):
        link = Link(sent, received)
        try:
            with redirect_stdout(nowhere):
                link.ask("run", job["code"])
                exec(job["tests"], Names(link, job["names"]))  # noqa: S102
        except BaseException as error:
            found = {"reason": type(error).__name__}
        else:
            found = {"nonce": job["nonce"]}
    sys.stdout.write(json.dumps(found))


def run_program() -> None:
    """Run the program that arrives first, and do what the tests request until they end."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    module = ModuleType("program")
    sys.modules["program"] = module
    objects: list[Any] = []

    def keep(value: Any) -> int:
        objects.append(value)
        return len(objects) - 1

    actions: dict[str, Callable[..., Any]] = {
        "run": lambda code: exec(code, module.__dict__),  # noqa: S102
        "name": lambda name: getattr(module, name),
        "call": lambda function, args, kwargs: function(*args, **kwargs),
        "get": getattr,
        "set": setattr,
    }
    codec = Codec(keep, lambda number: objects[number])
    for line in requests:
        action, *operands = codec.decode(json.loads(line))
        raised = result = None
        with redirect_stdout(StringIO()) as printed:
            try:
                result = codec.encode(actions[action](*operands))
            except BaseException as error:
                raised = type(error).__name__
        texts = codec.encode(printed.getvalue()), codec.encode(raised)
        _send(replies, ["tuple", [*texts, result]])


def _send(file: IO[bytes], coded: Any) -> None:
    file.write(json.dumps(coded).encode() + b"\n")
    file.flush()


def limit(seconds: int, memory_mib: int) -> None:
    """Limit the processor time and the memory of this process, and its files."""
    if sys.platform != "darwin":  # macOS refuses this limit
        resource.setrlimit(resource.RLIMIT_AS, (memory_mib << 20, memory_mib << 20))
    for kind, value in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, FILE_BYTES),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
    ):
        resource.setrlimit(kind, (value, value))


if __name__ == "__main__":
    role, seconds, memory_mib, *descriptors = sys.argv[1:]
    limit(int(seconds), int(memory_mib))
    if role == "tests":
        run_tests(*map(int, descriptors))
    else:
        run_program()
