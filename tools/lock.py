"""Print the lock file: the pinned versions of ``constraints.txt`` with the hashes of their files.

    python tools/lock.py [--index URL] > requirements.lock
    python -m pip install --require-hashes -r requirements.lock
    python -m pip install --no-deps phi2sdk

pip resolves the requirements with the constraints (``pip install --dry-run --report``), for this
machine. The hashes of all files of each release come from the JSON of the index (PEP 691), so that
the lock file also works on other platforms that need the same packages.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent


def resolved(extras: str) -> dict[str, tuple[str, str]]:
    """Return version and hash of the chosen file, by name, for all requirements of the extras."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet",
             "--report", str(report), "-c", str(ROOT / "constraints.txt"), f"{ROOT}[{extras}]"],
            check=True,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(report.read_text())
    chosen = {}
    for item in found["install"]:
        about, source = item["metadata"], item["download_info"]
        digest = source.get("archive_info", {}).get("hashes", {}).get("sha256", "")
        if digest:  # a local folder, such as this package, has none
            chosen[about["name"].lower()] = (about["version"], digest)
    return chosen


def hashes(index: str, name: str, version: str) -> set[str]:
    """Return the SHA-256 of every file of a release, none if the index does not report it."""
    plain = re.sub(r"[-_.]+", "-", name).lower()
    request = urllib.request.Request(
        f"{index.rstrip('/')}/{plain}/",
        headers={"Accept": "application/vnd.pypi.simple.v1+json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            page = json.load(reply)
    except (OSError, ValueError):
        return set()
    pattern = re.compile(rf"[-_]{re.escape(version)}(-|\.tar\.gz$|\.zip$)")
    return {
        file["hashes"]["sha256"]
        for file in page.get("files", ())
        if pattern.search(file["filename"]) and "sha256" in file.get("hashes", {})
    }


def main() -> None:
    """Print the lock file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--extras", default="all", help="extras to lock (default: %(default)s)")
    parser.add_argument("--index", default="", help="an index with PEP 691; without it, only "
                        "the file that pip chooses for this machine is locked")  # fmt: skip
    args = parser.parse_args()
    print(f"# phi2sdk[{args.extras}], by tools/lock.py. pip install --require-hashes -r THIS_FILE")
    for name, (version, chosen) in sorted(resolved(args.extras).items()):
        known = {chosen} | (hashes(args.index, name, version) if args.index else set())
        lines = [f"{name}=={version}", *(f"    --hash=sha256:{one}" for one in sorted(known))]
        print(" \\\n".join(lines))


if __name__ == "__main__":
    main()
