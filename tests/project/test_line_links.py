"""A link to a line of the code points to the definition that it names."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project.test_tools import tool

ROOT = Path(__file__).parents[2]
ARCHITECTURE = ROOT / "docs/how-it-works/architecture.md"
PAGES = [ROOT / "CONTRIBUTING.md", ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]

line_links = tool("line_links")

MODULE = '''\
LIMIT = 3
NAMES: tuple[str, ...] = ()


@decorated
class Retry:
    attempts: int = 4

    async def stream(self) -> None:
        """Not `Retry.close`."""


def stream() -> None: ...
'''


def written(folder: Path, link: str) -> Path:
    (folder / "policies.py").write_text(MODULE)
    page = folder / "page.md"
    page.write_text(f"A request passes {link} first.\n")
    return page


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_every_link_to_a_line_points_to_the_definition_of_its_text(page: Path) -> None:
    name = page.relative_to(ROOT)
    assert line_links.refreshed(page) == page.read_text(), f"run python tools/line_links.py {name}"


def test_the_page_of_the_architecture_links_to_every_step() -> None:
    text = ARCHITECTURE.read_text()
    linked = line_links.links(text)
    assert len(linked) > 50
    assert len(linked) == text.count(".py#L"), "a link to a line names a symbol in backquotes"


@pytest.mark.parametrize(
    ("symbol", "line"),
    [("LIMIT", 1), ("NAMES", 2), ("Retry", 6), ("Retry.attempts", 7), ("Retry.stream", 9),
     ("stream", 13)],
)  # fmt: skip
def test_the_number_of_a_line_that_moved_is_updated(tmp_path: Path, symbol: str, line: int) -> None:
    page = written(tmp_path, f"[`{symbol}`](policies.py#L999)")
    line_links.main([str(page)])
    assert page.read_text() == f"A request passes [`{symbol}`](policies.py#L{line}) first.\n"


@pytest.mark.parametrize(
    ("link", "message"),
    [
        ("[`Retry.close`](policies.py#L1)", "policies.py does not define Retry.close"),
        ("[`Retry`](gone.py#L1)", "does not exist"),
    ],
)
def test_a_link_to_nothing_is_an_error_and_the_page_stays_unchanged(
    tmp_path: Path, link: str, message: str
) -> None:
    page = written(tmp_path, link)
    before = page.read_text()
    with pytest.raises(SystemExit, match=message):
        line_links.main([str(page)])
    assert page.read_text() == before
