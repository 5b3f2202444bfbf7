"""List the license of every run-time dependency, and refuse licenses that restrict users.

    python tools/licenses.py

The command checks the installed distributions that ``phi2sdk[all]`` requires, directly or
indirectly. The exit status is 1 if a license is not allowed, or is not stated.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata

from packaging.requirements import Requirement

ALLOWED = re.compile(
    r"\b(mit|apache|bsd|isc|psf|python software foundation|python-2\.0|mpl|mozilla public|unlicense"
    r"|zlib|hpnd|0bsd|cc0|cnri|public domain|zpl)",
    re.IGNORECASE,
)
REFUSED = re.compile(r"\b(a?gpl|gnu (affero )?general public|sspl|busl|non-?commercial)", re.I)
WEAK = re.compile(r"lgpl|lesser", re.IGNORECASE)
ROOT = "phi2sdk"
OWN_TERMS = {
    # The wheel of torch for CUDA, which users choose, requires NVIDIA's libraries.
    "nvidia-": "NVIDIA's terms",
    "cuda-": "NVIDIA's terms",
}


def needed(root: str, extras: set[str]) -> dict[str, metadata.Distribution]:
    """Return every installed distribution that ``root`` with ``extras`` requires."""
    found: dict[str, metadata.Distribution] = {}
    waiting = [(root, frozenset(extras))]
    seen = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # a dependency on another platform only
        found[name] = distribution
        for line in distribution.requires or ():
            requirement = Requirement(line)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": e}) for e in ("", *wanted)):
                plain = re.sub(r"[-_.]+", "-", requirement.name).lower()
                waiting.append((plain, frozenset(requirement.extras)))
    return found


def license_of(distribution: metadata.Distribution) -> str:
    """Return the stated license: its expression, its classifiers, or the field's first line."""
    about = distribution.metadata
    if "License-Expression" in about:
        return about["License-Expression"]
    classifiers = [c.split(" :: ")[-1] for c in about.get_all("Classifier") or ()
                   if c.startswith("License ::")]  # fmt: skip
    if classifiers:
        return ", ".join(classifiers)
    stated = about["License"].strip() if "License" in about else ""
    return stated.splitlines()[0][:60] if stated else ""


def problem(name: str, stated: str) -> str:
    """Return the reason for refusing a license, empty if it is allowed."""
    if any(name.startswith(prefix) for prefix in OWN_TERMS):
        return ""
    if not stated:
        return "no license is stated"
    if REFUSED.search(WEAK.sub("", stated)) and not ALLOWED.search(stated):
        return "copyleft"
    return "" if ALLOWED.search(stated) or WEAK.search(stated) else "not an allowed license"


def main() -> int:
    """Print the list, and return 1 if a license is refused."""
    refused = 0
    for name, distribution in sorted(needed(ROOT, {"all"}).items()):
        stated = license_of(distribution)
        why = problem(name, stated)
        refused += bool(why)
        print(f"{name:28} {distribution.version:12} {stated or '-':50} {why}".rstrip())
    print(f"{refused} refused")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
