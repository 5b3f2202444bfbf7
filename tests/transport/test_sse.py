"""Server-sent events: the same events, however the bytes are spread over reads."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from phi2sdk.errors import BadResponse
from phi2sdk.transport.sse import ServerEvent, SSEReader


def read(*pieces: bytes) -> list[ServerEvent]:
    reader = SSEReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return [*events, *reader.close()]


def data(*pieces: bytes) -> list[bytes]:
    return [event.data for event in read(*pieces)]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\n\ndata:{}\n\n", [b"a", b"{}"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b": a comment\n\n:\ndata: a\n\n", [b"a"]),
        (b"event: token\nid: 7\nretry: 5\ndata: a\n\n", [b"a"]),
        (b"data\n\n", [b""]),
        (b"\n\n\ndata: a\n\n\n\n", [b"a"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"nonsense: a\nnonsense\n\n", []),
        (b"data: a: b\n\n", [b"a: b"]),
        (b"data: cut", [b"cut"]),
        (b"data: cut\n", [b"cut"]),
        (b"data: cut\r", [b"cut"]),
        (b"", []),
        (b"\xef\xbb", []),
    ],
)
def test_what_servers_really_send_is_read(stream: bytes, expected: list[bytes]) -> None:
    assert data(stream) == expected
    assert data(*(stream[i : i + 1] for i in range(len(stream)))) == expected


def test_an_event_has_its_type_and_the_next_one_has_its_own() -> None:
    assert read(b"event: error\ndata: a\n\ndata: b\n\nevent:\ndata: c\n\n") == [
        ServerEvent(b"a", "error"),
        ServerEvent(b"b"),
        ServerEvent(b"c"),
    ]


def test_an_event_is_given_out_with_its_last_byte() -> None:
    reader = SSEReader()
    assert reader.feed(b"data: a\n") == []
    assert reader.feed(b"\n") == [ServerEvent(b"a")]


@pytest.mark.parametrize("piece", [b"data: " + b"x" * 40, b"data: xxxx\n" * 10])
def test_an_event_without_end_is_refused(piece: bytes) -> None:
    reader = SSEReader(max_event_bytes=30)
    with pytest.raises(BadResponse, match="30 bytes"):
        reader.feed(piece)


def test_many_small_events_are_no_long_event() -> None:
    reader = SSEReader(max_event_bytes=30)
    assert len(reader.feed(b"data: twenty characters..\n\n" * 100)) == 100


_TEXT = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
_NOISE = st.sampled_from([b"", b": keep-alive", b"id: 3", b"event: message", b"other: x"])
_END = st.sampled_from([b"\n", b"\r\n", b"\r"])


@st.composite
def streams(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A well-formed stream, and the data of its events."""
    end = draw(_END)
    stream, expected = b"", []
    for lines in draw(st.lists(st.lists(_TEXT, min_size=1, max_size=3), max_size=5)):
        noise = draw(_NOISE)
        stream += noise + end if noise else b""
        for line in lines:
            # A space of the text's own needs the one that the parser removes before it.
            space = b" " if line.startswith(" ") or draw(st.booleans()) else b""
            stream += b"data:" + space + line.encode() + end
        stream += end
        expected.append("\n".join(lines).encode())
    return stream, expected


@given(streams(), st.data())
def test_any_chunking_gives_the_same_events(
    made: tuple[bytes, list[bytes]], draw: st.DataObject
) -> None:
    stream, expected = made
    cuts = sorted(draw.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    borders = [0, *cuts, len(stream)]
    pieces = [stream[a:b] for a, b in pairwise(borders)]
    assert data(*pieces) == expected


@given(st.binary(max_size=200), st.data())
def test_any_bytes_are_read_alike_in_one_piece_and_in_many(
    stream: bytes, draw: st.DataObject
) -> None:
    cut = draw.draw(st.integers(0, len(stream)))
    assert read(stream) == read(stream[:cut], stream[cut:])
