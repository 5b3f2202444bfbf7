"""The marker that forbids the real network, as an application's own tests use it."""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import aiohttp
import grpc
import grpc.aio
import pytest

from phi2sdk import AsyncPhi2Client, Phi2Client
from phi2sdk.testing import Phi2Emulator
from phi2sdk.testing.network_guard import NetworkForbidden, forbidden

NOWHERE = "192.0.2.1"  # TEST-NET-1 (RFC 5737): nobody has it
NAME = "phi2.invalid"  # RFC 2606: no such name, ever


def connect(host: str) -> None:
    socket.create_connection((host, 443), timeout=0.01)


def datagram(host: str) -> None:
    address = socket.getaddrinfo(host, 53, type=socket.SOCK_DGRAM)[0][4]
    with socket.socket(type=socket.SOCK_DGRAM) as one:
        one.sendto(b"x", address)


def over_aiohttp(host: str) -> None:
    async def ask() -> None:
        async with aiohttp.ClientSession() as http:
            await http.get(f"http://{host}/")

    asyncio.run(ask())


def over_grpc_aio(host: str) -> None:
    async def ask() -> None:
        grpc.aio.secure_channel(f"dns:///{host}:443", grpc.ssl_channel_credentials())

    asyncio.run(ask())


def over_the_client(host: str) -> None:
    with Phi2Client("openai", base_url=f"https://{host}/v1", attempts=1) as phi:
        phi.generate("Hi")


def over_clarifai(host: str) -> None:
    with Phi2Client("clarifai", pat="x", base=f"https://{host}", attempts=1) as phi:
        phi.generate("Hi")


WAYS = {
    "socket": connect,
    "datagram": datagram,
    "lookup": lambda host: socket.getaddrinfo(host if host == NAME else NAME, 80),
    "urllib": lambda host: urlopen(f"http://{host}/"),
    "aiohttp": over_aiohttp,
    "grpc": lambda host: grpc.insecure_channel(f"{host}:443"),
    "grpc.aio": over_grpc_aio,
    "Phi2Client": over_the_client,
    "Phi2Client, gRPC": over_clarifai,
}


@pytest.mark.parametrize("host", [NOWHERE, NAME], ids=["address", "name"])
@pytest.mark.parametrize("way", WAYS)
def test_every_way_out_is_closed_and_the_error_names_test_and_address(way: str, host: str) -> None:
    with forbidden("tests/test_x.py::test_x") as tried:
        with pytest.raises(NetworkForbidden) as caught:
            WAYS[way](host)
        assert "tests/test_x.py::test_x tried to" in str(caught.value)
        assert host in str(caught.value) or way == "lookup"
        assert len(tried) == 1


def test_uvloop_is_closed_too() -> None:
    uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed: it is no dependency")

    async def look() -> None:
        await asyncio.get_running_loop().getaddrinfo(NAME, 80)

    async def reach() -> None:
        await asyncio.get_running_loop().create_connection(asyncio.Protocol, NOWHERE, 80)

    with forbidden("x"):
        for way in (look, reach):
            with pytest.raises(NetworkForbidden):
                uvloop.run(way())


@pytest.mark.phi2_no_network
def test_loopback_is_open(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers(" Here.")
    for target in ("azure", "clarifai", "hf", "openai"):
        with Phi2Client(target) as phi:
            assert phi.generate("Where?").text == "Here."
    for host in ("localhost", "::1", "127.0.0.1", None):
        assert socket.getaddrinfo(host, 80)
    left, right = socket.socketpair()
    with left, right:
        left.sendall(b"x")
        assert right.recv(1) == b"x"
    assert [call.prompt for call in phi2_emulator.calls] == ["Instruct: Where?\nOutput:"] * 4


@pytest.mark.phi2_no_network
async def test_loopback_is_open_to_asyncio(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers(" Here.")
    for target in ("clarifai", "openai"):
        async with AsyncPhi2Client(target) as phi:
            assert (await phi.generate("Where?")).text == "Here."


def test_afterwards_everything_is_as_it_was() -> None:
    before = grpc.insecure_channel, grpc.aio.secure_channel
    with forbidden("x"):
        assert grpc.insecure_channel is not before[0]
    assert (grpc.insecure_channel, grpc.aio.secure_channel) == before
    grpc.insecure_channel(f"{NOWHERE}:443").close()


APPLICATION = """
import socket
import pytest

def out():
    socket.create_connection(("192.0.2.1", 80), timeout=0.01)

def swallowed():
    try:
        out()
    except BaseException:
        pass

@pytest.mark.phi2_no_network
def test_out():
    out()

@pytest.mark.phi2_no_network
def test_swallowed():
    swallowed()

@pytest.fixture
def connected():
    out()

@pytest.mark.phi2_no_network
def test_in_a_fixture(connected):
    pass

def test_unmarked():
    with pytest.raises(OSError):
        out()

@pytest.mark.phi2_no_network(False)
def test_let_through():
    with pytest.raises(OSError):
        out()
"""


@pytest.mark.parametrize("everywhere", ["no", "flag", "ini"])
def test_a_suite_fails_where_it_is_forbidden_and_only_there(
    everywhere: str, tmp_path: Path
) -> None:
    (tmp_path / "test_application.py").write_text(APPLICATION)
    ini = "phi2_no_network = true" if everywhere == "ini" else ""
    (tmp_path / "pytest.ini").write_text(f"[pytest]\naddopts = --strict-markers\n{ini}\n")
    flags = ["--phi2-no-network"] if everywhere == "flag" else []
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rA", *flags],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    ended = {
        line.split("::")[1].split()[0]: line.split()[0]
        for line in done.stdout.splitlines()
        if line.startswith(("PASSED", "FAILED", "ERROR"))
    }
    unmarked = "PASSED" if everywhere == "no" else "FAILED"
    assert ended == {
        "test_out": "FAILED",
        "test_swallowed": "FAILED",
        "test_in_a_fixture": "ERROR",
        "test_unmarked": unmarked,
        "test_let_through": "PASSED",
    }, done.stdout
    assert "test_application.py::test_out tried to reach 192.0.2.1 port 80" in done.stdout
    assert "test_swallowed tried to reach 192.0.2.1 port 80, which is not allowed" in done.stdout


def test_grpc_need_not_be_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with forbidden("x"), pytest.raises(NetworkForbidden):
        connect(NOWHERE)
