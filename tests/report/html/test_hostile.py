"""Text from outside is shown as text, everywhere on the page."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from phi2sdk.text import for_terminal
from tests.report.html.conftest import Opened, expand
from tests.report.html.making import HOSTILE, hostile_run, page_of

Open = Callable[..., Opened]
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")


@pytest.fixture(scope="module")
def text() -> str:
    return page_of(hostile_run())[1]


@pytest.fixture(scope="module")
def path(text: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "report.html"
    path.write_text(text, encoding="utf-8")
    return path


def parts_of(text: str) -> tuple[str, str]:
    """Return the page without its scripts and style, and its block of data."""
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert data is not None
    rest = re.sub(r"<(script|style)\b[^>]*>.*?</\1>", "", text, flags=re.S)
    return rest, data[1]


def test_the_page_has_no_control_character(text: str) -> None:
    markup, data = parts_of(text)
    assert STEERING.findall(markup) == []
    assert STEERING.findall(data) == []


def test_the_data_cannot_end_its_own_block(text: str) -> None:
    _, data = parts_of(text)
    assert "<" not in data
    found = json.loads(data)
    assert len(found["prompts"]) == len(HOSTILE)
    assert found["prompts"][2]["answers"]["a"][0]["text"] == for_terminal(HOSTILE[2])


class Tags(HTMLParser):
    """Every tag with its attributes, as a browser would read them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_no_payload_is_markup(text: str) -> None:
    markup, _ = parts_of(text)
    tags = Tags(markup).found
    assert {"img", "iframe", "object", "embed", "base", "link", "foreignobject"}.isdisjoint(
        tag for tag, _ in tags
    )
    names = {name for _, attributes in tags for name in attributes}
    assert [name for name in names if name.startswith("on") or name == "style"] == []
    addresses = [
        attributes[name]
        for _, attributes in tags
        for name in ("href", "src", "action", "xlink:href")
        if name in attributes
    ]
    assert [address for address in addresses if not (address or "").startswith("#")] == []


def test_no_payload_is_a_template(text: str) -> None:
    markup, _ = parts_of(text)
    assert "{{ 7 * 7 }}{% raw %}${7*7}" in markup


def test_no_payload_acts_in_a_browser(open_page: Open, path: Path) -> None:
    opened = open_page(path)
    page = opened.page
    expand(page)
    for number in range(len(HOSTILE)):
        page.locator(".prompt summary").nth(number).click()
    page.fill("#search", "<script>")
    page.fill("#search", "")
    assert page.evaluate("window.hacked") is None
    assert opened.complaints == []
    assert opened.requests == [path.as_uri()]
    assert page.locator("img, iframe, object, embed").count() == 0
    assert page.locator("a").evaluate_all("es => es.every(e => e.hash && e.protocol === 'file:')")


def test_every_payload_is_shown_as_text(open_page: Open, path: Path) -> None:
    page = open_page(path).page
    expand(page)
    for number, payload in enumerate(HOSTILE):
        prompt = page.locator(".prompt").nth(number)
        prompt.locator("summary").click()
        answer = prompt.locator(".answer", has_text="reference").locator(".answer-text")
        assert answer.evaluate("e => e.textContent") == for_terminal(payload)
        assert for_terminal(payload) in prompt.locator(".id").evaluate("e => e.textContent")
        message = prompt.locator(".message").evaluate("e => e.textContent")
        assert message.count(for_terminal(payload)) == 2


def test_the_page_runs_only_its_own_scripts(open_page: Open, path: Path) -> None:
    """The policy is tested in the browser: an injected script and handler do not run."""
    opened = open_page(path)
    opened.page.evaluate(
        "const s = document.createElement('script'); s.textContent = 'window.hacked = 1';"
        "document.body.append(s);"
        "const e = document.createElement('div'); e.setAttribute('onclick', 'window.hacked = 1');"
        "document.body.append(e); e.click();"
        "const i = new Image(); i.src = 'https://example.com/x.png'; document.body.append(i);"
    )
    assert opened.page.evaluate("window.hacked") is None
    assert len(opened.complaints) >= 3
    assert all("Content Security Policy" in complaint for complaint in opened.complaints)
