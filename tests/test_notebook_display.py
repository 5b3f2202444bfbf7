"""The display in a notebook is small, uses the page's colors, and escapes all text."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from phi2sdk import Completion
from phi2sdk.completion import Cost, Count, Receipt, Timing, Usage
from tests.measure.making import answer, failure
from tests.report.making import report_of

HOSTILE = {
    "script": "</div><script>alert(1)</script>",
    "img": "<img src=x onerror=alert(1)>",
    "attribute": '"\' style=position:fixed onmouseover=alert(1) x="',
    "entity": "&lt;b&gt; &amp; &#60;script&#62;",
    "bidi": "safe \u202etxt.exe\u202c \u2066x\u2069",
    "ansi": "\x1b[31mred\x1b]0;owned\x07 \x9b2J \x00",
    "comment": "<!-- --> <![CDATA[ ]]> <?php ?>",
    "closing": "</table></td></style></textarea></title>",
    "svg": "<svg/onload=alert(1)><math><mtext></mtext></math>",
}
TAGS = {"div", "b", "table", "thead", "tbody", "tr", "th", "td"}
SHOWN_BY_NUMBER = {"\x1b": "\\x1b", "\u202e": "\\u202e", "\x9b": "\\x9b", "\x00": "\\x00"}

COMPLETION = Completion(
    text="Tides rise.",
    raw_text="Tides rise.",
    finish_reason="stop",
    usage=Usage(Count(12), Count(30, estimated=True)),
    timing=Timing(0, 250_000_000, 1_500_000_000),
    receipt=Receipt("azure", "azure", "azure.score", "Tides?"),
    cost=Cost(0.000123, "a page", "2026-11-01", "hourly", estimated=True),
)


class Page(HTMLParser):
    """Elements with their attributes, and the text that a reader sees."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.other: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.other.append(data)

    def handle_decl(self, decl: str) -> None:
        self.other.append(decl)

    def handle_pi(self, data: str) -> None:
        self.other.append(data)

    def unknown_decl(self, data: str) -> None:
        self.other.append(data)


def inert(html: str) -> Page:
    page = Page(html)
    assert {tag for tag, _ in page.elements} <= {
        "div",
        "b",
        "table",
        "thead",
        "tbody",
        "tr",
        "th",
        "td",
    }
    assert {name for _, attributes in page.elements for name in attributes} <= {"style", "title"}
    assert page.other == []
    assert page.open == []
    assert html.replace("\n", "").replace("\t", "").isprintable()
    return page


def test_an_answer_shows_its_text_tokens_latency_and_cost() -> None:
    page = inert(COMPLETION._repr_html_())
    assert page.text == (
        "Tides rise.target azure · 12 input tokens · about 30 output tokens · E2E 1.5 s · "
        "TTFT 0.25 s · cost about $0.000123 · finish reason stop"
    )


def test_facts_that_are_not_reported_are_left_out() -> None:
    bare = replace(
        COMPLETION, usage=Usage(), timing=Timing(0, None, 10**9), cost=None, finish_reason=None
    )
    assert inert(bare._repr_html_()).text == (
        "Tides rise.target azure · unknown input tokens · unknown output tokens · E2E 1 s"
    )


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_shown_as_text(kind: str) -> None:
    text = HOSTILE[kind]
    page = inert(replace(COMPLETION, text=text)._repr_html_())
    for character, number in SHOWN_BY_NUMBER.items():
        text = text.replace(character, number)
    for character in "\x07\u202c\u2066\u2069":
        text = text.replace(character, character.encode("unicode_escape").decode())
    assert page.text.startswith(text)


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_in_a_report_is_shown_as_text(kind: str) -> None:
    text = HOSTILE[kind]
    records = [answer("p", target="a", text=text), answer("p", target="b", text=text)]
    records += [
        replace(failure("q", target="b"), message=text, error=text),
        answer("q", target="a"),
    ]
    page = inert(report_of(records)._repr_html_())
    assert "E2E p50" in page.text
    assert "No decision" in page.text


def test_a_report_is_small_and_a_long_answer_is_cut() -> None:
    records = [answer(str(n), target=t, text="x " * 3000) for n in range(50) for t in "abcde"]
    assert len(report_of(records)._repr_html_()) < 20_000
    long = replace(COMPLETION, text="x" * 1_000_000)._repr_html_()
    assert len(long) < 10_000
    assert "and 995,000 more characters" in long


def test_no_color_is_set_so_that_light_and_dark_pages_are_readable() -> None:
    shown = report_of([answer("p", target="a")])._repr_html_() + COMPLETION._repr_html_()
    styles = [attributes.get("style") or "" for _, attributes in Page(shown).elements]
    properties = {part.partition(":")[0] for style in styles for part in style.split(";")}
    assert "color" not in properties
    assert all("background:none" in s for s in styles if "background" in s)


def test_an_answer_is_made_without_loading_what_shows_it() -> None:
    code = "import phi2sdk.completion, sys; print('phi2sdk.notebook' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
