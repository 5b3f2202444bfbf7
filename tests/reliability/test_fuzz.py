"""Bytes and texts drawn at random: read, or refused by name. Nothing else.

A hundred examples each in CI, and every case that was ever found (``@example``). For longer::

    python tools/fuzz.py --minutes 10

which runs what is marked ``fuzz``, here and elsewhere, with the profile ``long``.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from clarifai_grpc.grpc.api import resources_pb2, service_pb2
from clarifai_grpc.grpc.api.status import status_pb2
from hypothesis import example, given
from hypothesis import strategies as st

from phi2sdk import prompts
from phi2sdk.backends.clarifai import OutputReader
from phi2sdk.completion import Chunk, Request
from phi2sdk.config import Target, load_book, load_config
from phi2sdk.cost_models import Hourly, Owned, PerRequest, PerToken
from phi2sdk.errors import BadResponse, ConfigurationError, InvalidRequest, Phi2Error
from phi2sdk.measure.workload import Workload, read_input
from phi2sdk.pricebook import Assumption, Device, Quote
from phi2sdk.pricing import Bill
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import Sampling
from phi2sdk.sse import ServerEvent, SSEReader
from tests.reliability.hostile import steers
from tests.reliability.matrix import TARGETS
from tests.reliability.stage import open_backend

pytestmark = pytest.mark.fuzz


def hold_harmless(error: Phi2Error, names: str = "") -> None:
    """An error's words steer no terminal, and name what they should."""
    assert steers(str(error)) == []
    assert names in str(error)


# ------------------------------------------------------------------ from the other side


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

SCALAR = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(width=32)
    | st.text(max_size=12)
    | st.sampled_from(["http://127.0.0.1:1", "https://h", "[", "::", "https://[", "chat", "vllm"])
)
VALUE = st.recursive(
    SCALAR | st.just({"env": "NAME"}),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner, max_size=2)
    ),
    max_leaves=3,
)
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
                "[[prices]]",
                "[[devices]]",
                "[[assumptions]]",
                'name = "x"',
                "date = 2026-01-01",
                'price = { book = "azure/x" }',
            ]
        ),
        st.text(max_size=30),
    ),
    max_size=8,
)


@given(lines=LINES)
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


def toml(value: Any) -> str:
    """A value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{toml(str(k))} = {toml(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return f"[{', '.join(map(toml, value))}]"
    return json.dumps(value) if isinstance(value, str) else repr(value)


OF_PRICES = sorted(
    {
        name
        for kind in (PerToken, PerRequest, Hourly, Owned, Quote, Device, Assumption)
        for name in kind.model_fields
    }
    | {"model", "book", "device", "provider"}
)
LIKELY = VALUE | st.sampled_from(
    ["2026-01-01", "hourly", "per-token", "per-request", "owned", "H200", "T4", "USD", "EUR",
     "hour", "1M tokens", "azure/x", "hf/aws-t4", "together/phi-2", "https://h", 0.5, 3600, -1]
)  # fmt: skip
ENTRIES = st.dictionaries(st.sampled_from(OF_PRICES), LIKELY, max_size=7)
TABLES = st.fixed_dictionaries(
    {},
    optional={
        "prices": st.lists(ENTRIES, max_size=2),
        "devices": st.lists(ENTRIES, max_size=2),
        "assumptions": st.lists(ENTRIES, max_size=2),
        "targets": st.dictionaries(
            st.sampled_from(["a", "b", "A"]),
            st.fixed_dictionaries(
                {},
                optional={
                    "backend": st.sampled_from(["azure", "openai", "local", "nobody"]),
                    "price": ENTRIES | st.lists(ENTRIES, max_size=2),
                    "timeout": LIKELY,
                    "attempts": LIKELY,
                    "timeouts": LIKELY,
                    "base_url": LIKELY,
                    "key": LIKELY,
                },
            ),
            max_size=2,
        ),
    },
)


@given(tables=TABLES)
def test_any_tables_are_read_or_refused_by_name(
    tables: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"hostile-{random.getrandbits(40)}.toml"
    lines = [f"{name} = {toml(value)}" for name, value in tables.items()]
    path.write_text("\n".join(lines), encoding="utf-8", newline="")
    try:
        found = load_config(path)
        load_book(path)
    except ConfigurationError as error:
        hold_harmless(error)
        return
    finally:
        path.unlink()
    for target in found.values():
        try:
            target.open(environ={})
        except Phi2Error as error:
            hold_harmless(error)
        if target.price is not None:
            bill = Bill(input=100, output=10, requests=1, seconds=1.0)
            usd = target.price.usd(bill)
            assert usd is None or usd >= 0


SETTINGS = {
    "azure": ("endpoint", "key", "credential", "scope", "style", "engine", "form", "route", "model",
              "deployment", "api_version", "timeouts", "insecure_hosts"),
    "clarifai": ("pat", "model", "version", "base", "deployment", "timeouts", "insecure_hosts"),
    "hf": ("endpoint", "name", "namespace", "token", "route", "server", "model", "wake",
           "timeouts", "insecure_hosts"),
    "openai": ("base_url", "api_key", "model", "route", "server", "timeouts", "insecure_hosts"),
    "local": ("model", "dtype", "device", "revision", "compile", "quantize", "slots"),
}  # fmt: skip
NEEDED = {
    "azure": {"endpoint": "https://h", "key": "k" * 8},
    "clarifai": {"pat": "k" * 8},
    "hf": {"endpoint": "https://h"},
    "openai": {"base_url": "https://h/v1"},
    "local": {"model": "demo"},
}


@st.composite
def targets(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A backend, and settings of it as a file could hold them."""
    backend = draw(st.sampled_from(list(SETTINGS)))
    drawn = draw(st.dictionaries(st.sampled_from(SETTINGS[backend]), VALUE, max_size=3))
    return backend, {**NEEDED[backend], **drawn}


