"""The files of a release agree with each other."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import distributions
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.specifiers import SpecifierSet

import phi2sdk

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


PINNED = {
    normal(line.partition("==")[0])
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if "==" in line
}


def required(lines: list[str]) -> set[str]:
    names = {normal(re.split(r"[\[<>=~;\s]", line, maxsplit=1)[0]) for line in lines}
    return names - {"phi2sdk"}


def test_the_version_is_the_same_everywhere() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == phi2sdk.__version__
    headings = re.findall(r"^## \[?([^\]\s]+)", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert headings[0] == "Unreleased"
    assert headings[1:] in ([], [phi2sdk.__version__, *headings[2:]])


def test_everything_that_is_asked_for_is_pinned() -> None:
    extras = [line for lines in EXTRAS.values() for line in lines]
    asked = required([*PYPROJECT["project"]["dependencies"], *extras])
    assert asked - PINNED == set()


def test_the_pins_are_in_order_and_there_is_one_for_each() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    names = [line.partition("==")[0].lower() for line in lines if not line.startswith("#")]
    assert names == sorted(set(names))


def test_a_pin_can_be_installed_on_every_supported_python() -> None:
    """As far as it is installed here: a version that asks for 3.11.5 shuts out Debian's 3.11.2."""
    oldest = PYPROJECT["project"]["requires-python"].removeprefix(">=") + ".0"
    too_new = {}
    for found in distributions():
        asks = found.metadata["Requires-Python"]
        if normal(found.name) in PINNED and asks and oldest not in SpecifierSet(asks):
            too_new[found.name] = asks
    assert too_new == {}


def test_every_extra_is_explained_and_measured() -> None:
    page = (ROOT / "docs/get-started/installation.md").read_text()
    explained, measured = page.split("## Size")
    assert set(re.findall(r"^\| `(\w+)` \|", explained, re.M)) == set(EXTRAS)
    rows = set(re.findall(r"^\| `?(\w+)`? \| \d+ \| [\d,]+ \|$", measured, re.M))
    assert rows == {"none", *EXTRAS} - {"docs", "release", "test"}


def test_an_extra_that_a_message_names_is_there() -> None:
    for file in (ROOT / "phi2sdk").rglob("*.py"):
        for named in re.findall(r"phi2sdk\[([a-z,]+)\]", file.read_text()):
            assert set(named.split(",")) <= set(EXTRAS), file.name


def test_the_package_tells_that_it_has_types() -> None:
    assert (files("phi2sdk") / "py.typed").is_file()
    assert "Typing :: Typed" in PYPROJECT["project"]["classifiers"]


def test_what_the_sdist_takes_along_is_there() -> None:
    taken = PYPROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    assert [path for path in taken if not (ROOT / path.removeprefix("/")).exists()] == []


def test_the_hooks_before_a_commit_are_those_of_ci() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook for repo in config["repos"] for hook in repo["hooks"]]
    assert {repo["repo"] for repo in config["repos"]} == {"local"}
    ci = (ROOT / ".ci/run").read_text()
    for hook in hooks:
        assert " ".join(hook["entry"].split()[:2]) in ci, hook["id"]


@pytest.mark.parametrize("form", sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")))
def test_an_issue_form_has_what_github_asks_of_one(form: Path) -> None:
    content = yaml.safe_load(form.read_text())
    if form.name == "config.yml":
        assert content == {"blank_issues_enabled": False}
        return
    assert content["name"]
    assert content["description"]
    ids = [field["id"] for field in content["body"] if field["type"] != "markdown"]
    assert len(ids) == len(set(ids))
    for field in content["body"]:
        assert field["type"] in ("markdown", "textarea", "input", "dropdown", "checkboxes")
        assert set(field["attributes"]) & {"label", "value"}
