"""The notebook runs from top to bottom on a machine without a GPU, an account and a network."""

from __future__ import annotations

import ast
import os
import re
import tomllib
from importlib import import_module
from pathlib import Path
from typing import Any

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager
from nbclient import NotebookClient

from phi2sdk.testing import Phi2Emulator

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "phi2_colab.ipynb"
KEYS = (
    *("AZURE_PHI2_ENDPOINT", "AZURE_PHI2_KEY", "CLARIFAI_PAT", "HF_PHI2_ENDPOINT", "HF_TOKEN"),
    *("OPENAI_BASE_URL", "OPENAI_API_KEY"),
)


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def test_it_is_kept_without_outputs() -> None:
    notebook = read()
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            assert cell.metadata == {}


def source(id: str) -> str:
    """The Python that IPython makes of a cell."""
    (cell,) = (cell for cell in read().cells if cell.id == id)
    manager = TransformerManager()  # type: ignore[no-untyped-call]
    return str(manager.transform_cell(cell.source))


@pytest.mark.parametrize("wheel", [None, "phi2sdk-0.1.0-py3-none-any.whl"])
def test_it_installs_from_the_uploaded_wheel_or_from_the_checkout_that_it_is_in(
    wheel: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Shell:
        def run_line_magic(self, name: str, line: str) -> None:
            installed.append((name, line.format(**namespace)))

    installed: list[tuple[str, str]] = []
    namespace: dict[str, Any] = {"get_ipython": Shell}
    if wheel is None:
        monkeypatch.chdir(NOTEBOOK.parent)
    else:
        monkeypatch.chdir(tmp_path)
        Path(wheel).touch()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    exec(source("install"), namespace)
    ((magic, line),) = installed
    assert magic == "pip"
    match = re.fullmatch(r'install --quiet "(.+)\[demo\]" matplotlib', line)
    assert match is not None
    assert Path(match[1]) == (ROOT if wheel is None else tmp_path / wheel)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert "demo" in project["optional-dependencies"]


def test_it_imports_only_names_that_the_reference_documents() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs/reference/api").glob("*.md"))
    documented = {"phi2sdk", *re.findall(r"^::: ([\w.]+)$", pages, re.M)}
    cells = [source(cell.id) for cell in read().cells if cell.cell_type == "code"]
    imports = [
        (node.module, alias.name)
        for cell in cells
        for node in ast.walk(ast.parse(cell))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("phi2sdk")
        for alias in node.names
    ]
    assert len(imports) >= 8
    for module, name in imports:
        if f"{module}.{name}" not in documented:
            assert module in documented
            assert name in import_module(module).__all__


def run(folder: Path, **variables: str) -> Any:
    """The notebook after a run, with the hub out of reach and no keys but those given."""
    notebook = read()
    environment = {name: value for name, value in os.environ.items() if name not in KEYS}
    environment |= {
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "IPYTHONDIR": str(folder / "ipython"),
        "MPLCONFIGDIR": str(folder / "matplotlib"),
    }
    client = NotebookClient(notebook, timeout=100, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment | variables)
    return notebook


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return run(tmp_path_factory.mktemp("notebook"))


def outputs(notebook: Any, id: str) -> list[Any]:
    (cell,) = (cell for cell in notebook.cells if cell.id == id)
    return list(cell.outputs)


def text(notebook: Any, id: str) -> str:
    return "".join(output.get("text", "") for output in outputs(notebook, id))


def test_it_says_what_it_does_without_a_gpu_and_keys(executed: Any) -> None:
    assert "providers with settings: none, so emulators are used" in text(executed, "keys")
    assert "needs about 6.23 GB" in text(executed, "load")
    assert "in float32 on cpu" in text(executed, "load")
    for id in ("stream", "explain", "prices", "clean"):
        assert text(executed, id)
    assert "report.json" in text(executed, "clean")


def test_nothing_warns_or_fails(executed: Any) -> None:
    for cell in executed.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error", cell.id
            assert output.get("name") != "stderr", (cell.id, output.text)


def test_answers_and_the_report_are_shown_as_html_and_the_plots_as_an_image(executed: Any) -> None:
    (answer,) = outputs(executed, "ask")
    assert "tokens" in answer.data["text/html"]
    report = outputs(executed, "compare")[-1]
    assert "<table" in report.data["text/html"]
    assert "~" in report.data["text/html"], "emulated targets are marked"
    assert "~azure" in text(executed, "prices")
    (image,) = outputs(executed, "plots")
    assert len(image.data["image/png"]) > 5000


def test_the_stated_prices_are_used_with_emulators_too(executed: Any) -> None:
    shown = text(executed, "prices")
    assert re.search(r"^local .*hf-endpoints-documentation", shown, re.M)
    assert re.search(r"^~openai .*together", shown, re.M)
    assert "no price configured" not in shown


def test_with_keys_the_loaded_model_is_compared_with_the_providers(
    phi2_emulator: Phi2Emulator, tmp_path: Path
) -> None:
    phi2_emulator.answers(" A summary.")
    wanted = ("AZURE_PHI2_ENDPOINT", "AZURE_PHI2_KEY", "OPENAI_BASE_URL", "OPENAI_API_KEY")
    notebook = run(tmp_path, **{name: phi2_emulator.environment[name] for name in wanted})
    assert "providers with settings: azure, openai" in text(notebook, "keys")
    assert "hf-endpoints-documentation" in text(notebook, "prices")
    assert re.search(r"^azure +no price configured", text(notebook, "prices"), re.M)
    assert len(phi2_emulator.azure.calls) >= 6
    assert phi2_emulator.key not in nbformat.writes(notebook)  # type: ignore[no-untyped-call]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("phi2")] == []
