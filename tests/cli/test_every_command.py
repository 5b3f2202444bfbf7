"""Properties of every command: statuses, clean JSON, color, Ctrl-C, help, completion."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from phi2sdk.cli.app import app
from phi2sdk.emulator import Fault
from phi2sdk.testing import Phi2Emulator
from tests.commands import on_a_terminal, phi2

COMMANDS_BY_NAME = typer.main.get_command(app).commands  # type: ignore[attr-defined]
COMMANDS = tuple(COMMANDS_BY_NAME)
SMALL = ("--repeat", "1", "--warmup", "0", "--max-tokens", "8", "--quiet")
ANSI = re.compile(r"\x1b\[([\d;]*)m")


@pytest.fixture
def here(phi2_emulator: Phi2Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a price for the provider and a text to summarize."""
    phi2_emulator.answers(" Tides rise and fall.\nInstruct: more")
    for name in ("AZURE_PHI2_ENDPOINT", "CLARIFAI_PAT", "HF_PHI2_ENDPOINT", "PHI2_MODEL"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "phi2.toml").write_text(
        f'[targets.far]\nbackend = "openai"\nbase_url = "{phi2_emulator.openai.url}/v1"\n'
        'api_key = { env = "OPENAI_API_KEY" }\n'
        '[[prices]]\nid = "old/price"\nvalue = 1.0\ncurrency = "USD"\nunit = "hour"\n'
        'date = 2020-01-01\nsource = "a page"\n'
    )
    (tmp_path / "wrong.toml").write_text("[targets.x]\n")
    (tmp_path / "in.txt").write_text("The sea rises.\n\nThe moon pulls.")
    (tmp_path / "in.jsonl").write_text('{"text": "The sea rises."}\n{"text": "The moon pulls."}\n')
    return tmp_path


