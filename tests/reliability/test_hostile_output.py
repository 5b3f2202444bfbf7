"""Hostile text on every surface that shows it: shown as what it is, and obeyed by nothing.

Each text goes the whole way: a provider answers with it, and it is also the prompt, its name and
its reference. What a browser makes of ``report.html`` is looked at in ``tests/report/html``.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from markdown_it import MarkdownIt
from rich.console import Console
from typer.testing import CliRunner

from phi2sdk import Phi2Client
from phi2sdk.cli.app import app
from phi2sdk.emulator import Emulator, Fault, ScriptedEngine
from phi2sdk.errors import InvalidRequest
from phi2sdk.report.markdown import markdown
from phi2sdk.report.notebook import ShownReport
from phi2sdk.report.requirements import junit
from phi2sdk.report.schema import RequirementReport
from phi2sdk.text import for_markdown, for_terminal
from tests.measure.making import answer
from tests.reliability.hostile import HOSTILE, SAYABLE, steers
from tests.reliability.matrix import ANSWER, KEY, TARGETS
from tests.reliability.stage import OPTIONS, PROMPT, open_backend, url_of
from tests.report.making import report_of

REQUIRED = "targets.openai.latency.e2e.p50 < 0"
"""Never holds, so that there is a junit.xml with a failure."""


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(ScriptedEngine(ANSWER), key=KEY).running() as running:
        yield running


# ------------------------------------------------------------------ a comparison of them all


@dataclass(frozen=True)
class Ran:
    """A comparison: what it printed, and its folder."""

    out: str
    err: str
    folder: Path

    def read(self, name: str) -> str:
        return (self.folder / name).read_text(encoding="utf-8")


def phi2(emulator: Emulator, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "phi2sdk.cli", *arguments],
        cwd=folder, env={**os.environ, **emulator.environment(), "COLUMNS": "80"},
        capture_output=True, encoding="utf-8", timeout=100, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def compared(emulator: Emulator, folder: Path, texts: Mapping[str, str]) -> Ran:
    """Ask two providers all texts; both answer with the text, the second one with a word more."""
    entries = [
        {"id": f"{kind} {text}", "text": f"{kind} {text}", "reference": text}
        for kind, text in texts.items()
    ]
    lines = "\n".join(json.dumps(entry) for entry in entries)
    (folder / "in.jsonl").write_text(lines, encoding="utf-8")

    def said(prompt: str) -> str:
        return texts[prompt.split(" ", 1)[0]]

    emulator.openai.engine = ScriptedEngine(said)
    emulator.hf.engine = ScriptedEngine(lambda prompt: said(prompt) + " besides")
    done = phi2(
        emulator, folder, "compare", "in.jsonl", "--task", "prompt", "--format", "raw",
        "--target", "openai", "--target", "hf", "--repeat", "1", "--warmup", "0",
        "--out", "run", "--require", REQUIRED,
    )  # fmt: skip
    assert done.returncode in (1, 3), done.stderr
    ran = Ran(done.stdout, done.stderr, folder / "run")
    assert json.loads(ran.read("report.json"))["targets"]["hf"]["errors"]["ok"] == len(texts)
    return ran


@pytest.fixture(scope="module")
def hostile(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    texts = {kind.replace(" ", "-"): HOSTILE[kind] for kind in SAYABLE}
    return compared(emulator, tmp_path_factory.mktemp("hostile"), texts)


@pytest.fixture(scope="module")
def harmless(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    texts = {
        kind.replace(" ", "-"): f"a text without malice, number {len(kind)}" for kind in SAYABLE
    }
    return compared(emulator, tmp_path_factory.mktemp("harmless"), texts)


def test_it_really_came_that_far(hostile: Ran) -> None:
    records = [json.loads(line) for line in hostile.read("records.jsonl").split("\n") if line]
    kept = {record.get("raw_text", record.get("text")) for record in records}
    for kind in SAYABLE:
        assert {HOSTILE[kind].strip(), f"{HOSTILE[kind]} besides".strip()} <= kept, kind


def test_the_comparison_steers_no_terminal(hostile: Ran) -> None:
    assert steers(hostile.out + hostile.err) == []


def test_two_runs_side_by_side_steer_no_terminal(emulator: Emulator, hostile: Ran) -> None:
    done = phi2(emulator, hostile.folder.parent, "diff", "run", "run")
    assert done.returncode in (0, 1, 3), done.stderr
    assert steers(done.stdout + done.stderr) == []


@pytest.mark.parametrize("name", ["records.jsonl", "run.json", "report.json"])
def test_what_machines_read_is_json_whatever_was_said(hostile: Ran, name: str) -> None:
    text = hostile.read(name)
    for line in text.split("\n") if name.endswith("l") else [text]:
        assert not line or json.loads(line)
    assert "\x1b" not in text


def test_the_markdown_report_has_no_hostile_markup(hostile: Ran, harmless: Ran) -> None:
    def kinds(text: str) -> set[str]:
        tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(text)
        inner = [child for token in tokens for child in token.children or []]
        return {token.type for token in [*tokens, *inner]} - {"text_special"}

    text = hostile.read("report.md")
    assert steers(text) == []
    assert "html_block" not in kinds(text)
    assert "html_inline" not in kinds(text)
    assert kinds(text) <= kinds(harmless.read("report.md"))


class Page(HTMLParser):
    """Counts a page's elements, and keeps what its attributes and its scripts say."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[str] = Counter()
        self.attributes: dict[str, set[str]] = {}
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self._in_script = False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        for name, value in attrs:
            self.attributes.setdefault(name, set()).add(value or "")
        self._in_script = tag == "script"
        if self._in_script:
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._in_script = False

    def handle_data(self, data: str) -> None:
        if self._in_script:
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)


