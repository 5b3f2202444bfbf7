"""The help of ``phi2 compare``: groups, length, defaults; and every option name that shipped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import typer.main

from phi2sdk.cli.app import app
from phi2sdk.cli.compare_options import CompareOptions
from phi2sdk.emulator import Fault
from phi2sdk.testing import Phi2Emulator
from tests.commands import phi2

GROUPS = (
    *("Input", "Targets", "Load", "Sampling", "Cost", "Identity", "Quality"),
    *("Requirements", "Output"),
)


def declared() -> dict[str, Any]:
    """Each option's declaration by its name."""
    hints = get_type_hints(CompareOptions, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items()}


@pytest.mark.parametrize("module", [["phi2sdk.cli", "compare"], ["phi2sdk.compare"]], ids=len)
def test_the_help_has_at_most_100_lines_of_80_columns_in_groups(module: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *module, "--help"],
        env={**os.environ, "COLUMNS": "80", "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert len(lines) <= 100
    assert max(map(len, lines)) <= 80
    panels = re.findall(r"^╭─ (\w+) ─", done.stdout, re.MULTILINE)
    assert tuple(panels[-len(GROUPS) :]) == GROUPS
    assert "…" not in done.stdout, "nothing is cut off"


def test_every_option_is_in_a_group_with_a_phrase_and_a_unit() -> None:
    for name, option in declared().items():
        if name in ("input", "out"):
            continue
        assert option.rich_help_panel in GROUPS, name
        assert re.match(r"[A-Z]|(sequential|sentence|tokenizer)", option.help), name
        assert option.help.endswith("."), name
        assert option.metavar is not None, name


def test_every_default_is_in_the_help_as_it_is() -> None:
    for field in fields(CompareOptions):
        if field.default in (None, False) or field.default is MISSING:
            continue
        text = declared()[field.name].help
        assert f"(default: {field.default})" in text, field.name


SHIPPED = (
    *("--task=prompt", "-t=a", "--target=a", "--config=f.toml", "--format=qa"),
    *("--allow-control-tokens", "--demo", "--load=closed", "--concurrency=2", "--rate=1.5"),
    *("--repeat=3", "--duration=5", "--unique-prefix", "--tokenizer=t.json", "--warmup=2"),
    *("--seed=7", "--max-tokens=9", "--timeout=8", "--reference=a", "--margin=3%", "--slo=e2e=5"),
    *("--require=run.complete", "--volume=10", "--baseline=gpt-4", "--tokenizer-ratio=1.1"),
    *("--quality-model=q", "--identity=5", "--identity-prompts=p.txt", "--identity-model=m"),
    *("--honest=float32", "--suspect=s", "--logprobs=2", "--budget-usd=0.5", "--yes", "-y"),
    *("--out=o", "--resume", "--json", "--quiet", "-q"),
)


@pytest.mark.parametrize("option", SHIPPED)
def test_every_option_that_shipped_is_still_accepted(option: str) -> None:
    name, _, value = option.partition("=")
    command = typer.main.get_command(app).commands["compare"]  # type: ignore[attr-defined]
    arguments = [name, *([value] if value else [])]
    params = command.make_context("compare", arguments).params
    field = {"-t": "target", "-y": "yes", "-q": "quiet"}.get(name, name[2:].replace("-", "_"))
    found = params[field]
    assert str(found[0] if isinstance(found, list) else found) in (value, f"{value}.0", "True")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [(["-o", "x"], "output"), (["--output", "x"], "output"), (["-v"], "verbose")],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_the_names_of_other_tools_are_accepted(arguments: list[str], field: str) -> None:
    command = typer.main.get_command(app).commands["compare"]  # type: ignore[attr-defined]
    assert command.make_context("compare", arguments).params[field]


def test_verbose_prints_each_retry_on_standard_error(
    tmp_path: Path, phi2_emulator: Phi2Emulator
) -> None:
    phi2_emulator.answers("They rise.")
    (tmp_path / "in.txt").write_text("The sea rises.\n\nThe moon pulls.")
    small = ("--repeat", "1", "--warmup", "0", "--max-tokens", "8", "-o", "run", "-v", "--json")
    fault = Fault("status", status=503, path="/v1/completions")
    phi2_emulator.openai.faults.push(fault)
    status, out, err = phi2("compare", "in.txt", "-t", "openai", *small, cwd=tmp_path)
    assert status in (0, 3), err
    assert "status 503" in err
    assert "attempt 1 of 4" in err
    assert json.loads(out)["run"]["recorded"] == 2