@given(target=targets())
@example(target=("clarifai", {"pat": "k" * 8, "base": {}}))
@example(target=("clarifai", {"pat": "k" * 8, "deployment": []}))
@example(target=("clarifai", {"pat": [], "model": 3, "version": 4.5}))
@example(target=("azure", {"endpoint": "https://h", "key": {"x": "y"}}))
@example(target=("azure", {"endpoint": "https://h", "credential": 3}))
@example(target=("openai", {"base_url": "https://h", "insecure_hosts": "example.com"}))
def test_any_settings_make_a_backend_or_are_refused_by_name(
    target: tuple[str, dict[str, Any]],
) -> None:
    backend, settings = target
    try:
        Target("a", backend, settings).open(environ={})
    except Phi2Error as error:
        hold_harmless(error)


# ------------------------------------------------------------------ prompts and inputs


@given(
    text=st.text(max_size=40),
    format=st.sampled_from(prompts.FORMATS),
    speaker=st.text(max_size=8),
    control=st.booleans(),
)
@example(text="\ud800", format="raw", speaker="Bob", control=False)
@example(text="<|endoftext|>", format="qa", speaker="Bob", control=False)
@example(text="x", format="chat", speaker="\u2028", control=False)
def test_any_text_is_a_prompt_or_refused_by_name(
    text: str, format: prompts.Format, speaker: str, control: bool
) -> None:
    made: list[Callable[[], Prompt]] = [
        lambda: prompts.render(text, format, reply_as=speaker, allow_control_tokens=control),
        lambda: prompts.chat([(speaker, text), ("Alice", text)], reply_as="Bob"),
        lambda: prompts.summarize(text),
    ]
    for make in made:
        try:
            prompt = make()
        except InvalidRequest as error:
            hold_harmless(error)
            continue
        assert prompt.text.encode()
        assert all(prompt.stop)


ENTRY = st.dictionaries(
    st.sampled_from(["text", "id", "reference", "other"]),
    st.none() | st.booleans() | st.integers() | st.text(max_size=12) | st.lists(st.none()),
    max_size=4,
).map(lambda entry: json.dumps(entry).encode())
INPUT = st.lists(
    st.one_of(
        ENTRY,
        st.binary(max_size=30),
        st.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.sampled_from([b"id,text", b"text", b'"a', b'1,"b', b"text,text", b"\xef\xbb\xbf"]),
    ),
    max_size=6,
).map(b"\n".join)


@given(data=INPUT, kind=st.sampled_from(["jsonl", "csv", "txt"]))
@example(data=b'{"text": "x", "id": "\\ud800"}', kind="jsonl")
@example(data=b'{"text": "x", "reference": "\\udfff"}', kind="jsonl")
@example(data=b"\x00", kind="csv")
@example(data=b"9" * 5000, kind="jsonl")
@example(data=b"text\n" + b"x" * 140_000, kind="csv")
@example(data=b"text\r\r\n\x00", kind="csv")
def test_any_input_is_read_or_refused_by_name(
    data: bytes, kind: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / f"hostile-{random.getrandbits(40)}.{kind}"
    path.write_bytes(data)
    try:
        items = read_input(path)
    except (ConfigurationError, InvalidRequest) as error:
        hold_harmless(error, str(path))
        return
    finally:
        path.unlink()
    for item in items:
        assert item.id.encode()
        assert item.text.encode()
        assert item.reference is None or item.reference.encode()
    try:
        Workload(str(path), items).prompts()
    except InvalidRequest as error:
        hold_harmless(error, str(path))