def test_the_page_has_no_hostile_element_attribute_or_script(hostile: Ran, harmless: Ran) -> None:
    text = hostile.read("report.html")
    theirs, usual = Page(text), Page(harmless.read("report.html"))
    assert set(steers(text)) <= set(steers(harmless.read("report.html"))), "the libraries' own"
    assert set(theirs.elements) <= set(usual.elements)
    assert theirs.elements["script"] == usual.elements["script"]
    assert theirs.elements["style"] == usual.elements["style"]
    assert set(theirs.attributes) <= set(usual.attributes)
    assert not any(name.startswith("on") for name in theirs.attributes)
    for name in ("href", "src", "action", "formaction", "xlink:href", "style"):
        values = theirs.attributes.get(name, set())
        assert not any("evil.example" in v or "javascript:" in v.lower() for v in values)
    for attributes, said in theirs.scripts:
        if attributes.get("type") == "application/json":
            json.loads(said)
        else:
            assert "alert(1)" not in said


def test_the_page_shows_each_answer_as_text(hostile: Ran) -> None:
    shown = "".join(
        said for attributes, said in Page(hostile.read("report.html")).scripts
        if attributes.get("type") == "application/json"
    )  # fmt: skip
    strings = "\n".join(strings_of(shown))
    for kind in SAYABLE:
        assert for_terminal(HOSTILE[kind]).strip() in strings, kind


