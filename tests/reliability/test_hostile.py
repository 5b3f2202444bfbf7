"""Hostile text and hostile bytes: shown harmlessly, or refused by name."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from clarifai_grpc.grpc.api import resources_pb2, service_pb2
from clarifai_grpc.grpc.api.status import status_pb2
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from rich.console import Console

from phi2sdk import Phi2Client, prompts
from phi2sdk.backends.clarifai import OutputReader
from phi2sdk.cli import main as phi2
from phi2sdk.completion import Chunk, Request
from phi2sdk.config import load_config
from phi2sdk.emulator import Emulator, ScriptedEngine
from phi2sdk.errors import BadResponse, ConfigurationError, Phi2Error
from phi2sdk.report.markdown import escape
from phi2sdk.report.require import junit
from phi2sdk.report.schema import RequirementReport
from phi2sdk.sampling import Sampling
from phi2sdk.sse import ServerEvent, SSEReader
from phi2sdk.terminal import printable
from tests.reliability.matrix import ANSWER, KEY, TARGETS
from tests.reliability.stage import OPTIONS, PROMPT, open_backend, url_of

HOSTILE = {
    "html": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "ansi": "\x1b[2J\x1b]0;title\x07\x1b[31mred\x9b31m",
    "osc link": "\x1b]8;;http://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "bidi": "safe\u202egnp.exe\u2066\u2069\u200f\u061c",
    "markdown": "[click](javascript:alert(1)) ![x](http://evil.example/p.png) | a | b |",
    "rich": "[bold red]not bold[/] [link=http://evil.example]x[/link]",
    "formula": '=HYPERLINK("http://evil.example","x")',
    "at": "@SUM(1+1)*cmd|' /C calc'!A0",
    "nul": "a\x00b\x08\x7f\x85\u2028\u2029",
    "surrogate": "half \ud800 pair",
    "tag": "a\U000e0041\ufeffb",
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[Emulator]:
    with Emulator(ScriptedEngine(ANSWER), key=KEY).running() as running:
        yield running


def steers(text: str) -> list[str]:
    """Characters that a terminal obeys or that reorder what is seen."""
    return [c for c in text if c not in "\n\t" and not c.isprintable()]


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_does_not_steer_a_terminal(kind: str) -> None:
    assert steers(printable(HOSTILE[kind])) == []


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if kind != "surrogate"])
def test_the_command_prints_a_hostile_answer_harmlessly(
    kind: str,
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    emulator.engine = ScriptedEngine(HOSTILE[kind])
    for options in ([], ["--stream"]):
        monkeypatch.setattr(
            "sys.argv", ["phi2", "generate", "x", "-t", "openai", "--receipt", *options]
        )
        with pytest.raises(SystemExit) as ended:
            phi2()
        assert ended.value.code in (0, None)
        shown = capsys.readouterr()
        assert steers(shown.out) == []
        assert steers(shown.err) == []
        assert shown.out.strip()
    emulator.engine = ScriptedEngine(ANSWER)


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_text_is_no_markup_in_a_markdown_report(kind: str) -> None:
    cell = escape(HOSTILE[kind])
    assert steers(cell) == []
    assert not set("<>|`") & set(cell)
    # A Markdown reader finds one paragraph of plain text in it, and the text is what was said.
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(cell)
    assert [token.type for token in tokens] == ["paragraph_open", "inline", "paragraph_close"]
    inside = tokens[1].children or []
    assert {token.type for token in inside} <= {"text", "text_special"}
    read = "".join(token.content for token in inside)
    assert read == " ".join(printable(HOSTILE[kind]).split())


@pytest.mark.parametrize("kind", [kind for kind in HOSTILE if kind != "surrogate"])
def test_hostile_text_is_no_markup_in_junit(kind: str) -> None:
    text = HOSTILE[kind]
    result = RequirementReport(requirement=text, holds=False, outcome="fails", reason=text)
    case = ElementTree.fromstring(junit([result])).find("testcase")
    assert case is not None
    assert [element.tag for element in case] == ["failure"]
    assert steers(case.attrib["name"] + case[0].attrib["message"]) == []


def test_hostile_text_is_no_markup_for_rich() -> None:
    from rich.text import Text

    console = Console(record=True, width=120, file=io.StringIO())
    console.print(Text(printable(HOSTILE["rich"])))
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


# ------------------------------------------------------------------ bytes from the other side


def hold_harmless(error: Phi2Error, names: str = "") -> None:
    """An error's words steer no terminal, and name what they should."""
    assert steers(str(error)) == []
    assert names in str(error)


