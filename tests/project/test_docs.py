"""The links of the documentation exist, and its tables agree with the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from phi2sdk import backends, errors, prompts

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
PROJECT = [ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")]
_LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")


@pytest.mark.parametrize("page", [*PAGES, *PROJECT], ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_relative_link_points_to_a_file(page: Path) -> None:
    links = [link.partition("#")[0] for link in _LINK.findall(page.read_text())]
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached = {PAGES[0]}
    frontier = [PAGES[0]]
    while frontier:
        page = frontier.pop()
        for link in _LINK.findall(page.read_text()):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and target not in reached and target.exists():
                reached.add(target)
                frontier.append(target)
    assert {*PAGES, *PROJECT} <= reached


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_page_opens_with_a_sentence(page: Path) -> None:
    """Its first paragraph says what the page lets a reader do."""
    text = re.sub(r"\A---\n.*?\n---\n", "", page.read_text(), flags=re.S).strip()
    title, opening = [line for line in text.splitlines() if line.strip()][:2]
    assert title.startswith("# ")
    assert re.match(r"(`phi2 |[A-Za-z])", opening), opening


def test_the_readme_is_short() -> None:
    lines = PAGES[0].read_text().splitlines()
    shown = lines.index("<!-- demo output: end -->") - lines.index("<!-- demo output: begin -->")
    assert len(lines) <= 120
    assert 10 < shown <= 43, "two marks and two fences around at most 40 lines"


def test_the_error_table_lists_every_error() -> None:
    table = (ROOT / "docs/client/errors.md").read_text()
    listed = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    assert listed == set(errors.__all__) - {"Phi2Error", "TransientError"}
    for name in listed:
        row = next(line for line in table.splitlines() if line.startswith(f"| `{name}`"))
        assert row.endswith("| yes |") == getattr(errors, name).retryable, name


def test_the_backend_table_lists_every_backend_and_its_environment() -> None:
    text = (ROOT / "docs/client/backends.md").read_text()
    rows = {m[1]: m[0] for m in re.finditer(r"^\| `(\w+)` \|.*$", text, re.MULTILINE)}
    assert set(rows) == set(backends.known())
    for name, row in rows.items():
        for variable in backends.find(name).environment.values():
            assert f"`{variable}`" in row or (name, variable) == ("hf", "PHI2_MODEL"), name


def test_the_format_table_lists_every_format() -> None:
    text = (ROOT / "docs/client/prompt-formats.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)) == set(prompts.FORMATS)


def test_the_guide_shows_the_backend_that_is_tested() -> None:
    page = (ROOT / "docs/client/write-a-backend.md").read_text()
    assert (ROOT / "examples/phi2sdk_echo/phi2sdk_echo.py").read_text() in page
