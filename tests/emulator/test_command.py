"""``python -m phi2sdk.emulator``, as a user starts and stops it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from phi2sdk.cli import emulate_main
from phi2sdk.emulator import Emulator, PublicBindRefused
from phi2sdk.emulator.serve import UsageProblem, read_script

Command = Callable[[list[str]], object]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command in this process, and returns its status."""

    def run(arguments: list[str]) -> object:
        monkeypatch.setattr(sys, "argv", ["emulator", *arguments])
        with pytest.raises(SystemExit) as ended:
            emulate_main()
        return ended.value.code

    return run


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_environment_serves_and_stops_on_a_signal(
    stop: signal.Signals, tmp_path: Path
) -> None:
    script = tmp_path / "answers.json"
    script.write_text(json.dumps({"Hello": "Scripted."}))
    command = [sys.executable, "-W", "error", "-m", "phi2sdk.emulator", "--script", str(script)]
    with subprocess.Popen(
        [*command, "--key", "k"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        values: dict[str, str] = {}
        for line in process.stdout:
            if match := re.fullmatch(r"export (\w+)=(\S+)\n", line):
                values[match[1]] = match[2]
            if line.startswith("#"):
                break
        request = urllib.request.Request(
            values["HF_PHI2_ENDPOINT"] + "/generate",
            data=json.dumps({"inputs": "Hello"}).encode(),
            headers={"Authorization": f"Bearer {values['HF_TOKEN']}"},
        )
        with urllib.request.urlopen(request) as reply:
            assert json.load(reply) == {"generated_text": "Scripted."}
        process.send_signal(stop)
        assert process.wait(10) == 0
        assert process.stderr.read() == ""
    assert set(values) == {
        "AZURE_PHI2_ENDPOINT",
        "AZURE_PHI2_KEY",
        "CLARIFAI_API_BASE",
        "CLARIFAI_PAT",
        "HF_PHI2_ENDPOINT",
        "HF_TOKEN",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
    }


def test_it_stops_by_itself(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(["--for", "0.01", "--provider", "hf"]) == 0
    assert "time is up" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--host", "0.0.0.0"], "--allow-public-bind"),
        (["--host", "example.com"], "--allow-public-bind"),
        (["--script", "/nowhere.json"], "cannot read"),
        (["--model", "/nowhere"], "no checkpoint folder"),
        (["--model", "demo", "--script", "x"], "exclude each other"),
        (["--ttft", "-1"], "negative"),
        (["--provider", "hf", "--", "/no/such/command"], "/no/such/command"),
        (["--for", "1", "--", "true"], "--for"),
        (["--json", "--", "true"], "--json"),
    ],
)
def test_mistakes_end_with_status_2_and_a_hint(
    arguments: list[str], hint: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(arguments) == 2
    assert hint in capsys.readouterr().err


@pytest.mark.parametrize("provider", ["hf", "clarifai"])
def test_a_taken_port_is_named(
    provider: str, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    with Emulator(providers=("hf",)).running() as emulator:
        port = emulator.hf.url.rsplit(":", 1)[1]
        assert command(["--provider", provider, "--port-base", port, "--for", "1"]) == 2
    assert "--port-base" in capsys.readouterr().err


ASK = """
import os
from phi2sdk import Phi2Client
for target in ("azure", "clarifai", "hf", "openai"):
    with Phi2Client(target) as phi:
        print(target, phi.generate("Hello").text)
print(os.environ["NO_PROXY"])
"""


def emulate(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "phi2sdk.emulator", *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


def test_a_command_runs_with_the_variables_set_and_its_status_is_passed_on(tmp_path: Path) -> None:
    script = tmp_path / "answer.txt"
    script.write_text(" Scripted.")
    asking = (*("--script", str(script), "--key", "k"), "--", sys.executable, "-c", ASK)
    done = emulate(*asking, NO_PROXY="example.org")
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        *(f"{target} Scripted." for target in ("azure", "clarifai", "hf", "openai")),
        "example.org,127.0.0.1",
    ]
    assert done.returncode == 0
    failing = emulate("--provider", "hf", sys.executable, "-c", "import sys; sys.exit(7)")
    assert (failing.returncode, failing.stdout, failing.stderr) == (7, "", "")


def test_the_options_of_the_command_are_its_own() -> None:
    shown = "import sys; print(sys.argv[1:])"
    done = emulate("--provider", "hf", sys.executable, "-c", shown, "--key", "--", "--help")
    assert done.stdout == "['--key', '--', '--help']\n"


def test_a_command_that_a_signal_ends_has_the_status_that_a_shell_would_give() -> None:
    kill = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert emulate("--provider", "hf", "--", sys.executable, "-c", kill).returncode == 137


def test_sigterm_is_passed_to_the_command() -> None:
    waits = "import signal, sys; print('ready', flush=True); signal.pause()"
    with subprocess.Popen(
        [sys.executable, "-m", "phi2sdk.emulator", "--provider", "hf", sys.executable, "-c", waits],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.terminate()
        assert process.wait(20) == 128 + signal.SIGTERM


def test_ctrl_c_is_left_to_the_command() -> None:
    """A terminal sends it to both; an interactive command such as a shell continues."""
    waits = (
        "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}); "
        "print('ready', flush=True); signal.sigwait({signal.SIGINT}); print('caught', flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-m", "phi2sdk.emulator", "--provider", "hf", sys.executable, "-c", waits],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.killpg(process.pid, signal.SIGINT)
        assert process.stdout.read() == "caught\n"
        assert process.wait(20) == 0


def test_scripts_are_texts_lists_or_objects_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "script"
    for content, answers in (
        ("plain words", "plain words"),
        ('["a", "b"]', ["a", "b"]),
        ('{"a": "b"}', {"a": "b"}),
        ('"a"', "a"),
    ):
        path.write_text(content)
        assert read_script(path) == answers
    for bad in (b"[1]", b'{"a": 1}', b"3", b"\xff\xfe"):
        path.write_bytes(bad)
        with pytest.raises(UsageProblem):
            read_script(path)


def test_only_loopback_is_bound_unless_allowed() -> None:
    for host in ("0.0.0.0", "::", "192.0.2.7", "example.com"):
        with pytest.raises(PublicBindRefused, match="allow_public"):
            Emulator(host=host)
    Emulator(host="0.0.0.0", allow_public=True)
    Emulator(host="localhost")
    Emulator(host="::1")
