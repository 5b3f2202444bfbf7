"""The phi2 command, run as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest

from phi2sdk.emulator import Fault
from phi2sdk.testing import Phi2Emulator
from phi2sdk.text import for_terminal
from tests.commands import phi2


def test_generate_prints_the_answer_and_nothing_else(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers(" Tides rise.\nInstruct: more")
    status, out, err = phi2("generate", "Explain tides.", "--target", "openai")
    assert (status, out, err) == (0, "Tides rise.\n", "")


def test_generate_streams_and_reads_standard_input(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers(" one two")
    status, out, _ = phi2("generate", "--stream", "-t", "openai", stdin="Count.")
    assert (status, out) == (0, " one two\n")
    assert phi2_emulator.openai.calls[0].prompt == "Instruct: Count.\nOutput:"


def test_hostile_output_does_not_reach_the_terminal(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers("\x1b[31mred\x07 \u202eevil")
    _, out, _ = phi2("generate", "x", "-t", "openai")
    assert out == "\\x1b[31mred\\x07 \\u202eevil\n"
    assert for_terminal("tab\tand\nline") == "tab\tand\nline"


def test_the_receipt_is_a_table_of_what_was_sent(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers("ok")
    phi2_emulator.openai.faults.push(Fault("status", status=503, headers={"Retry-After": "0"}))
    status, out, err = phi2("generate", "x", "-t", "openai", "--receipt", "--top-k", "5")
    assert (status, out) == (0, "ok\n")
    rows = [line.split() for line in err.splitlines()]
    assert ["target", "openai"] in rows
    assert ["prompt", "19", "bytes:", '"Instruct:', 'x\\nOutput:"'] in rows
    assert ["parameter", "value", "outcome", "sent", "as", "note"] in rows
    assert ["max_tokens", "256", "sent", "max_tokens=256"] in rows
    assert [row[1:4] for row in rows if row[:1] in (["1"], ["2"])] == [
        ["openai", "Overloaded", "503"],
        ["openai", "answered", "-"],
    ]
    for repr_of in ("ParameterFate", "'", "t_send_ns", "{", "None"):
        assert repr_of not in err
    assert phi2_emulator.key not in err


def test_json_has_the_receipt_and_prints_no_table(phi2_emulator: Phi2Emulator) -> None:
    status, out, err = phi2("generate", "x", "-t", "openai", "--receipt", "--json")
    assert (status, err) == (0, "")
    assert json.loads(out)["receipt"]["route"] == "openai.completions (vllm)"


@pytest.mark.parametrize("option", ["-m", "--model"])
def test_the_model_can_be_named(option: str, phi2_emulator: Phi2Emulator) -> None:
    status, _, err = phi2("generate", "x", "-t", "openai", option, "phi-2-awq")
    assert (status, "`phi-2-awq` does not exist" in err) == (3, True)
    assert phi2_emulator.openai.calls[0].body["model"] == "phi-2-awq"
    status, out, err = phi2("explain", "x", "-t", "openai", option, "phi-2-awq", "--json")
    assert status == 0, err
    assert json.loads(out)["call"]["body"]["model"] == "phi-2-awq"


def test_the_bundled_model_answers_as_demo() -> None:
    status, out, err = phi2("generate", "Describe rivers.", "-m", "demo", "--max-tokens", "8")
    assert (status, err) == (0, "")
    assert out.strip()


def test_verbose_prints_each_retry_without_the_prompt(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.openai.faults.push(Fault("status", status=503, headers={"Retry-After": "0"}))
    status, _, err = phi2("generate", "canary", "-t", "openai", "-v")
    assert status == 0
    assert "Overloaded (status 503" in err
    assert "openai answered in" in err
    assert "canary" not in err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["generate", "x", "-t", "mars"], "no target 'mars'"),
        (["generate", "x", "-t", "openai", "--format", "poem"], "no prompt format 'poem'"),
        (["generate", "", "-t", "openai"], "is empty"),
        (["generate", "x", "-t", "openai", "--temperature", "-1"], "temperature"),
        (["generate", "x", "-t", "openai", "--config", "none.toml"], "cannot be read"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_2(
    phi2_emulator: Phi2Emulator, arguments: list[str], says: str
) -> None:
    status, out, err = phi2(*arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert "Traceback" not in err


def test_a_failed_request_is_one_line_and_status_3(
    phi2_emulator: Phi2Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    status, out, err = phi2("generate", "x", "-t", "openai")
    assert (status, out) == (3, "")
    assert "status 401" in err
    assert err.rstrip().endswith("Next step: set a key that the provider accepts.")
    assert "canary" not in err


def test_doctor_tells_what_is_ready_and_what_to_do_about_the_rest(
    phi2_emulator: Phi2Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CLARIFAI_PAT")
    status, out, _ = phi2("doctor", cwd=tmp_path)
    assert status == 0
    assert "ready: serves microsoft/phi-2" in out
    assert "CLARIFAI_PAT" in out


BARE = ("AZURE_PHI2_ENDPOINT", "CLARIFAI_PAT", "HF_PHI2_ENDPOINT", "OPENAI_BASE_URL")


def test_doctor_with_nothing_configured_says_how_to_and_ends_with_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*BARE, "PHI2_MODEL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    status, out, _ = phi2("doctor", cwd=tmp_path)
    assert status == 0
    for name in BARE:
        assert f"set {name}" in out


def test_doctor_separates_the_state_of_a_target_from_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PHI2_MODEL", raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    _, out, _ = phi2("doctor", "--json", cwd=tmp_path)
    (local,) = [one for one in json.loads(out) if one["target"] == "local"]
    assert local["state"] == "'microsoft/phi-2' is not on this machine"
    assert local["remedy"].startswith("The first request downloads it")
    assert 'model="demo"' in local["remedy"]


def test_doctor_shows_a_backend_of_the_environment_beside_the_targets_of_the_file(
    phi2_emulator: Phi2Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "phi2.toml").write_text(
        f'[targets.mine]\nbackend = "openai"\nbase_url = "{phi2_emulator.openai.url}/v1"\n'
        'api_key = { env = "OPENAI_API_KEY" }\n'
        '[targets.here]\nbackend = "local"\nmodel = "demo"\n'
    )
    status, out, _ = phi2("doctor", cwd=tmp_path)
    names = [line.split()[0] for line in out.splitlines() if line[:1].isalpha()]
    assert status == 0, out
    assert names == ["target", "mine", "here", "azure", "clarifai", "hf", "openai"]
    assert "reachable, and the key is accepted" in " ".join(out.split())
    monkeypatch.delenv("OPENAI_BASE_URL")
    _, out, _ = phi2("doctor", cwd=tmp_path)
    assert "\nopenai" not in out


def test_doctor_ends_with_3_when_one_configured_target_is_not_ready(
    phi2_emulator: Phi2Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "wrong")
    status, out, _ = phi2("doctor", cwd=tmp_path)
    assert status == 3
    assert "set a key that the provider accepts" in " ".join(out.split())


@pytest.mark.parametrize("server", ["vllm", "llamacpp"])
def test_doctor_names_the_server_software_of_a_target(
    server: Literal["vllm", "llamacpp"], phi2_emulator: Phi2Emulator, tmp_path: Path
) -> None:
    phi2_emulator.openai.server = server
    status, out, err = phi2("doctor", cwd=tmp_path, COLUMNS="")
    assert status == 0, err
    (line,) = [line for line in out.splitlines() if line.startswith("openai")]
    assert f"server: {server} (detected" in line
    _, out, _ = phi2("doctor", "--json", cwd=tmp_path)
    servers = {one["target"]: one["server"] for one in json.loads(out)}
    assert servers["openai"]["name"] == server
    assert servers["azure"] is None


def test_memory_names_its_units_and_how_fewer_bits_are_asked_for() -> None:
    status, out, _ = phi2("memory", "--context", "512", COLUMNS="")
    assert status == 0
    first, header, *rows, last = out.splitlines()
    assert "1 GB is 1e9 bytes" in first
    assert "weights (GB)" in header
    assert "working (MB)" in header
    assert len(rows) == 5
    assert " 0.00 " not in out
    assert " 0.0 " not in out
    assert "setting quantize" in last


def test_help_shows_every_command_with_an_example() -> None:
    status, out, _ = phi2("--help")
    assert status == 0
    for command in ("compare", "diff", "generate", "emulate", "memory", "doctor"):
        assert command in out
        status, help_text, _ = phi2(command, "--help")
        assert status == 0
        assert "Example" in help_text, command


def test_generate_sends_every_parameter(phi2_emulator: Phi2Emulator) -> None:
    phi2_emulator.answers(" one two three")
    status, out, err = phi2(
        *("generate", "Count.", "-t", "openai", "--stop", " three", "--stop", "seven"),
        *("--min-p", "0.1", "--repetition-penalty", "1.2", "--temperature", "0.5"),
        *("--on-unsupported", "warn"),
    )
    assert (status, out) == (0, "one two\n"), err
    assert phi2_emulator.openai.calls[0].body["temperature"] == 0.5


def test_advice_names_the_commands_own_options(phi2_emulator: Phi2Emulator) -> None:
    status, _, err = phi2("generate", "x", "-t", "azure", "--min-p", "0.1", "--temperature", "1")
    assert status == 2
    assert "give --on-unsupported warn" in err
    status, _, err = phi2("generate", "x<|endoftext|>", "-t", "openai")
    assert status == 2
    assert "give --allow-control-tokens" in err
    status, _, _ = phi2("generate", "x<|endoftext|>", "-t", "openai", "--allow-control-tokens")
    assert status == 0
    assert phi2_emulator.openai.calls[0].prompt == "Instruct: x<|endoftext|>\nOutput:"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--port-base", "99999"], "port-base 99999"),
        (["--port-base", "65534"], "port-base 65534"),
        (["--port-base", "-1"], "port-base -1"),
        (["--for", "-1"], "for -1"),
        (["--for", "nan"], "for nan"),
    ],
)
def test_emulate_refuses_what_cannot_be(arguments: list[str], says: str) -> None:
    status, out, err = phi2("emulate", *arguments)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_the_module_of_the_emulator_refuses_what_the_command_refuses() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "phi2sdk.emulator", "--for", "nan"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "for nan" in done.stderr
    assert done.stderr.count("\n") == 1
