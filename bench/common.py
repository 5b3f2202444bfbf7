"""Code that the benchmarks share: arguments, environments of peers, medians, the report.

A peer is another package that is measured on the same task. This module uses only the standard
library, because the Python of a peer's environment may run it. Each command builds its
:class:`Report` like this::

    args = arguments(__doc__)
    report = Report("client", args)
    report.row(what="CPU per request", ours=0.3, peer=0.2)
    report.check("cpu_vs_aiohttp", 1.5, "<=", 2.0)
    report.check("rps_vs_litellm", None, ">=", 10.0, reason="litellm could not be installed")
    sys.exit(report.finish())
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

__all__ = [
    "HERE",
    "Report",
    "arguments",
    "environments",
    "interquartile",
    "machine",
    "median",
    "parser",
    "peer_python",
    "peer_versions",
    "percentile",
    "prefer_this_process",
]

HERE = Path(__file__).resolve().parent

Operator = Literal[">=", "<="]


def parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="file for the report as JSON")
    made.add_argument("--quick", action="store_true", help="run only the checks, in under 50 s")
    return made


def arguments(description: str | None) -> argparse.Namespace:
    """Parse the arguments of a benchmark without further options."""
    return parser(description).parse_args()


# --------------------------------------------------------------------------- the report


class Report:
    """The rows and checks of one run, printed as a table and written as JSON.

    Args:
        bench: The name of the benchmark.
        args: Arguments with ``json`` (a path or ``None``) and ``quick``.
        packages: Packages of this environment whose versions are reported. Add versions of
            packages in other environments to ``versions`` (see :func:`peer_versions`).
    """

    def __init__(self, bench: str, args: argparse.Namespace, packages: Iterable[str] = ()) -> None:
        self.bench = bench
        self._json: Path | None = args.json
        self.quick = bool(args.quick)
        self.rows: list[dict[str, Any]] = []
        self.checks: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self.versions: dict[str, str] = {"python": platform.python_version()}
        for package in packages:
            self.versions[package] = _version(package)

    def row(self, **figures: Any) -> None:
        """Add a row to the table. The names of the columns include the units."""
        self.rows.append(figures)

    def note(self, text: str) -> None:
        """Add a remark about the figures."""
        self.notes.append(text)

    def check(
        self,
        name: str,
        value: float | None,
        op: Operator,
        bound: float,
        reason: str = "",
    ) -> None:
        """Add a figure with a bound. ``None`` is a figure that was not measured, for a reason."""
        if value is None and not reason:
            raise ValueError(f"{name} has no value, and needs a reason")
        holds = value is not None and (value >= bound if op == ">=" else value <= bound)
        check = {"name": name, "value": value, "op": op, "bound": bound, "holds": holds}
        self.checks.append({**check, "reason": reason} if reason else check)

    def document(self) -> dict[str, Any]:
        """Return the report as a document."""
        return {
            "bench": self.bench,
            "quick": self.quick,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": " ".join(["python", *_relative(sys.argv)]),
            "machine": machine(),
            "versions": self.versions,
            "rows": self.rows,
            "checks": self.checks,
            "notes": self.notes,
        }

    def finish(self) -> int:
        """Print the table, write the JSON, and return 0 if every check holds, else 1."""
        about = machine()
        print(f"\n{self.bench}: {about['cpu']}, {about['cores']} cores, load {about['load']}")
        for row_keys, rows in _alike(self.rows):
            print()
            print(_table(row_keys, rows))
        print()
        for check in self.checks:
            shown = "-" if check["value"] is None else f"{check['value']:.4g}"
            verdict = "holds" if check["holds"] else "DOES NOT HOLD"
            reason = f"  ({check['reason']})" if check.get("reason") else ""
            print(
                f"  {check['name']:36} {shown:>9} {check['op']} {check['bound']:<8g}"
                f" {verdict}{reason}"
            )
        for text in self.notes:
            print(f"  note: {text}")
        if self._json is not None:
            self._json.parent.mkdir(parents=True, exist_ok=True)
            self._json.write_text(json.dumps(self.document(), indent=1) + "\n", encoding="utf-8")
        return 0 if all(check["holds"] for check in self.checks) else 1


def machine() -> dict[str, Any]:
    """Return a description of this machine."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "cpu": _cpu(),
        "cores": _cores(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "load": None if load is None else round(load, 2),
    }


