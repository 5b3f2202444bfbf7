"""Try a wheel in an empty environment, outside of the checkout.

    python -m build --wheel
    python tools/try_wheel.py dist/phi2sdk-*.whl

The command installs the wheel with the extra ``demo``, and pytest. It then checks the version, the
types with a strict mypy, the demo, and the tests of each example in a copy of its folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TYPED = """\
from phi2sdk import AsyncPhi2Client, Completion, Phi2Client, Sampling, errors, prompts


def summary(paragraph: str) -> str:
    with Phi2Client("local", model="demo") as phi:
        answer: Completion = phi.generate(prompts.summarize(paragraph), Sampling(max_tokens=60))
        return answer.text
"""


class Environment:
    """A virtual environment and a working folder, both independent of the checkout."""

    def __init__(self, folder: Path) -> None:
        self.python = folder / "venv" / "bin" / "python"
        self.work = folder / "work"
        self.work.mkdir()
        venv.create(folder / "venv", with_pip=True)
        known = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV"))}
        self._environ = {**known, "PATH": f"{self.python.parent}{os.pathsep}{known['PATH']}"}

    def install(self, *what: str) -> None:
        """Install packages with the tested versions of their dependencies."""
        constraints = str(ROOT / "constraints.txt")
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        self.run(*pip, "-c", constraints, *what)

    def run(self, *command: str, statuses: tuple[int, ...] = (0,), cwd: Path | None = None) -> str:
        """Run a command, and return its standard output.

        Raises:
            SystemExit: Its exit status is not in ``statuses``.
        """
        done = subprocess.run(
            command,
            cwd=cwd or self.work,
            env=self._environ,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode not in statuses:
            print(done.stdout)
            raise SystemExit(f"{' '.join(command)} exited with status {done.returncode}")
        return done.stdout


def try_package(there: Environment) -> None:
    """Check that the installed package is imported, and that its command and types work."""
    file = there.run(str(there.python), "-c", "import phi2sdk; print(phi2sdk.__file__)").strip()
    assert "site-packages" in file, file
    print(there.run("phi2", "--version").strip(), "at", file)
    script = there.work / "typed.py"
    script.write_text(TYPED)
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(there.python)]
    print(there.run(*mypy, str(script)).strip())


def try_demo(there: Environment) -> None:
    """Run the demo. On a busy machine the run may be invalid, but no request may fail."""
    command = [str(there.python), "-m", "phi2sdk.compare", "--quiet", "--out", "run", "--json"]
    report = json.loads(there.run(*command, statuses=(0, 3)))
    failed = {name: t["errors"]["error"] for name, t in report["targets"].items()}
    assert len(failed) >= 6, failed
    assert not any(failed.values()), failed
    made = {file.name for file in (there.work / "run").iterdir()}
    assert {"run.json", "records.jsonl", "report.json", "report.md"} <= made, made
    print(f"{len(failed)} targets, none failed. {report['validity']['sentence']}")


def try_example(there: Environment, example: Path) -> None:
    """Install an example beside the wheel, and run the tests of the example in its folder."""
    copy = there.work / example.name
    shutil.copytree(example, copy, ignore=shutil.ignore_patterns("__pycache__", ".*_cache"))
    project = tomllib.loads((copy / "pyproject.toml").read_text())["project"]
    its_extras = project.get("optional-dependencies", {})
    there.install(f"{copy}[test]" if "test" in its_extras else str(copy))
    lines = there.run(str(there.python), "-m", "pytest", "-q", cwd=copy).strip().splitlines()
    print(f"{example.name}: {lines[-1]}")


def main() -> None:
    """Try a wheel given on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("wheel", type=Path)
    wheel = parser.parse_args().wheel.resolve()
    examples = sorted(p.parent for p in (ROOT / "examples").glob("*/pyproject.toml"))
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        there = Environment(Path(folder).resolve())
        there.install(f"{wheel}[demo]")
        print(f"installed in {time.monotonic() - begun:.0f} s")
        try_package(there)
        begun = time.monotonic()
        try_demo(there)
        print(f"the demo took {time.monotonic() - begun:.0f} s")
        there.install("pytest")
        for example in examples:
            try_example(there, example)


if __name__ == "__main__":
    main()
