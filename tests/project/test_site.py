"""The site builds without warnings, loads nothing from the network, and covers all of the code."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import phi2sdk
from phi2sdk.cli.app import app

ROOT = Path(__file__).parents[2]
_LOADED = re.compile(
    r"<(?:script|img|iframe|source|video)\b[^>]*\bsrc=[\"']?(?P<src>[^\"'\s>]+)"
    r"|<link\b(?=[^>]*\brel=[\"']?(?!canonical|prev|next))[^>]*\bhref=[\"']?(?P<href>[^\"'\s>]+)"
    r"|\burl\([\"']?(?P<url>[^\"')]+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the site; any warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert len(files) > 30
    for file in files:
        loaded = {a or b or c for a, b, c in _LOADED.findall(file.read_text())}
        elsewhere = {one for one in loaded if re.match(r"(https?:)?//", one)}
        assert elsewhere == set(), file.relative_to(site)


def test_no_page_has_a_diagram_that_loads_a_library_from_the_network(site: Path) -> None:
    """The theme loads mermaid from the network for a diagram in this language."""
    assert [f for f in site.rglob("*.html") if 'class="mermaid"' in f.read_text()] == []


def test_no_docstring_shows_its_markup(site: Path) -> None:
    for file in site.glob("reference/api/*/index.html"):
        text = re.sub(r"<pre.*?</pre>", "", file.read_text(), flags=re.S)
        assert not re.search(r":(class|func|meth|mod|data|attr):", text), file.relative_to(site)
        assert not re.search(r"<p>::</p>", text), file.relative_to(site)


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    pages = "".join(f.read_text() for f in site.glob("reference/api/*/index.html"))
    documented = set(re.findall(r'id="(phi2sdk[\w.]*)"', pages))
    for name in phi2sdk.__all__:
        if name == "__version__":
            continue
        home = phi2sdk._HOME[name]
        assert (home if name in ("errors", "prompts") else f"{home}.{name}") in documented


def test_every_command_is_in_the_reference(site: Path) -> None:
    text = (site / "reference/commands/index.html").read_text()
    for command in app.registered_commands:
        name = command.name or command.callback.__name__  # type: ignore[union-attr]
        assert f"phi2 {name}" in text


def test_every_part_of_the_report_is_in_the_reference(site: Path) -> None:
    page = (site / "reference/report-json/index.html").read_text()
    documented = set(re.findall(r'id="phi2sdk[\w.]*\.(\w+)"', page))
    schema = json.loads((ROOT / "phi2sdk/report/report.schema.json").read_text())
    parts = {name.rpartition("__")[2] for name in schema["$defs"]}
    assert parts - documented == set()


def test_the_pages_of_the_repository_and_the_schema_are_on_the_site(site: Path) -> None:
    assert (site / "contributing/SECURITY/index.html").is_file()
    assert (site / "contributing/CHANGELOG/index.html").is_file()
    schema = ROOT / "phi2sdk/report/report.schema.json"
    assert (site / "reference/report.schema.json").read_text() == schema.read_text()