def cut(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """``data`` in pieces of the given sizes, used in turn."""
    at, turn = 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        yield data[at : at + size]
        at, turn = at + size, turn + 1


def read_events(pieces: Iterator[bytes]) -> list[ServerEvent]:
    reader = SSEReader(max_event_bytes=4096)
    events = [event for piece in pieces for event in reader.feed(piece)]
    return [*events, *reader.close()]


@given(data=st.binary(max_size=600), sizes=st.lists(st.integers(1, 50), min_size=1, max_size=5))
@example(data=b"\xef\xbb\xbfdata: a\r\n\r\ndata:b\n\n", sizes=[1])
@example(data=b"data: a\r\rdata: b\r\n\r\n", sizes=[2])
@example(data=b"\xef\xbbdata", sizes=[1])
def test_any_bytes_cut_anywhere_give_the_same_events(data: bytes, sizes: list[int]) -> None:
    assert read_events(cut(data, sizes)) == read_events(iter([data] if data else []))


@given(data=st.binary(max_size=400))
@example(data=b"data: " + b"x" * 5000)
def test_the_event_reader_never_raises_but_by_name(data: bytes) -> None:
    try:
        events = read_events(iter([data, data]))
    except BadResponse:
        return
    assert all(len(event.data) <= 4096 for event in events)


FIELDS = st.builds(
    lambda code, text, detail, tokens: service_pb2.MultiOutputResponse(
        status=status_pb2.Status(code=code, description=detail, req_id=detail),
        outputs=[
            resources_pb2.Output(
                status=status_pb2.Status(code=code),
                completion_tokens=tokens,
                data=resources_pb2.Data(text=resources_pb2.Text(raw=text)),
            )
        ],
    ).SerializeToString(),
    st.sampled_from([10000, 10010, 10020, 0, 11009, 21355, 99999]),
    st.text(max_size=20),
    st.text(max_size=20),
    st.integers(0, 2**32 - 1),
)


@given(data=st.one_of(st.binary(max_size=300), FIELDS))
@example(data=b"")
@example(data=b"\x0a\x02\x08\x90")
@example(data=b"\xff" * 40)
def test_any_message_in_place_of_clarifais_is_text_or_an_error_by_name(data: bytes) -> None:
    reader = OutputReader(Request(prompts.raw("x"), Sampling()), lambda text: text)
    try:
        text = reader.read(data)
        reader.done(1)
    except Phi2Error as error:
        hold_harmless(error)
        return
    assert isinstance(text, str)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "text",
                    "delta",
                    "content",
                    "token",
                    "generated_text",
                    "details",
                    "error",
                    "output",
                    "0",
                    "usage",
                    "finish_reason",
                    "special",
                    "id",
                    "code",
                    "message",
                    "prefill",
                    "prompt_tokens",
                    "generated_tokens",
                    "tokens",
                    "model",
                    "logprob",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(document=JSON, target=st.sampled_from([t for t in TARGETS if t != "clarifai"]))
@example(document={"choices": [{"text": 3}]}, target="openai completions")
@example(document={"choices": [None]}, target="openai chat")
@example(document={"error": {"code": True, "message": ["x"]}}, target="hf tgi")
@example(document={"usage": {"prompt_tokens": -1}, "choices": []}, target="azure v1")
@example(document=[[]], target="azure score")
def test_any_document_in_place_of_a_reply_is_text_or_an_error_by_name(
    document: Any, target: str
) -> None:
    route = ROUTES[target]
    readers: list[Callable[[], Any]] = [lambda: route.read_reply(document, 1, "prompt")]
    if target != "azure score":
        readers.append(lambda: route.reader().read(document, 1))
    for read in readers:
        try:
            events = list(read())
        except Phi2Error as error:
            hold_harmless(error)
            continue
        assert all(isinstance(event.text, str) for event in events if isinstance(event, Chunk))


ROUTES: dict[str, Any] = {
    target: open_backend(target, "http://127.0.0.1:9")._route  # type: ignore[attr-defined]
    for target in TARGETS
    if target != "clarifai"
}


# ------------------------------------------------------------------ configuration

LINES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                "[targets.a]",
                "[targets.A]",
                "[targets]",
                'backend = "azure"',
                "backend = 3",
                'key = { env = "HOME" }',
                'key = "x"',
                "price = 3",
                "timeout = -1",
                "attempts = 0",
                'price = { model = "hourly" }',
                "timeouts = { idle = 'x' }",
                "[other]",
                "key = {}",
                'price = { model = "hourly", usd = nan, source = "x", date = "2026-01-01" }',
            ]
        ),
        st.text(max_size=30),
    ),
    max_size=8,
)


@given(lines=LINES)
@settings(max_examples=150)
@example(lines=["[targets.a]", "[targets.a.backend]"])
@example(lines=["\x00"])
@example(lines=["[targets.a]", 'backend = "azure"', "price = {}"])
def test_any_configuration_is_read_or_refused_by_name(
    lines: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"hostile-{random.getrandbits(40)}.toml"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogatepass"))
    try:
        load_config(path)
    except ConfigurationError as error:
        hold_harmless(error, str(path))
    finally:
        path.unlink()
