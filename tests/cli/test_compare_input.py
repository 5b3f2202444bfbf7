"""The input of ``phi2 compare``: task, fields and characters."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from phi2sdk.testing import Phi2Emulator
from tests.cli.test_compare import in_process
from tests.commands import phi2

ONCE = ("--target", "openai", "--repeat", "1", "--warmup", "0", "--max-tokens", "8", "--out", "run")
SUMMARY = "Instruct: Summarize the following paragraph in one sentence.\n{}\nOutput:"
INPUTS = {
    "a.txt": "Tides.\n",
    "a.jsonl": '{"text":"Tides.","source":"web","url":"u"}\n{"text":"Dew.","url":"v"}\n',
    "a.csv": "text,source\nTides.,web\n",
    "-": '{"text":"Tides."}\n',
}


def compared(
    name: str, content: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *options: str
) -> int:
    if name == "-":
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
    else:
        (folder / name).write_text(content, encoding="utf-8")
    return in_process(name, *ONCE, *options, cwd=folder, monkeypatch=monkeypatch)


@pytest.mark.parametrize("name", INPUTS)
def test_the_texts_of_every_input_are_summarized(
    tmp_path: Path, phi2_emulator: Phi2Emulator, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    phi2_emulator.answers(" They rise.")
    assert compared(name, INPUTS[name], tmp_path, monkeypatch) in (0, 3)  # 3: a busy machine
    assert phi2_emulator.openai.calls[-1].method == "POST"
    prompts = {call.prompt for call in phi2_emulator.openai.calls if call.method == "POST"}
    texts = ("Tides.", "Dew.") if name == "a.jsonl" else ("Tides.",)
    assert prompts == {SUMMARY.format(text) for text in texts}
    kept = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    assert kept["configuration"]["task"] == "summarize"


def test_fields_that_a_comparison_ignores_are_named_once_and_prompts_are_sent_when_asked_for(
    tmp_path: Path,
    phi2_emulator: Phi2Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    phi2_emulator.answers(" They rise.")
    options = ("--task", "prompt", "--format", "qa")
    assert compared("a.jsonl", INPUTS["a.jsonl"], tmp_path, monkeypatch, *options) in (0, 3)
    assert {c.prompt for c in phi2_emulator.openai.calls if c.method == "POST"} == {
        "Tides.",
        "Dew.",
    }
    line = "a.jsonl: these fields are ignored: 'source', 'url'. "
    assert capfd.readouterr().err.count(line) == 1


def test_a_control_token_in_the_input_is_allowed_by_an_option_that_the_error_names(
    tmp_path: Path,
    phi2_emulator: Phi2Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    phi2_emulator.answers(" They rise.")
    text = "Tides<|endoftext|>rise."
    assert compared("a.txt", text, tmp_path, monkeypatch) == 2
    err = capfd.readouterr().err
    assert "a.txt, line 1: the prompt contains '<|endoftext|>'" in err
    assert "give --allow-control-tokens" in err
    assert "allow_control_tokens" not in err
    assert phi2_emulator.openai.calls == []
    assert compared("a.txt", text, tmp_path, monkeypatch, "--allow-control-tokens") in (0, 3)
    assert phi2_emulator.openai.calls[-1].prompt == SUMMARY.format(text)


def test_a_control_token_among_the_sampled_prompts_is_allowed_likewise(
    tmp_path: Path, phi2_emulator: Phi2Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    phi2_emulator.answers(" They rise.")
    (tmp_path / "open.txt").write_text("Write<|endoftext|>more.")
    options = ("--identity", "1", "--identity-prompts", "open.txt")
    assert compared("a.txt", "Tides.", tmp_path, monkeypatch, *options) == 2
    allowed = (*options, "--allow-control-tokens")
    assert compared("a.txt", "Tides.", tmp_path, monkeypatch, *allowed) in (0, 3)
    prompts = {c.prompt for c in phi2_emulator.openai.calls if c.method == "POST"}
    assert "Instruct: Write<|endoftext|>more.\nOutput:" in prompts


def test_a_plan_takes_a_control_token_by_the_same_option(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text":"Write<|endoftext|>more.","kind":"open"}\n')
    small = ("--honest", "float32", "--pilot", "32", "--max-tokens", "4", "--device", "cpu")
    asked = ("plan", "--detect", "t=0.5", "--prompts", "a.jsonl", *small)
    status, _, err = phi2(*asked, cwd=tmp_path)
    assert status == 2
    assert "give --allow-control-tokens" in err
    assert "a.jsonl: these fields are ignored: 'kind'. " in err
    status, _, err = phi2(*asked, "--allow-control-tokens", cwd=tmp_path)
    assert status == 0, err


def test_a_format_that_the_summary_would_ignore_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert compared("a.jsonl", INPUTS["a.jsonl"], tmp_path, monkeypatch, "--format", "qa") == 2
    assert "add --task prompt, or leave out --format" in capfd.readouterr().err
