"""Measure the size of an installation with each extra: distributions and megabytes.

    python tools/footprint.py                          # every extra
    python tools/footprint.py none --at-most 25        # exit status 1 if there are more
    python tools/footprint.py --write docs/get-started/installation.md

Each extra of the wheel is installed separately, with the versions of ``constraints.txt``, into an
empty folder. The count includes phi2sdk, and 1 MB is 1,000,000 bytes.
"""

from __future__ import annotations

import argparse
import platform
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from datetime import date
from importlib.metadata import distributions
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- footprint: begin -->", "<!-- footprint: end -->"
NONE = "none"
FOR_DEVELOPERS = ("docs", "test", "release")


@dataclass(frozen=True)
class Footprint:
    """The distributions and bytes that installing an extra adds."""

    extra: str
    distributions: tuple[str, ...]
    bytes: int

    @property
    def row(self) -> str:
        """Return the row of the table."""
        name = "none" if self.extra == NONE else f"`{self.extra}`"
        return f"| {name} | {len(self.distributions)} | {self.bytes / 1e6:,.0f} |"


def extras() -> list[str]:
    """Return the extras for users of the package, without those for its developers."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [NONE, *(e for e in project["optional-dependencies"] if e not in FOR_DEVELOPERS)]


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this checkout, and return its path."""
    _pip("wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    (wheel,) = folder.glob("phi2sdk-*.whl")
    return wheel


def measure(wheel: Path, extra: str) -> Footprint:
    """Install one extra into an empty folder, and measure the folder."""
    what = str(wheel) if extra == NONE else f"{wheel}[{extra}]"
    with tempfile.TemporaryDirectory() as folder:
        _pip("install", "--quiet", "--target", folder, "-c", str(ROOT / "constraints.txt"), what)
        names = sorted(found.metadata["Name"] for found in distributions(path=[folder]))
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return Footprint(extra, tuple(names), size)


def table(found: list[Footprint]) -> str:
    """Return the table in Markdown, with the command, the date and the machine."""
    about = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    lines = [
        f"`python tools/footprint.py` on {date.today()}, {about}:",
        "",
        "| extra | distributions | MB |",
        "|---|---:|---:|",
        *(one.row for one in found),
    ]
    return "\n".join(lines)


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    subprocess.run(command, check=True)


def main() -> int:
    """Measure, print the table, write it if requested, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument(
        "extras", nargs="*", help=f"extras to measure (default: all); '{NONE}' means no extra"
    )
    parser.add_argument("--wheel", type=Path, help="wheel to install (default: built now)")
    parser.add_argument(
        "--at-most", type=int, help="maximum number of distributions; exit status 1 if exceeded"
    )
    parser.add_argument("--write", type=Path, help="page in which to replace the table")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = (args.wheel or build_wheel(Path(folder))).resolve()
        found = [measure(wheel, extra) for extra in args.extras or extras()]
    print(table(found))
    if args.write:
        page = args.write.read_text(encoding="utf-8")
        marked = re.compile(f"{BEGIN}.*{END}", re.DOTALL)
        args.write.write_text(
            marked.sub(f"{BEGIN}\n\n{table(found)}\n\n{END}", page), encoding="utf-8"
        )
    if args.at_most is None:
        return 0
    too_many = [one for one in found if len(one.distributions) > args.at_most]
    for one in too_many:
        names = ", ".join(one.distributions)
        print(f"{one.extra} installs more than {args.at_most} distributions: {names}")
    return 1 if too_many else 0


if __name__ == "__main__":
    sys.exit(main())
