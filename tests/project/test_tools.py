"""The tools that judge a release notice what is wrong with one."""

from __future__ import annotations

import importlib.util
import io
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

import phi2sdk

ROOT = Path(__file__).parents[2]


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


check_dist = tool("check_dist")
footprint = tool("footprint")

ENTRY_POINTS = """\
[console_scripts]
phi2 = phi2sdk.cli:main

[pytest11]
phi2sdk = phi2sdk.testing
"""


def wheel(folder: Path, *, without: str = "", more: str = "", points: str = ENTRY_POINTS) -> Path:
    about = "phi2sdk-1.dist-info"
    version = f"Metadata-Version: 2.4\nName: phi2sdk\nVersion: {phi2sdk.__version__}\n"
    held = dict.fromkeys(check_dist.NEEDED - {without}, "")
    held |= {f"{about}/licenses/LICENSE": "", f"{about}/METADATA": version}
    held[f"{about}/entry_points.txt"] = points
    if more:
        held[more] = ""
    path = folder / "phi2sdk.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in held.items():
            archive.writestr(name, text)
    return path


def test_a_whole_wheel_has_no_problem(tmp_path: Path) -> None:
    assert check_dist.wheel_problems(wheel(tmp_path)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"without": "phi2sdk/py.typed"}, "phi2sdk.whl lacks phi2sdk/py.typed"),
        ({"more": "tests/test_x.py"}, "phi2sdk.whl has tests/test_x.py"),
        ({"more": "phi2sdk/__pycache__/x.pyc"}, "phi2sdk.whl has phi2sdk/__pycache__/x.pyc"),
        ({"points": "[console_scripts]\nphi2 = x:y\n"}, "phi2sdk.whl: the entry points pytest11"),
    ],
)
def test_what_is_missing_or_does_not_belong_is_named(
    tmp_path: Path, change: dict[str, str], problem: str
) -> None:
    problems = check_dist.wheel_problems(wheel(tmp_path, **change))
    assert len(problems) == 1
    assert problems[0].startswith(problem)


def test_an_sdist_lacks_what_git_tracks_and_has_no_leavings(tmp_path: Path) -> None:
    path = tmp_path / "phi2sdk.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name in ("phi2sdk-1/README.md", "phi2sdk-1/tests/__pycache__/a.pyc"):
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    wanted = {"README.md", "bench/client.py", ".github/pull_request_template.md"}
    assert check_dist.sdist_problems(path, wanted) == [
        "phi2sdk.tar.gz lacks bench/client.py",
        "phi2sdk.tar.gz has tests/__pycache__/a.pyc",
    ]


def test_the_table_of_sizes_counts_distributions_and_megabytes() -> None:
    found = footprint.Footprint("local", ("phi2sdk", "torch"), 1_234_567_890)
    assert found.row == "| `local` | 2 | 1,235 |"
    assert "| none | 0 | 0 |" in footprint.table([footprint.Footprint("none", (), 0)])
    assert set(footprint.extras()).isdisjoint(footprint.FOR_DEVELOPERS)
