"""Start and end of every command, run as by a user."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOOK = """
import importlib.abc, os, runpy, signal, sys

class Hook(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in {names!r}:
            {act}

sys.meta_path.insert(0, Hook())
sys.argv[0] = {module!r}
runpy.run_module({module!r}, run_name="__main__", alter_sys=True)
"""
HIDE = "raise ModuleNotFoundError(f'No module named {name!r}', name=name)"
INTERRUPT = "os.kill(os.getpid(), signal.SIGINT)"
OPTIONAL = {
    *("typer", "rich", "numpy", "scipy", "rapidfuzz", "matplotlib", "tokenizers", "safetensors"),
    *("grpc", "clarifai_grpc", "google.protobuf", "torch", "transformers", "huggingface_hub"),
}
WITHOUT_GRPC = OPTIONAL - {"typer", "rich"}
"""What is missing where the extra ``emulator`` is installed, but for gRPC."""


def run(
    module: str, *arguments: str, names: set[str], act: str, cwd: Path
) -> subprocess.CompletedProcess[str]:
    code = HOOK.format(names=names, act=act, module=module)
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**os.environ, "NO_COLOR": "1"},
        check=False,
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


@pytest.mark.parametrize("hidden", [OPTIONAL, {"numpy"}, {"scipy"}])
@pytest.mark.parametrize(
    ("module", "arguments"),
    [("phi2sdk.compare", ()), ("phi2sdk.cli", ("compare", "--demo"))],
    ids=["compare", "phi2"],
)
def test_a_missing_package_is_one_line_with_the_command_that_installs_it(
    module: str, arguments: tuple[str, ...], hidden: set[str], tmp_path: Path
) -> None:
    done = run(module, *arguments, names=hidden, act=HIDE, cwd=tmp_path)
    assert "python -m pip install 'phi2sdk[compare]'" in said(done)
    assert done.returncode == 2


def test_the_emulators_run_without_grpc_and_say_who_is_left_out(tmp_path: Path) -> None:
    done = run("phi2sdk.emulator", "--for", "0.01", names=WITHOUT_GRPC, act=HIDE, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "HF_PHI2_ENDPOINT" in done.stdout
    assert "CLARIFAI" not in done.stdout
    assert "clarifai is left out" in done.stderr
    assert "phi2sdk[emulator]" in done.stderr


def test_the_emulators_name_the_extra_that_installs_their_command(tmp_path: Path) -> None:
    done = run("phi2sdk.emulator", names={"typer"}, act=HIDE, cwd=tmp_path)
    assert "python -m pip install 'phi2sdk[emulator]'" in said(done)
    assert done.returncode == 2


def test_clarifais_emulator_asked_for_without_grpc_is_one_line_and_status_2(tmp_path: Path) -> None:
    done = run(
        *("phi2sdk.emulator", "--provider", "clarifai"),
        names=WITHOUT_GRPC,
        act=HIDE,
        cwd=tmp_path,
    )
    assert "python -m pip install 'phi2sdk[emulator]'" in said(done)
    assert done.returncode == 2


@pytest.mark.parametrize("name", ["typer", "numpy", "scipy", "phi2sdk.report.requirements"])
@pytest.mark.parametrize(
    ("module", "arguments"),
    [("phi2sdk.compare", ()), ("phi2sdk.cli", ("compare", "--demo"))],
    ids=["compare", "phi2"],
)
def test_ctrl_c_during_imports_is_one_line_and_status_130(
    module: str, arguments: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    done = run(module, *arguments, names={name}, act=INTERRUPT, cwd=tmp_path)
    assert said(done) == "interrupted\n"
    assert done.returncode == 130
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["aiohttp", "phi2sdk.emulator.serve"])
@pytest.mark.parametrize(
    ("module", "arguments"),
    [("phi2sdk.emulator", ()), ("phi2sdk.cli", ("emulate",))],
    ids=["emulator", "phi2"],
)
def test_ctrl_c_during_the_imports_of_the_emulators_is_one_line_and_status_130(
    module: str, arguments: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    done = run(module, *arguments, names={name}, act=INTERRUPT, cwd=tmp_path)
    assert said(done) == "interrupted\n"
    assert done.returncode == 130


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("prices",), "genai_prices"),
        (("memory",), "torch"),
        (("diff", "a", "b"), "phi2sdk.report.diff"),
        (("doctor",), "phi2sdk.backends.openai"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_ctrl_c_in_the_middle_of_a_command_is_130_with_a_line(
    arguments: tuple[str, ...], name: str, tmp_path: Path
) -> None:
    done = run("phi2sdk.cli", *arguments, names={name}, act=INTERRUPT, cwd=tmp_path)
    assert done.stderr == "interrupted\n"
    assert done.returncode == 130
    assert list(tmp_path.iterdir()) == []


def command(*arguments: str, stdout: int, stdin: bytes = b"") -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        input=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        check=False,
    )
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize(
    "arguments",
    [("phi2sdk.cli", "prices"), ("phi2sdk.emulator", "--provider", "hf", "--for", "5")],
    ids=["phi2", "emulator"],
)
def test_a_reader_that_goes_away_ends_a_command_quietly(arguments: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        assert command(*arguments, stdout=write) == (141, "")
    finally:
        os.close(write)


def test_a_full_disk_behind_standard_output_is_one_line_and_status_3() -> None:
    with open("/dev/full", "wb") as full:
        status, err = command("phi2sdk.cli", "memory", stdout=full.fileno())
    assert err == "phi2 memory: standard output cannot be written: No space left on device\n"
    assert status == 3


def test_standard_input_that_is_not_utf8_is_one_line_and_status_2() -> None:
    status, err = command("phi2sdk.cli", "generate", stdout=subprocess.DEVNULL, stdin=b"caf\xe9")
    assert err == "phi2 generate: standard input is not UTF-8 (byte 3): convert it first\n"
    assert status == 2
