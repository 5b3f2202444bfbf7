"""Connections that fail, break, stall or drip, and replies that are not the protocol."""

from __future__ import annotations

from typing import Any

from phi2sdk.emulator import Fault
from phi2sdk.errors import (
    BadResponse,
    ConfigurationError,
    ConnectionFailed,
    ContentFiltered,
    Overloaded,
    ProviderFault,
    Timeout,
)
from phi2sdk.transport.http import Timeouts
from tests.reliability.matrix import (
    HTTP,
    HTTP_STREAMED,
    PIECES,
    STREAMED,
    TGI,
    WHOLE,
    Place,
    Row,
)

_QUICK = Timeouts(idle=0.15)
_LATER = Timeouts(idle=0.5)
_SHORT = Timeouts(attempt=0.45)
_GRPC_TELLS_LESS = "gRPC reports it as UNAVAILABLE, like any failed connection"


def _reply(form: Any, words: str) -> Row:
    return Row(f"200 with {words}", Fault("garbage", form=form), BadResponse, 1, targets=HTTP)


def _event(form: Any, words: str) -> Row:
    fault = Fault("garbage", form=form, after=2)
    return Row(
        f"an event of {words}", fault, BadResponse, 1, HTTP_STREAMED, faces=PIECES, text=True
    )


CONNECTING = (
    Row("connection refused", Place("refused"), ConnectionFailed, 0),
    Row("unknown host name", Place("unknown"), ConnectionFailed, 0),
    Row(
        "TLS with an untrusted certificate",
        Place("untrusted"),
        ConfigurationError,
        0,
        but={"clarifai": (ConnectionFailed, 0, _GRPC_TELLS_LESS)},
    ),
    Row("TLS with a server without TLS", Place("not tls"), ConnectionFailed, 0),
    Row(
        "connect timeout",
        Place("full"),
        Timeout,
        0,
        timeouts=Timeouts(connect=0.05),
        but={"clarifai": (ConnectionFailed, 0, _GRPC_TELLS_LESS)},
    ),
)

BREAKING = (
    Row("no answer at all", Fault("hang"), Timeout, 3, timeouts=_QUICK),
    Row("reset before the headers", Fault("reset"), ConnectionFailed, 3),
    Row("reset in the headers", Fault("reset", where="in_headers"), ConnectionFailed, 3, HTTP),
    Row("reset in the body", Fault("reset", where="in_body"), ConnectionFailed, 3, HTTP, WHOLE),
    Row(
        "reset in an event",
        Fault("reset", where="in_body", after=2),
        ConnectionFailed,
        1,
        HTTP_STREAMED,
        PIECES,
        text=True,
    ),
    Row(
        "reset between events",
        Fault("reset", where="between_events", after=2),
        ConnectionFailed,
        1,
        STREAMED,
        PIECES,
        text=True,
    ),
    Row("body shorter than announced", Fault("cut"), ConnectionFailed, 3, HTTP, WHOLE),
    Row("hang in the body", Fault("hang", after=1), Timeout, 3, HTTP, WHOLE, timeouts=_QUICK),
    Row(
        "hang between events",
        Fault("hang", after=2),
        Timeout,
        1,
        STREAMED,
        PIECES,
        text=True,
        timeouts=_LATER,
    ),
    Row(
        "stream without a finish",
        Fault("cut", after=2),
        BadResponse,
        1,
        STREAMED,
        PIECES,
        text=True,
        but={"clarifai": (None, 1, "its wire knows no other end than gRPC's OK")},
    ),
    Row(
        "stream that never ends",
        Fault("endless", after=2),
        Timeout,
        1,
        STREAMED,
        PIECES,
        text=True,
        timeouts=Timeouts(attempt=0.6),
    ),
    Row("slow drip, past the time", Fault("drip", seconds=0.02), Timeout, 3, HTTP, timeouts=_SHORT),
    Row("slow drip, in time", Fault("drip", seconds=0.0), None, 1, HTTP),
    Row("late, but in time", Fault("delay", seconds=0.02), None, 1),
)

REPLIES = (
    _reply("bytes", "bytes that are not text"),
    _reply("truncated", "JSON that stops short"),
    _reply("wrong_shape", "JSON of another shape"),
    _reply("empty", "an empty body"),
    _reply("object", "{}"),
    _reply("null", "null"),
    _reply("html", "an HTML page"),
    _reply("invalid_utf8", "invalid UTF-8"),
    _reply("control", "raw control characters"),
    _event("bytes", "bytes that are not text"),
    _event("truncated", "JSON that stops short"),
    _event("wrong_shape", "JSON of another shape"),
    _event("object", "{}"),
    _event("null", "null"),
    _event("html", "HTML"),
    _event("invalid_utf8", "invalid UTF-8"),
    _event("control", "raw control characters"),
    Row(
        "an empty event",
        Fault("garbage", form="empty", after=2),
        None,
        1,
        HTTP_STREAMED,
        PIECES,
    ),
    Row("an error event first", Fault("error_event", after=0), ProviderFault, 3, STREAMED, PIECES),
    Row(
        "an error event of overload first",
        Fault("error_event", after=0, body={"error": "busy", "error_type": "overloaded"}),
        Overloaded,
        3,
        TGI,
        PIECES,
    ),
    Row(
        "an error event of a filter",
        Fault("error_event", after=2, body={"error": {"code": "content_filter"}}),
        ContentFiltered,
        1,
        HTTP_STREAMED,
        PIECES,
        text=True,
    ),
    Row(
        "an error event in the middle",
        Fault("error_event", after=2),
        ProviderFault,
        1,
        STREAMED,
        PIECES,
        text=True,
    ),
    Row("a body of 1 GB", Fault("huge", after=0), BadResponse, 1, HTTP),
    Row("a gzip bomb of 1 GB", Fault("gzip"), BadResponse, 1, HTTP),
    Row("an event sent twice", Fault("twice", after=2), None, 1, STREAMED, PIECES),
    Row("two events in the wrong order", Fault("swapped", after=2), None, 1, STREAMED, PIECES),
    Row(
        "a text with NUL, control and bidirectional characters",
        Fault("delay"),
        None,
        1,
        answer="a\x00b\x1b[2J\x07\u202ec\u2066d\x85e",
    ),
)
