"""The example plug-in, installed as its users would install it, and used everywhere by its name."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "phi2sdk_echo"
PAGE = ROOT / "docs" / "client" / "write-a-backend.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which pip has built and installed the package, without a network."""
    source = tmp_path_factory.mktemp("source") / "package"
    shutil.copytree(EXAMPLE, source, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    options = ["--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder)]
    subprocess.run([*pip, *options, str(source)], check=True, capture_output=True, timeout=100)
    return folder


def ran(installed: Path, where: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """A command of a process in which the package is installed, and no provider configured."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        [sys.executable, *command], cwd=where, capture_output=True, text=True, timeout=100,
        env=kept | {"PYTHONPATH": str(installed), "COLUMNS": "100", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip


def test_without_it_the_name_means_nothing(tmp_path: Path) -> None:
    code = "from phi2sdk import Phi2Client; Phi2Client('echo')"
    done = ran(tmp_path, tmp_path, "-c", code)
    assert "there is no target 'echo'" in done.stderr


def test_the_client_knows_it_by_its_name(installed: Path, tmp_path: Path) -> None:
    code = (
        "from phi2sdk import Phi2Client, prompts\n"
        "with Phi2Client('echo', voice='loud') as phi:\n"
        "    print(phi.generate(prompts.raw('say it'), max_tokens=1))"
    )
    done = ran(installed, tmp_path, "-W", "error", "-c", code)
    assert (done.stdout, done.stderr) == ("SAY\n", "")


def test_its_settings_come_from_phi2_toml_and_the_environment(
    installed: Path, tmp_path: Path
) -> None:
    (tmp_path / "phi2.toml").write_text('[targets.loud]\nbackend = "echo"\nvoice = "loud"\n')
    asked = ("-m", "phi2sdk.cli", "generate", "say it", "--format", "raw", "--target")
    assert ran(installed, tmp_path, *asked, "loud").stdout == "SAY IT\n"
    assert ran(installed, tmp_path, *asked, "echo").stdout == "say it\n"
    (tmp_path / "phi2.toml").write_text('[targets.loud]\nbackend = "echo"\npitch = "high"\n')
    done = ran(installed, tmp_path, *asked, "loud")
    assert done.returncode == 2
    assert "the backend echo has no setting pitch" in done.stderr


def test_doctor_looks_at_it(installed: Path, tmp_path: Path) -> None:
    done = ran(installed, tmp_path, "-m", "phi2sdk.cli", "doctor", "--json")
    assert done.returncode == 0, done.stderr
    (found,) = [one for one in json.loads(done.stdout) if one["target"] == "echo"]
    assert (found["backend"], found["ok"]) == ("echo", True)
    assert "is always available" in found["state"]


def test_compare_asks_it(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("The tide rises.\n\nThe moon pulls.\n")
    options = ("--repeat", "1", "--warmup", "0", "--out", "run", "--json", "--quiet")
    compared = ("in.txt", "--target", "echo", *options)
    done = ran(installed, tmp_path, "-m", "phi2sdk.compare", *compared)
    report = json.loads(done.stdout)
    # 3: on a machine that is too busy the run is invalid, and right to say so.
    assert done.returncode == (0 if report["validity"]["valid"] else 3), done.stderr
    assert report["targets"]["echo"]["errors"]["ok"] == 2


def test_its_own_tests_pass(installed: Path, tmp_path: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", tmp_path / "tests")
    done = ran(installed, tmp_path, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d passed", done.stdout)


def test_the_page_shows_the_file_of_the_example() -> None:
    source = (EXAMPLE / "phi2sdk_echo.py").read_text(encoding="utf-8")
    assert f"```python\n{source}```" in PAGE.read_text(encoding="utf-8")
