"""Check that a built sdist and wheel have all the files that they need, and no others.

    python -m build
    python tools/check_dist.py dist

The sdist must have every file that git tracks (in a git checkout), so that the tests run from it.
The wheel must have only the package: its types, data, license, commands and entry points.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from configparser import ConfigParser
from email.parser import Parser
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LEFT_OUT = {".github", ".gitignore"}
"""Files and folders that are useful only in a checkout."""

NEEDED = {
    "phi2sdk/py.typed",
    "phi2sdk/pricing/prices.toml",
    "phi2sdk/demo/paragraphs.jsonl",
    "phi2sdk/demo/prices.toml",
    "phi2sdk/demo/checkpoint/model.safetensors",
    "phi2sdk/demo/checkpoint/tokenizer.json",
    "phi2sdk/evaluate/tasks/demo_code.jsonl",
    "phi2sdk/evaluate/tasks/demo_code.yaml",
    "phi2sdk/report/evaluation.schema.json",
    "phi2sdk/report/report.schema.json",
}
ENTRY_POINTS = {"console_scripts": {"phi2"}, "pytest11": {"phi2sdk"}}


def tracked() -> set[str]:
    """Return the files that git tracks, none outside of a checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return {name for name in listed.stdout.split("\0") if name}


def sdist_problems(path: Path, wanted: set[str]) -> list[str]:
    """Return the problems of an sdist."""
    with tarfile.open(path) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    missing = {name for name in wanted - held if name.partition("/")[0] not in LEFT_OUT}
    unasked = {n for n in held if n.endswith((".pyc", ".log")) or "__pycache__" in n}
    return [f"{path.name} lacks {name}" for name in sorted(missing)] + [
        f"{path.name} has {name}" for name in sorted(unasked)
    ]


def wheel_problems(path: Path) -> list[str]:
    """Return the problems of a wheel."""
    with zipfile.ZipFile(path) as archive:
        held = set(archive.namelist())
        about = next(n for n in held if n.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(about).decode())
        points = ConfigParser()
        points.read_string(archive.read(about.replace("METADATA", "entry_points.txt")).decode())
    folder = about.partition("/")[0]
    problems = [f"{path.name} lacks {name}" for name in sorted(NEEDED - held)]
    problems += [
        f"{path.name} has {name}"
        for name in sorted(held)
        if not name.startswith(("phi2sdk/", f"{folder}/")) or "__pycache__" in name
    ]
    if not any(name.startswith(f"{folder}/licenses/LICENSE") for name in held):
        problems.append(f"{path.name} has no license")
    for group, names in ENTRY_POINTS.items():
        if not points.has_section(group) or set(points[group]) != names:
            problems.append(f"{path.name}: the entry points {group} should be {names}")
    if metadata["Version"] not in (ROOT / "phi2sdk/__init__.py").read_text():
        problems.append(
            f"{path.name}: its version {metadata['Version']} is not that of phi2sdk/__init__.py"
        )
    return problems


def main() -> int:
    """Check the distributions in a folder, and return the exit status."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "dist")
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    problems = sdist_problems(sdist, tracked()) + wheel_problems(wheel)
    for problem in problems:
        print(problem)
    if not problems:
        sizes = ", ".join(f"{p.name} {p.stat().st_size / 1e6:.1f} MB" for p in (sdist, wheel))
        print(f"{sizes}: complete")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