# --------------------------------------------------------------------------- numbers


def median(values: Iterable[float]) -> float:
    """Return the median of the values."""
    return statistics.median(values)


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least ``share`` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    at = max(0, -(-len(ordered) * share // 1) - 1)
    return ordered[min(len(ordered) - 1, int(at))]


def interquartile(values: Sequence[float]) -> tuple[float, float]:
    """Return the first and the third quartile, which show how much rounds differ."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


# --------------------------------------------------------------------------- peers


def peer_python(name: str) -> Path:
    """Return the Python of a peer's virtual environment, which is created on first use.

    ``bench/peers/NAME.txt`` lists the packages. The environment is in the user's cache, or in the
    folder ``PHI2_BENCH_ENVIRONMENTS``, and is created again when the list changes. A line
    ``# without: PACKAGE ...`` names packages to uninstall afterwards.

    Raises:
        RuntimeError: pip failed. The message contains the end of its output.
    """
    wanted = HERE / "peers" / f"{name}.txt"
    stamp = hashlib.sha256(wanted.read_bytes() + platform.python_version().encode())
    place = environments() / f"{name}-{stamp.hexdigest()[:10]}"
    python = place / "bin" / "python"
    if (place / "complete").exists():
        return python
    print(f"creating an environment for {name} (once) ...", file=sys.stderr, flush=True)
    shutil.rmtree(place, ignore_errors=True)
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    lines = wanted.read_text(encoding="utf-8").splitlines()
    without = [word for line in lines for word in line.partition("# without:")[2].split()]
    steps = [["install", "-r", wanted], *([["uninstall", "--yes", *without]] if without else [])]
    for step in steps:
        pip = [python, "-m", "pip", "--disable-pip-version-check", "--quiet", *step]
        made = subprocess.run(pip, capture_output=True, text=True, check=False)
        if made.returncode:
            words = " ".join(made.stderr.split())[-300:]
            raise RuntimeError(f"the environment for {name} could not be created: {words}")
    # Compiled in advance, so that the first import that is measured does not include it.
    subprocess.run([python, "-m", "compileall", "-qq", place / "lib"], check=False)
    (place / "complete").touch()
    return python


def peer_versions(name: str, packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of packages in a peer's environment."""
    script = (
        "import importlib.metadata as m, json, sys;"
        "print(json.dumps({p: m.version(p) for p in sys.argv[1:]}))"
    )
    shown = subprocess.run(
        [peer_python(name), "-c", script, *packages], capture_output=True, text=True, check=True
    )
    found: dict[str, str] = json.loads(shown.stdout)
    return found


def environments() -> Path:
    """Return the folder of the environments of peers."""
    if given := os.environ.get("PHI2_BENCH_ENVIRONMENTS"):
        return Path(given)
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "phi2sdk-bench"


def prefer_this_process() -> None:
    """Raise the priority of this process over other programs, if the system allows it.

    Every process of a comparison does this, because other load slows the faster one down more.
    """
    with contextlib.suppress(OSError, AttributeError):
        os.nice(-15)


# --------------------------------------------------------------------------- details


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _relative(argv: Sequence[str]) -> list[str]:
    first = Path(argv[0]).resolve()
    root = HERE.parent
    command = str(first.relative_to(root)) if first.is_relative_to(root) else first.name
    return [command, *(Path(word).name if "/" in word else word for word in argv[1:])]


def _alike(rows: list[dict[str, Any]]) -> list[tuple[tuple[str, ...], list[dict[str, Any]]]]:
    """Return the rows grouped by their columns, in the order of their first appearance."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return list(groups.items())


def _table(keys: tuple[str, ...], rows: list[dict[str, Any]]) -> str:
    cells = [[_shown(row[key]) for key in keys] for row in rows]
    widths = [max(len(key), *(len(line[i]) for line in cells)) for i, key in enumerate(keys)]
    lines = [[key.ljust(width) for key, width in zip(keys, widths, strict=True)]]
    for line, row in zip(cells, rows, strict=True):
        numeric = [isinstance(row[key], int | float) for key in keys]
        lines.append(
            [
                cell.rjust(width) if right else cell.ljust(width)
                for cell, width, right in zip(line, widths, numeric, strict=True)
            ]
        )
    return "\n".join("  " + "  ".join(line).rstrip() for line in lines)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    return round(pages * size / 2**30, 1)
