"""``phi2 init`` in several environments: the file that it writes, and what it leaves alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from phi2sdk.config import load_config
from phi2sdk.config.lookup import load_book
from phi2sdk.demo import checkpoint_path
from phi2sdk.testing import Phi2Emulator
from tests.commands import phi2

VARIABLES = (
    *("AZURE_PHI2_ENDPOINT", "AZURE_PHI2_KEY", "CLARIFAI_PAT", "CLARIFAI_API_BASE"),
    *("HF_PHI2_ENDPOINT", "HF_TOKEN", "OPENAI_BASE_URL", "OPENAI_API_KEY", "PHI2_MODEL"),
)
SECRET = "canary-4711"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, without variables of providers and without downloaded weights."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    return tmp_path


AZURE = {"AZURE_PHI2_ENDPOINT": "https://mine.inference.ml.azure.com", "AZURE_PHI2_KEY": SECRET}
CLARIFAI = {"CLARIFAI_PAT": SECRET}
HF = {"HF_PHI2_ENDPOINT": "https://mine.endpoints.huggingface.cloud", "HF_TOKEN": SECRET}
OPENAI = {"OPENAI_BASE_URL": "http://127.0.0.1:8000/v1", "OPENAI_API_KEY": SECRET}
OLLAMA = {"OPENAI_BASE_URL": "http://127.0.0.1:11434/v1", "PHI2_MODEL": "phi"}
DEMO = {"PHI2_MODEL": str(checkpoint_path())}


@pytest.mark.parametrize(
    ("environment", "targets"),
    [
        ({}, []),
        (AZURE, ["azure"]),
        (CLARIFAI, ["clarifai"]),
        (HF, ["hf"]),
        ({"HF_TOKEN": SECRET}, []),
        (OPENAI, ["openai"]),
        ({"OPENAI_API_KEY": SECRET}, []),
        (OLLAMA, ["openai"]),
        (DEMO, ["local"]),
        (AZURE | CLARIFAI | HF | OPENAI, ["azure", "clarifai", "hf", "openai"]),
    ],
    ids=lambda value: "+".join(value) or "nothing",
)
def test_the_file_has_the_targets_that_the_environment_configures(
    environment: dict[str, str], targets: list[str], here: Path
) -> None:
    status, out, err = phi2("init", cwd=here, **environment)
    assert (status, err) == (0, "")
    written = (here / "phi2.toml").read_text()
    assert list(load_config(here / "phi2.toml")) == targets
    assert SECRET not in written + out
    assert "Next step: phi2 doctor" in out
    for name in set(VARIABLES) & set(environment):
        assert f'{{ env = "{name}" }}' in written


def test_what_is_not_in_use_is_named_with_the_variable_to_set(here: Path) -> None:
    status, out, _ = phi2("init", cwd=here, **CLARIFAI)
    assert status == 0
    assert "Wrote phi2.toml with the targets clarifai." in out
    assert "azure is not in use: set AZURE_PHI2_ENDPOINT, and AZURE_PHI2_KEY if the" in out
    assert "openai is not in use: set OPENAI_BASE_URL" in out
    assert "clarifai is not" not in out


def test_doctor_reads_the_file_and_finds_every_target_ready(
    here: Path, phi2_emulator: Phi2Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in phi2_emulator.environment.items():
        monkeypatch.setenv(name, value)
    assert phi2("init", cwd=here)[0] == 0
    assert phi2_emulator.calls == [], "init sends nothing"
    status, out, err = phi2("doctor", cwd=here, COLUMNS="")
    assert (status, err) == (0, "")
    ready = [line.split()[0] for line in out.splitlines() if " ready: " in line]
    assert ready == ["azure", "clarifai", "hf", "openai"]


def test_every_commented_line_is_valid_without_its_mark(here: Path) -> None:
    assert phi2("init", cwd=here)[0] == 0
    lines = (here / "phi2.toml").read_text().splitlines()
    used = [re.sub(r"^# (?=\[targets\.|\w+ = )", "", line) for line in lines]
    (here / "phi2.toml").write_text("\n".join(used))
    targets = load_config(here / "phi2.toml")
    assert list(targets) == ["local", "azure", "clarifai", "hf", "openai"]
    assert all(target.price is not None for target in targets.values())
    assert load_book(here / "phi2.toml").prices


def test_a_file_that_exists_is_replaced_only_with_force(here: Path) -> None:
    (here / "mine.toml").write_text("# mine\n")
    status, out, err = phi2("init", "-o", "mine.toml", cwd=here)
    assert (status, out) == (2, "")
    assert "mine.toml exists" in err
    assert "--force" in err
    assert (here / "mine.toml").read_text() == "# mine\n"
    status, out, _ = phi2("init", "-o", "mine.toml", "--force", cwd=here)
    assert status == 0
    assert "phi2 doctor --config mine.toml" in out
    assert "# mine" not in (here / "mine.toml").read_text()


def test_a_file_that_cannot_be_written_is_status_2(here: Path) -> None:
    status, out, err = phi2("init", "-o", "no/such/folder.toml", cwd=here)
    assert (status, out) == (2, "")
    assert "cannot be written" in err
