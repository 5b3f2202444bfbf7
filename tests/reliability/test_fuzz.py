"""Random bytes and texts are read, or refused with a typed error.

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
from phi2sdk.errors import BadResponse, ConfigurationError, InvalidRequest, Phi2Error
from phi2sdk.measure.workload import Workload, read_input
from phi2sdk.prompts import Prompt
from phi2sdk.sampling import Sampling
from phi2sdk.transport.redaction import Redactor
from phi2sdk.transport.sse import ServerEvent, SSEReader
from tests.reliability.hostile import hold_harmless
from tests.reliability.matrix import TARGETS
from tests.reliability.stage import open_backend

pytestmark = pytest.mark.fuzz


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
    reader = OutputReader(Request(prompts.raw("x"), Sampling()), Redactor())
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
def test_any_text_is_a_prompt_or_is_refused(
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
def test_any_input_is_read_or_refused(
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