def strings_of(document: str) -> Iterator[str]:
    """Every string of JSON documents that follow each other."""

    def walk(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        for inner in (
            value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        ):
            yield from walk(inner)

    decoder, at = json.JSONDecoder(), 0
    while document[at:].strip():
        at += len(document[at:]) - len(document[at:].lstrip())
        value, at = decoder.raw_decode(document, at)
        yield from walk(value)


def test_junit_is_xml_with_one_failure_and_no_hostile_markup(hostile: Ran) -> None:
    suite = ElementTree.fromstring(hostile.read("junit.xml"))
    assert [case.tag for case in suite] == ["testcase"]
    assert [element.tag for element in suite[0]] == ["failure"]


def test_a_notebook_shows_the_report_without_hostile_markup(hostile: Ran, harmless: Ran) -> None:
    shown = [
        ShownReport.model_validate_json(ran.read("report.json"))._repr_html_()
        for ran in (hostile, harmless)
    ]
    hold_tame(*shown)


def hold_tame(shown: str, usual: str) -> None:
    """HTML with a hostile text in it has nothing that it lacks with a harmless one."""
    theirs, ours = Page(shown), Page(usual)
    assert steers(shown) == []
    assert set(theirs.elements) <= set(ours.elements)
    assert set(theirs.attributes) <= set(ours.attributes)
    assert theirs.attributes["style"] <= ours.attributes["style"]
    assert theirs.scripts == []


# ------------------------------------------------------------------ one answer at a time

GENERATE = ("generate", "x", "-t", "openai", "--max-tokens", "1000")
SURFACES: Mapping[str, Callable[[Emulator, Path], subprocess.CompletedProcess[str]]] = {
    "generate": lambda at, here: phi2(at, here, *GENERATE, "--receipt"),
    "stream": lambda at, here: phi2(at, here, *GENERATE, "--stream"),
    "json": lambda at, here: phi2(at, here, *GENERATE, "--json"),
}


@pytest.mark.parametrize("surface", SURFACES)
def test_an_answer_steers_no_terminal(surface: str, emulator: Emulator, tmp_path: Path) -> None:
    """All of them in one answer: they are separate lines."""
    text = "\n".join(HOSTILE[kind] for kind in SAYABLE)
    emulator.openai.engine = ScriptedEngine(text)
    done = SURFACES[surface](emulator, tmp_path)
    assert done.returncode == 0, done.stderr
    assert steers(done.stdout + done.stderr) == []
    if surface == "json":
        assert json.loads(done.stdout)["raw_text"] == text
    else:
        assert for_terminal(HOSTILE["html"]) in done.stdout
    emulator.openai.engine = ScriptedEngine(ANSWER)


def test_a_notebook_shows_an_answer_without_hostile_markup(emulator: Emulator) -> None:
    shown = {}
    with Phi2Client(open_backend("openai completions", emulator.openai.url)) as phi:
        for kind in (None, *SAYABLE):
            text = "a text without malice" if kind is None else HOSTILE[kind]
            emulator.openai.engine = ScriptedEngine(text)
            shown[kind] = phi.generate(PROMPT, **OPTIONS)._repr_html_()
    emulator.openai.engine = ScriptedEngine(ANSWER)
    for kind in SAYABLE:
        hold_tame(shown[kind], shown[None])


def test_a_providers_error_steers_no_terminal(emulator: Emulator, tmp_path: Path) -> None:
    for kind in SAYABLE:
        text = HOSTILE[kind]
        body = {"error": {"message": text, "code": text, "type": text}}
        headers = {"x-request-id": "".join(c for c in text if c.isascii() and c.isprintable())}
        emulator.openai.faults.push(Fault("status", status=400, headers=headers, body=body))
        backend = open_backend("openai completions", emulator.openai.url)
        with Phi2Client(backend) as phi, pytest.raises(InvalidRequest) as caught:
            phi.generate(PROMPT)
        assert steers(str(caught.value)) == [], kind


@pytest.mark.parametrize("kind", SAYABLE)
def test_a_prompt_stays_one_argument_of_the_command_that_shows_it(
    kind: str, emulator: Emulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    text = f"{HOSTILE[kind]} '; touch pwned; $(touch pwned) `touch pwned` \\"
    asked = ["explain", text, "-t", "openai", "--curl", "--format", "raw"]
    shown = CliRunner().invoke(app, asked)
    assert shown.exit_code == 0, shown.output
    assert steers(shown.stdout) == []
    assert KEY not in shown.output
    # In a shell where curl shows its arguments: one of them is the body, and nothing else ran.
    script = f'curl() {{ printf "%s\\0" "$@"; }}\n{shown.stdout}'
    ran = subprocess.run(["bash", "-c", script], capture_output=True, check=True, cwd=tmp_path)
    bodies = [word for word in ran.stdout.split(b"\0") if word.startswith(b"{")]
    assert [json.loads(body)["prompt"] for body in bodies] == [text]
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------ the functions they all rest on


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_does_not_steer_a_terminal(kind: str) -> None:
    assert steers(for_terminal(HOSTILE[kind])) == []


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_not_markup_in_a_markdown_report(kind: str) -> None:
    cell = for_markdown(HOSTILE[kind])
    assert steers(cell) == []
    assert not set("<>|`") & set(cell)
    # A Markdown reader finds one paragraph of plain text in it, and the text is what was said.
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(cell)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    inside = tokens[1].children or []
    assert {token.type for token in inside} <= {"text", "text_special"}
    read = "".join(token.content for token in inside)
    assert read == " ".join(for_terminal(HOSTILE[kind]).split())


@pytest.mark.parametrize("kind", SAYABLE)
def test_hostile_text_is_not_markup_in_junit(kind: str) -> None:
    text = HOSTILE[kind]
    result = RequirementReport(requirement=text, holds=False, outcome="fails", reason=text)
    case = ElementTree.fromstring(junit([result])).find("testcase")
    assert case is not None
    assert [element.tag for element in case] == ["failure"]
    assert steers(case.attrib["name"] + case[0].attrib["message"]) == []


@pytest.mark.parametrize("kind", SAYABLE)
def test_a_received_runs_date_version_and_hash_are_no_markup_in_a_markdown_report(
    kind: str,
) -> None:
    report = report_of([answer("p")])
    text = HOSTILE[kind]
    said = {"started": text, "phi2sdk": text, "configuration_hash": text, "input": text}
    hostile = markdown(report.model_copy(update={"run": report.run.model_copy(update=said)}))
    assert steers(hostile) == []
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    kinds = [
        [(token.type, {child.type for child in token.children or []} - {"text_special"})
         for token in parser.parse(document)]
        for document in (hostile, markdown(report))
    ]  # fmt: skip
    assert kinds[0] == kinds[1]


def test_hostile_text_is_not_markup_for_rich() -> None:
    from rich.text import Text

    console = Console(record=True, width=120, file=io.StringIO())
    console.print(Text(for_terminal(HOSTILE["rich"])))
    assert console.export_text().strip() == HOSTILE["rich"]


@pytest.mark.parametrize("target", TARGETS)
def test_an_answer_of_10_mb_arrives_whole_and_costs_no_more_than_its_length(
    target: str, emulator: Emulator
) -> None:
    text = "word and\n" * (10 * 2**20 // 9)
    server = getattr(emulator, TARGETS[target][0])

    class OneToken(ScriptedEngine):
        async def tokens(self, prompt: str, decoding: Any) -> Any:
            from phi2sdk.emulator import Token

            yield Token(1, text, -0.1)
            yield Token(50256, "", -0.1, special=True)

    server.engine = OneToken()
    try:
        with Phi2Client(open_backend(target, url_of(emulator, target))) as phi:
            assert phi.generate(PROMPT, **OPTIONS).raw_text == text
    finally:
        server.engine = ScriptedEngine(ANSWER)
