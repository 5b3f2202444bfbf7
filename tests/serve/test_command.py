"""``phi2 serve`` as a user runs it: its messages, its end, and its exit statuses."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import openai
import pytest

from phi2sdk.emulator import Fault, Schedule
from phi2sdk.testing import Phi2Emulator
from tests.commands import phi2


@pytest.fixture
def here(phi2_emulator: Phi2Emulator, tmp_path: Path) -> Path:
    phi2_emulator.answers(" Tides follow the moon.")
    (tmp_path / "phi2.toml").write_text(
        f'[targets.far]\nbackend = "openai"\nbase_url = "{phi2_emulator.openai.url}/v1"\n'
        'api_key = { env = "OPENAI_API_KEY" }\n'
        '[serve]\nport = 0\napi_key = { env = "TEAM_KEY" }\n[serve.routes]\nphi-2 = ["far"]\n'
    )
    return tmp_path


@contextmanager
def serving(cwd: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A running gateway and its URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "phi2sdk.cli", "serve", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, "TEAM_KEY": "team", "NO_COLOR": "1"},
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.fullmatch(r"serving far, phi-2 at (http://127\.0\.0\.1:\d+/v1)\n", line)
        assert found is not None, line
        yield process, found.group(1)
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_running_stream_end_and_the_status_is_0(
    number: signal.Signals, here: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.openai.schedule = Schedule(per_token=0.05)
    said: list[str] = []
    with (
        serving(here, "--verbose") as (process, url),
        openai.OpenAI(base_url=url, api_key="team", max_retries=0) as phi,
    ):
        stream = iter(phi.completions.create(model="phi-2", prompt="Tides?", stream=True))
        said.append(next(stream).choices[0].text)
        process.send_signal(number)
        said += [chunk.choices[0].text for chunk in stream]
        assert process.wait(10) == 0
        assert process.stderr is not None
        rest = process.stderr.read()
    assert "".join(said) == " Tides follow the moon."
    assert "no new requests; waiting at most 30 s for the running ones" in rest
    assert re.search(r"/v1/completions: model phi-2, target far, \d\.\d+ s, answered", rest)
    assert "Tides" not in rest


def test_a_second_signal_ends_the_gateway_at_once(here: Path, phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.openai.faults.push(Fault("hang"))

    def ask(url: str) -> None:
        with (
            openai.OpenAI(base_url=url, api_key="team", max_retries=0) as phi,
            pytest.raises(openai.APIConnectionError),
        ):
            phi.completions.create(model="far", prompt="Tides?")

    with serving(here) as (process, url):
        asking = Thread(target=ask, args=(url,))
        asking.start()
        phi2_emulator.openai.calls.wait_for(1)
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        while "waiting at most" not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        asking.join(10)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target", "mars"), "there is no target 'mars'"),
        (("--api-key-env", "NO_SUCH"), "the environment variable NO_SUCH is not set"),
        (("--route", "fast"), "the route 'fast' is not NAME=TARGET,TARGET"),
        (("--route", "far=local"), "'far' names a target and a route"),
        (("--concurrency", "0"), "concurrency=0 must be at least 1"),
        (("--budget-usd", "0"), "a budget of 0 USD must be above 0"),
        (("--budget-usd", "1"), "the budget needs a price for the target far"),
        (("--port", "PORT"), "cannot listen on 127.0.0.1 port"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_the_user_can_correct_is_status_2_in_one_line(
    arguments: tuple[str, ...], words: str, here: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        given = [str(taken.getsockname()[1]) if one == "PORT" else one for one in arguments]
        status, out, err = phi2("serve", *given, cwd=here, TEAM_KEY="team")
    assert (status, out) == (2, "")
    assert words in err
    assert err.startswith("phi2 serve: ")
    assert err.count("\n") == 1


def test_a_public_address_without_a_key_and_a_file_without_targets_are_status_2(
    tmp_path: Path,
) -> None:
    status, _, err = phi2("serve", "-t", "local", "--host", "0.0.0.0", cwd=tmp_path)
    assert status == 2
    assert "--api-key-env" in err
    status, _, err = phi2("serve", cwd=tmp_path)
    assert status == 2
    assert "there is no target to serve" in err


def test_a_local_model_that_cannot_be_loaded_ends_the_gateway(tmp_path: Path) -> None:
    (tmp_path / "phi2.toml").write_text('[targets.gpu]\nbackend = "local"\nmodel = "./nowhere"\n')
    status, _, err = phi2("serve", "--port", "0", cwd=tmp_path)
    assert status in (2, 3)
    assert "nowhere" in err
    assert "Traceback" not in err
