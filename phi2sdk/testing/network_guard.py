"""Refuse connections of tests to anything but loopback, and record them.

Python's sockets, and so asyncio's, raise an audit event (PEP 578) for each connection and each name
lookup; the guard refuses them there. gRPC and uvloop call the kernel directly, so the guard wraps
their functions.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import ipaddress
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from phi2sdk.transport.endpoint import is_loopback


class NetworkForbidden(AssertionError):
    """A test tried to use the network. It is not an ``OSError``, which clients catch."""


class _Guard:
    def __init__(self) -> None:
        self.test: str | None = None
        self.tried: list[str] = []
        self._hooked = False

    def hook(self) -> None:
        """Add the audit hook once, since it cannot be removed; it is inactive between tests."""
        if not self._hooked:
            self._hooked = True
            sys.addaudithook(self._on_event)

    def refuse(self, what: str) -> None:
        """Raise, and record the attempt, since the tested code may catch the exception.

        Raises:
            NetworkForbidden: Always.
        """
        self.tried.append(what)
        raise NetworkForbidden(
            f"{self.test} {what}, and this test may connect to loopback only. Use the fixture "
            "phi2_emulator for its client, or remove the marker phi2_no_network"
        )

    def _on_event(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.test is None or not event.startswith("socket."):
            return
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            connection, address = arguments
            if connection.family in (socket.AF_INET, socket.AF_INET6) and address is not None:
                try:
                    self.check_address(str(address[0]), address[1])
                except NetworkForbidden:
                    connection.close()  # its owner handles an OSError only
                    raise
        elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
            self.check_name(arguments[0])

    def check_address(self, host: str, port: object) -> None:
        if not is_loopback(host.partition("%")[0]):
            self.refuse(f"tried to reach {host} port {port}")

    def check_name(self, host: str | bytes | None) -> None:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if name and not is_loopback(name) and not _is_address(name):
            self.refuse(f"tried to look up {name}")

    def check_target(self, target: str) -> None:
        """Check the target of a gRPC channel: ``host:port``, ``dns:///host:port``, ``unix:...``."""
        if target.startswith(("unix:", "unix-abstract:")):
            return
        place = target.rpartition("/")[2]
        place = place.removeprefix("dns:").removeprefix("ipv4:").removeprefix("ipv6:")
        host = place.rpartition(":")[0] if not place.endswith("]") else place
        if not is_loopback((host or place).strip("[]")):
            self.refuse(f"tried to open a gRPC channel to {place}")


_guard = _Guard()


@contextmanager
def forbidden(test: str) -> Iterator[list[str]]:
    """Refuse the network in all threads while the block runs; yield the refused attempts.

    Args:
        test: The name of the test, for the error.

    Raises:
        NetworkForbidden: Code in the block tries to connect to anything but loopback.
    """
    _guard.hook()
    before = _guard.test, _guard.tried
    _guard.test, _guard.tried = test, []
    try:
        with _grpc(), _uvloop():
            yield _guard.tried
    finally:
        _guard.test, _guard.tried = before


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True


@contextmanager
def _grpc() -> Iterator[None]:
    """Refuse channels of gRPC when they are created, since its core connects in C."""
    if importlib.util.find_spec("grpc") is None:
        yield
        return
    modules = importlib.import_module("grpc"), importlib.import_module("grpc.aio")
    with _wrapped(
        [(module, name) for module in modules for name in ("insecure_channel", "secure_channel")],
        lambda target, *_, **__: _guard.check_target(target),
    ):
        yield


@contextmanager
def _uvloop() -> Iterator[None]:
    """Refuse lookups and connections of uvloop, whose loop performs them in C."""
    if importlib.util.find_spec("uvloop") is None:
        yield
        return
    loop = importlib.import_module("uvloop").Loop

    def check(_: object, *places: object, **options: Any) -> None:
        host = options.get("host", next(iter(places), None))
        if callable(host):  # create_connection(factory, host, port)
            host = next(iter(places[1:]), None)
        if isinstance(host, str | bytes):
            _guard.check_name(host)
            name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
            if _is_address(name):
                _guard.check_address(name, options.get("port", places[-1] if places else ""))

    with _wrapped([(loop, "getaddrinfo"), (loop, "create_connection")], check):
        yield


@contextmanager
def _wrapped(places: list[tuple[Any, str]], check: Callable[..., None]) -> Iterator[None]:
    """Let each function pass its arguments to ``check`` first."""
    before = [(owner, name, getattr(owner, name)) for owner, name in places]
    try:
        for owner, name, function in before:
            setattr(owner, name, _checked(function, check))
        yield
    finally:
        for owner, name, function in before:
            setattr(owner, name, function)


def _checked(function: Callable[..., Any], check: Callable[..., None]) -> Callable[..., Any]:
    @functools.wraps(function)
    def checked(*arguments: Any, **options: Any) -> Any:
        check(*arguments, **options)
        return function(*arguments, **options)

    return checked