@pytest.mark.parametrize(
    ("status", "arguments"),
    [
        (0, ("generate", "Tides?", "-t", "far")),
        (2, ("generate", "Tides?", "-t", "mars")),
        (2, ("generate", "Tides?", "-t", "far", "--stream", "--json")),
        (0, ("explain", "Tides?", "-t", "far", "--curl")),
        (2, ("explain", "Tides?", "-t", "mars", "--curl")),
        (0, ("doctor",)),
        (2, ("doctor", "--config", "wrong.toml")),
        (0, ("memory", "--context", "512")),
        (2, ("memory", "--dtype", "float3")),
        (0, ("prices", "old/")),
        (1, ("prices", "old/", "--check")),
        (1, ("prices", "old/", "--check", "--json")),
        (2, ("prices", "nothing-like-it")),
        (0, ("emulate", "--for", "0.01")),
        (2, ("emulate", "--script", "nowhere.json")),
        (2, ("compare", "in.txt", "--target", "mars")),
        (0, ("bulk", "in.jsonl", "out", "--target", "far", "--yes")),
        (2, ("bulk", "in.jsonl", "out", "--target", "far")),
        (2, ("bulk", "in.txt", "out", "--target", "far", "--yes")),
        (0, ("evaluate", "--tasks", "demo_exact_match", "-t", "far", "--limit", "1", "--yes")),
        (2, ("evaluate", "--tasks", "demo_exact_match", "-t", "far", "--limit", "1")),
        (2, ("evaluate",)),
        (2, ("evaluate", "get", "demo_yes_no")),
        (2, ("diff", "nowhere", "nowhere")),
        (2, ("report", "nowhere")),
        (2, ("plan", "--detect", "nonsense")),
        (2, ("serve", "--target", "mars")),
        (2, ("no-such-command",)),
        (0, ("--version",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_the_status_says_whose_it_is(status: int, arguments: tuple[str, ...], here: Path) -> None:
    """0 done, 1 a requirement fails, 2 the user can correct it; 3, a failure, has its own test."""
    given, _, err = phi2(*arguments, cwd=here)
    assert given == status, err
    assert "Traceback" not in err


def test_the_statuses_of_a_comparison(here: Path) -> None:
    compare = ("compare", "in.txt", "--target", "far", *SMALL)
    too_much = "targets.far.latency.e2e.p50 < 1e-9"
    assert phi2(*compare, "--out", "a", cwd=here)[0] == 0
    assert phi2(*compare, "--out", "b", "--require", too_much, cwd=here)[0] == 1
    assert phi2(*compare, "--out", "a", cwd=here)[0] == 2
    status, out, err = phi2("diff", "a", "b", "--json", cwd=here)
    assert (status, err) == (0, "")
    assert json.loads(out)["targets"]["far"]


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_0_with_an_example_and_a_wrong_option_2(command: str) -> None:
    runner = CliRunner()
    helped = runner.invoke(app, [command, "--help"], prog_name="phi2")
    assert helped.exit_code == 0
    assert f"Example: phi2 {command}" in " ".join(helped.output.split())
    assert runner.invoke(app, [command, "--no-such-option"]).exit_code == 2


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_whole_sentences_exit_statuses_and_groups(command: str) -> None:
    found = COMMANDS_BY_NAME[command]
    first, *rest = (found.help or "").split("\n\n")
    assert re.fullmatch(r"[A-Z][^.]+\.( [A-Z][^.]+\.)*", " ".join(first.split())), first
    assert any(text.startswith("Exit status:\n  0 ") for text in rest), found.help
    options = [one for one in found.params if one.param_type_name == "option" and not one.hidden]
    for option in options:
        text = str(getattr(option, "help", ""))
        assert re.fullmatch(r"\S.*\.", text, re.S), (option.name, text)
        assert not getattr(option, "show_default", None), "the help text states the default"
    if len(options) > 8:
        assert all(getattr(option, "rich_help_panel", None) for option in options)


def test_options_have_the_same_short_names_in_every_command() -> None:
    shorts: dict[str, set[str]] = {}
    for command in COMMANDS_BY_NAME.values():
        for option in command.params:
            for short in (one for one in option.opts if re.fullmatch("-[a-z]", one)):
                shorts.setdefault(short, set()).add(max(option.opts, key=len))
    assert shorts == {
        "-f": {"--force"},
        "-m": {"--model"},
        "-o": {"--output"},
        "-q": {"--quiet"},
        "-t": {"--target"},
        "-v": {"--verbose"},
        "-y": {"--yes"},
    }


@pytest.mark.parametrize("command", ["generate", "bulk", "doctor", "compare"])
def test_a_failure_at_the_provider_is_status_3(
    command: str, here: Path, phi2_emulator: Phi2Emulator
) -> None:
    arguments = {
        "generate": ("generate", "Tides?", "-t", "far"),
        "bulk": ("bulk", "in.jsonl", "out", "-t", "far", "--yes"),
        "doctor": ("doctor",),
        "compare": ("compare", "in.txt", "--target", "far", *SMALL, "--out", "run"),
    }[command]
    path = {"doctor": "/v1/models"}.get(command, "/v1/completions")
    phi2_emulator.openai.faults.push(Fault("status", status=403, path=path), times=9)
    status, _, err = phi2(*arguments, cwd=here)
    assert status == 3, err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "look"),
    [
        (("generate", "Tides?", "-t", "far", "--json"), lambda said: said["text"]),
        (("explain", "Tides?", "-t", "far", "--json"), lambda said: said["call"]["body"]),
        (("doctor", "--json"), lambda said: said[0]["ok"]),
        (("memory", "--json"), lambda said: said["needs"][0]["total_bytes"]),
        (("prices", "--json"), lambda said: said["prices"][0]["value"]),
        (("emulate", "--for", "0.01", "--json"), lambda said: said["AZURE_PHI2_KEY"]),
        (
            ("compare", "in.txt", "-t", "far", *SMALL[:-1], "--out", "run", "--json"),
            lambda said: said["targets"]["far"],
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_json_alone_is_on_standard_output(
    arguments: tuple[str, ...], look: Callable[[object], object], here: Path
) -> None:
    status, out, err = phi2(*arguments, cwd=here, FORCE_COLOR="1")
    assert status == 0, err
    assert look(json.loads(out))
    assert out.isascii()


def test_hostile_text_is_inert_in_json_too(here: Path, phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers("\x1b[31mred \u202eevil\x9b")
    _, out, _ = phi2("generate", "x", "-t", "far", "--json", cwd=here)
    assert out.replace("\n", "").isprintable()
    assert json.loads(out)["text"] == "\x1b[31mred \u202eevil\x9b"


SHOWING = (
    ("doctor",),
    ("prices",),
    ("explain", "x", "-t", "far"),
    ("generate", "x", "-t", "far", "--receipt"),
    ("compare", "--help"),
    ("generate", "--no-such-option"),
)


@pytest.mark.parametrize("arguments", SHOWING, ids=" ".join)
def test_there_is_no_color_without_a_terminal_and_none_with_no_color(
    arguments: tuple[str, ...], here: Path
) -> None:
    status, out, err = phi2(*arguments, cwd=here, NO_COLOR="")
    assert status in (0, 2)
    assert "\x1b" not in out + err
    no_color = {"TERM": "xterm-256color", "NO_COLOR": "1"}
    assert colours(on_a_terminal(*arguments, cwd=here, environment=no_color)[1]) == set()


def test_a_dumb_terminal_gets_no_color(here: Path) -> None:
    dumb = {"TERM": "dumb"}
    assert colours(on_a_terminal("compare", "--help", cwd=here, environment=dumb)[1]) == set()


def colours(shown: str) -> set[int]:
    """Return the colors in the output to the terminal."""
    codes = {int(code) for found in ANSI.findall(shown) for code in found.split(";") if code}
    return {code for code in codes if 30 <= code <= 49 or 90 <= code <= 107}


def test_a_terminal_gets_color(here: Path) -> None:
    color = {"TERM": "xterm-256color"}
    assert colours(on_a_terminal("compare", "--help", cwd=here, environment=color)[1])


@pytest.mark.parametrize(
    "arguments",
    [("generate", "-t", "far"), ("explain", "-", "-t", "far"), ("compare", "-", "-t", "far")],
    ids=lambda arguments: arguments[0],
)
def test_ctrl_c_while_it_reads_standard_input_is_130_with_a_line(
    arguments: tuple[str, ...], here: Path
) -> None:
    with waiting(arguments, here) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        wait_until_it_reads(process)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == "interrupted\n"


@pytest.mark.parametrize(
    "arguments",
    [("generate", "x", "-t", "far"), ("generate", "x", "-t", "far", "--stream"), ("doctor",)],
    ids=" ".join,
)
def test_ctrl_c_while_it_waits_for_the_provider_is_130_with_a_line(
    arguments: tuple[str, ...], here: Path, phi2_emulator: Phi2Emulator
) -> None:
    path = "/v1/models" if arguments == ("doctor",) else None
    phi2_emulator.openai.faults.push(Fault("hang", path=path))
    with waiting(arguments, here) as process:
        assert process.stderr is not None
        phi2_emulator.openai.calls.wait_for(1, 30)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr.read() == "interrupted\n"


def test_ctrl_c_in_the_middle_of_a_stream_ends_the_line_first(
    here: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.openai.faults.push(Fault("hang", after=1))
    with waiting(("generate", "x", "-t", "far", "--stream"), here, stderr=subprocess.STDOUT) as one:
        assert one.stdout is not None
        first = one.stdout.read(1)
        one.send_signal(signal.SIGINT)
        shown = first + one.stdout.read()
        assert one.wait(20) == 130
    assert re.fullmatch(r" Tides\ninterrupted\n", shown), shown


def waiting(
    arguments: tuple[str, ...], cwd: Path, stderr: int = subprocess.PIPE
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-u", "-m", "phi2sdk.cli", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        cwd=cwd,
    )


def wait_until_it_reads(process: subprocess.Popen[str]) -> None:
    """Until the kernel says that it sleeps in a read of its standard input."""
    system_call = Path(f"/proc/{process.pid}/syscall")
    while not system_call.read_text().startswith("0 0x0 "):
        assert process.poll() is None


@pytest.mark.parametrize("module", ["phi2sdk.compare", "phi2sdk.emulator"])
def test_a_module_that_is_a_command_has_examples_too(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, check=True
    )
    assert re.search(rf"[Ee]xamples?:\s+python -m {module}\s", done.stdout), done.stdout


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("phi2 generate --target f", {"far"}),
        ("phi2 compare --target o", {"openai"}),
        ("phi2 explain --config other.toml -t n", {"near"}),
        ("phi2 explain --config wrong.toml -t a", {"azure"}),
        ("phi2 generate --format c", {"chat", "code"}),
        ("phi2 gen", {"generate"}),
    ],
)
def test_the_shell_completes_commands_targets_and_formats(
    typed: str, offered: set[str], here: Path
) -> None:
    (here / "other.toml").write_text('[targets.near]\nbackend = "local"\n')
    done = subprocess.run(
        [sys.executable, "-c", "from phi2sdk.cli import main; main()"],
        env={
            **os.environ,
            "_PHI2_COMPLETE": "complete_bash",
            "COMP_WORDS": typed,
            "COMP_CWORD": str(len(typed.split()) - 1),
        },
        cwd=here,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(done.stdout.split()) == offered
    assert done.stderr == ""


def test_the_shell_script_for_completion_is_printed() -> None:
    status, out, err = phi2("--show-completion", "bash")
    assert status == 0, err
    assert "_PHI2_COMPLETE=complete_bash" in out
