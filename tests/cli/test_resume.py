"""An interrupted comparison continues by the line that it printed, and by nothing else."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from phi2sdk.emulator import Emulator, ScriptedEngine
from phi2sdk.measure.folder import RunFolder
from phi2sdk.testing import Phi2Emulator
from tests.commands import phi2

SMALL = ("--repeat", "1", "--warmup", "0")
PRICE = 'price = { model = "per-request", usd = 0.01, source = "invoice", date = "2026-11-01" }'


def at_the_command_line(line: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a line in a shell, with the interpreter of the tests first in PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-c", line],
        cwd=cwd,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def printed(err: str) -> str:
    """The command that continues the run."""
    found = re.search(r"^To continue the run: (.+)$", err, re.MULTILINE)
    assert found, err
    return found[1]


@pytest.fixture
def here(phi2_emulator: Phi2Emulator, tmp_path: Path) -> Path:
    phi2_emulator.answers("Tides follow the moon.")
    text = "\n\n".join(f"Paragraph {i}." for i in range(30))
    (tmp_path / "many.txt").write_text(text)
    (tmp_path / "mine.toml").write_text(
        f'[targets.far]\nbackend = "openai"\nbase_url = "{phi2_emulator.openai.url}/v1"\n'
        f'api_key = {{ env = "OPENAI_API_KEY" }}\n{PRICE}\n'
    )
    return tmp_path


def interrupted(
    arguments: tuple[str, ...], cwd: Path, emulator: Phi2Emulator, stdin: str | None = None
) -> str:
    """Interrupt a comparison at its eighth request; return what it printed."""
    eighth, asked = Event(), count(1)

    def answer(prompt: str) -> str:
        if next(asked) == 8:
            eighth.set()
        return "Tides follow the moon."

    emulator.answers(answer)
    process = subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    process.stdin.write(stdin or "")
    process.stdin.close()
    process.stdin = None
    assert eighth.wait(60)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "To continue" not in out, "the command is printed once, as the last line"
    return err


def done(folder: Path) -> int:
    recorded = RunFolder(folder).read().recorded
    return sum(key.arm == "greedy" for key in recorded.done)


@pytest.mark.parametrize("module", ["phi2sdk.cli", "phi2sdk.compare"])
def test_the_printed_line_continues_the_run_with_all_of_its_options(
    module: str, here: Path, phi2_emulator: Phi2Emulator
) -> None:
    started = (module,) if module == "phi2sdk.compare" else (module, "compare")
    options = ("--config", "mine.toml", "--slo", "e2e=5", "--volume", "1000", "--margin", "10%")
    identity = ("--identity", "4", "--seed", "3", "-o", "a run", "--load", "closed")
    arguments = (*started, "many.txt", "--task", "prompt", *SMALL, *options, *identity)
    line = printed(interrupted(arguments, here, phi2_emulator))
    program = "python -m phi2sdk.compare" if len(started) == 1 else "phi2 compare"
    assert line == f"{program} --resume --output 'a run'"
    assert done(here / "a run") < 30
    (here / "many.txt").unlink()
    sent = len(phi2_emulator.openai.calls)
    continued = at_the_command_line(line, here)
    assert continued.returncode in (0, 3), continued.stderr  # 3: the machine was too busy
    assert done(here / "a run") == 30
    assert len(phi2_emulator.openai.calls) - sent < 40, "what is recorded is not sent again"
    report = json.loads((here / "a run" / "report.json").read_text())
    assert report["run"]["complete"]
    assert (report["run"]["seed"], report["run"]["margin"]) == (3, 0.1)
    assert report["run"]["identity"] == 4
    assert report["volume"]["per_day"] == 1000
    assert report["targets"]["far"]["goodput"]["slo"] == {"e2e": 5.0}


def test_prompts_of_standard_input_are_not_needed_again(
    here: Path, phi2_emulator: Phi2Emulator
) -> None:
    text = (here / "many.txt").read_text()
    arguments = ("phi2sdk.cli", "compare", "-", "-t", "openai", *SMALL, "-o", "run")
    line = printed(interrupted(arguments, here, phi2_emulator, text))
    continued = at_the_command_line(line, here)
    assert continued.returncode in (0, 3), continued.stderr
    assert done(here / "run") == 30


@pytest.fixture
def run(here: Path) -> Path:
    """A finished run of the target far."""
    arguments = ("--config", "mine.toml", "--max-tokens", "8", "--seed", "3", "--output", "run")
    status, _, err = phi2("compare", "many.txt", *SMALL, *arguments, cwd=here)
    assert status in (0, 3), err
    return here


@pytest.mark.parametrize(
    ("given", "now", "before"),
    [
        (("--seed", "7"), "--seed 7", "with --seed 3"),
        (("--rate", "2"), "--rate 2", "without --rate"),
        (("--task", "prompt"), "--task prompt", "with --task summarize"),
        (("--target", "near"), "--target near", "with --target far"),
        (("--demo",), "--demo", "without --demo"),
        (("--unique-prefix",), "--unique-prefix", "without --unique-prefix"),
        (("--repeat", "2"), "--repeat 2", "with --repeat 1"),
        (("--max-tokens", "9"), "--max-tokens 9", "with --max-tokens 8"),
        (("--identity", "80"), "--identity 80", "with --identity 0"),
        (("--sweep", "1,2"), "--sweep 1,2", "without --sweep"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_option_that_contradicts_the_run_is_refused_with_both_values(
    given: tuple[str, ...], now: str, before: str, run: Path, phi2_emulator: Phi2Emulator
) -> None:
    sent = len(phi2_emulator.openai.calls)
    status, out, err = phi2("compare", "--resume", "--output", "run", *given, cwd=run)
    assert (status, out) == (2, "")
    assert f"{now} contradicts the run in run, which was made {before}." in err
    assert len(phi2_emulator.openai.calls) == sent


def test_options_that_agree_with_the_run_and_the_old_names_are_accepted(run: Path) -> None:
    same = ("many.txt", *SMALL, "--config", "mine.toml", "--seed", "3", "--max-tokens", "8")
    status, _, err = phi2("compare", *same, "-t", "far", "--resume", "--out", "run", cwd=run)
    assert status in (0, 3), err


def test_a_different_input_is_refused(run: Path) -> None:
    (run / "other.txt").write_text("Something else.")
    status, _, err = phi2("compare", "other.txt", "--resume", "--output", "run", cwd=run)
    assert status == 2
    assert "another configuration" in err
    assert "input: " in err


def edited(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    document = json.loads((run / "run" / "run.json").read_text())
    change(document)
    (run / "run" / "run.json").write_text(json.dumps(document))


def test_a_received_run_does_not_send_a_secret_to_a_host_of_its_choice(
    run: Path, tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    """The configuration that run.json names needs a confirmation as any other (phi2 trust)."""
    with Emulator(ScriptedEngine("x"), providers=["openai"]).running() as thief:
        (tmp_path / "evil.toml").write_text(
            f'[targets.far]\nbackend = "openai"\nbase_url = "{thief.openai.url}/v1"\n'
            f'api_key = {{ env = "AWS_SECRET_ACCESS_KEY" }}\n{PRICE}\n'
        )
        edited(run, lambda info: info["options"].update(config="evil.toml"))
        (run / "run" / "records.jsonl").write_text("")
        status, _, err = phi2(
            *("compare", "--resume", "--output", "run"),
            cwd=run,
            AWS_SECRET_ACCESS_KEY="a-real-secret",
            XDG_CONFIG_HOME=str(tmp_path / "settings"),
        )
        assert status == 2
        assert "would send AWS_SECRET_ACCESS_KEY" in err
        assert "phi2 trust" in err
        assert len(thief.openai.calls) == 0


def test_a_target_that_is_another_one_now_is_not_mixed_into_the_run(run: Path) -> None:
    with Emulator(ScriptedEngine("x"), providers=["openai"]).running() as other:
        file = run / "mine.toml"
        file.write_text(re.sub(r"http://[^/]+", other.openai.url, file.read_text()))
        status, _, err = phi2(
            *("compare", "--resume", "--output", "run"), cwd=run, OPENAI_API_KEY=other.key
        )
        assert status == 2
        assert "targets.far.settings.base_url" in err
        assert len([call for call in other.openai.calls if call.method == "POST"]) == 0


@pytest.mark.parametrize(
    "options", [{"volume": "many"}, {"yes": True}, {"require": "x"}, ["--yes"]], ids=str
)
def test_options_that_no_run_writes_are_damage(options: object, run: Path) -> None:
    edited(run, lambda info: info.update(options=options))
    status, _, err = phi2("compare", "--resume", "--output", "run", cwd=run)
    assert status == 2
    assert "run.json is damaged" in err


def test_a_run_of_the_program_without_options_is_resumed(run: Path) -> None:
    edited(run, lambda info: info.pop("options"))
    status, _, err = phi2(
        *("compare", "--resume", "--output", "run", "--config", "mine.toml"), cwd=run
    )
    assert status in (0, 3), err
