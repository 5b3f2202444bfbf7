"""The package runs no pickle and no code of a checkpoint, and no license restricts its users."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
PRODUCT = sorted((ROOT / "phi2sdk").rglob("*.py"))
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "shelve", "marshal", "joblib", "jsonpickle"}
UNSAFE_CALLS = {"eval", "exec", "compile", "__import__"}
SANDBOX, INSIDE = "phi2sdk/evaluate/sandbox.py", "phi2sdk/evaluate/inside.py"
"""What starts the sandbox, and what executes programs of a model in it."""


def tool(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def unsafe(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        yield from (name for name in names if name.split(".")[0] in UNSAFE_MODULES)
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in UNSAFE_CALLS or called in ("torch.load", "os.system", "yaml.load"):
                yield called
            for keyword in node.keywords:
                off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
                if keyword.arg in ("trust_remote_code", "shell", "allow_pickle") and not off:
                    yield f"{called}({keyword.arg}=...)"


@pytest.mark.parametrize("path", PRODUCT, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_product_loads_no_pickle_and_runs_no_text(path: Path) -> None:
    executed = ["exec", "exec"] if path == ROOT / INSIDE else []
    assert list(unsafe(path.read_text(encoding="utf-8"))) == executed


def test_what_executes_programs_is_never_imported() -> None:
    for path in PRODUCT:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", ""), *(alias.name for alias in node.names)]
                assert not any(str(name).split(".")[-1] == "inside" for name in names), path


def test_the_search_finds_what_it_looks_for() -> None:
    bad = "import pickle\nfrom dill import x\neval('1')\ntorch.load(f)\nrun(c, shell=True)"
    assert list(unsafe(bad)) == ["pickle", "dill", "eval", "torch.load", "run(shell=...)"]


def test_bundled_weights_are_safetensors_alone() -> None:
    suffixes = {path.suffix for path in (ROOT / "phi2sdk").rglob("*") if path.is_file()}
    assert suffixes & {".bin", ".pt", ".pth", ".pkl", ".ckpt", ".npy", ".npz"} == set()


def test_every_dependency_has_an_allowed_license(capsys: pytest.CaptureFixture[str]) -> None:
    assert tool("licenses").main() == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("stated", "refused"),
    [
        ("MIT", False),
        ("Apache-2.0 OR BSD-3-Clause", False),
        ("GPL-3.0-only", True),
        ("GNU Affero General Public License v3", True),
        ("", True),
        ("All rights reserved", True),
    ],
)
def test_a_license_that_restricts_users_is_refused(stated: str, refused: bool) -> None:
    assert bool(tool("licenses").problem("x", stated)) == refused


def test_the_product_opens_no_other_process_than_it_says() -> None:
    users = {
        str(path.relative_to(ROOT))
        for path in PRODUCT
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import) and any(a.name == "subprocess" for a in node.names)
    }
    assert users == {SANDBOX}
    assert sys.version_info >= (3, 11)
