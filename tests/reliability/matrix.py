"""The fault matrix: what goes wrong, and what a caller then sees. Data and nothing else.

``test_matrix.py`` plays every cell; ``docs/fault-matrix.md`` is this table for people, written by::

    python -m tests.reliability.published > docs/fault-matrix.md
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from phi2sdk.emulator import Fault
from phi2sdk.errors import (
    AuthenticationFailed,
    BadResponse,
    ConfigurationError,
    ConnectionFailed,
    ContentFiltered,
    ContextLengthExceeded,
    InvalidRequest,
    ModelLoading,
    ModelNotFound,
    Overloaded,
    PermissionDenied,
    Phi2Error,
    ProviderFault,
    RateLimited,
    Timeout,
)
from phi2sdk.wire import Timeouts

ATTEMPTS = 3
"""Calls at most for one request of the matrix."""

KEY = "canary-7d1f3a5be0c94a2b"
"""The key of every call of the matrix; looked for in every error."""

ANSWER = "Light guides ships. Numbers guide minds – naïvely."

RETRYABLE = frozenset(
    {RateLimited, Overloaded, ModelLoading, Timeout, ConnectionFailed, ProviderFault}
)
"""What the documentation promises to be worth another try."""

TARGETS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "azure score": ("azure", {"style": "score"}),
    "azure tgi": ("azure", {"style": "tgi"}),
    "azure chat": ("azure", {"style": "chat"}),
    "azure v1": ("azure", {"style": "v1", "model": "microsoft/phi-2"}),
    "hf tgi": ("hf", {}),
    "openai completions": ("openai", {}),
    "openai chat": ("openai", {"route": "chat"}),
    "clarifai": ("clarifai", {}),
}
"""Every route: its backend and the settings that choose it."""

HTTP = tuple(name for name in TARGETS if name != "clarifai")
STREAMED = tuple(name for name in TARGETS if name != "azure score")
HTTP_STREAMED = tuple(name for name in HTTP if name != "azure score")
OPENAI = ("azure chat", "azure v1", "openai completions", "openai chat")
TGI = ("azure tgi", "hf tgi")
AZURE = tuple(name for name in TARGETS if name.startswith("azure"))

Face = Literal["generate", "stream"]
BOTH: tuple[Face, ...] = ("generate", "stream")
WHOLE: tuple[Face, ...] = ("generate",)
PIECES: tuple[Face, ...] = ("stream",)


@dataclass(frozen=True, slots=True)
class Place:
    """An address at which something is wrong before any request is made."""

    name: Literal["refused", "unknown", "untrusted", "not tls", "full"]


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that goes wrong.

    Attributes:
        name: In words, unique.
        cause: A scripted fault, or a place.
        error: The class of the error, exactly; ``None``: the request is answered all the same.
        calls: How many calls reach the server, of ``ATTEMPTS``.
        targets: The routes that can meet it.
        faces: ``generate``, ``stream``, or both.
        text: Whether a stream had delivered text by then, which the error keeps.
        but: Routes with another error or count of calls, and why.
        timeouts: The target's, where time is what runs out.
        answer: What the provider says, where that is the point.
    """

    name: str
    cause: Fault | Place
    error: type[Phi2Error] | None
    calls: int
    targets: tuple[str, ...] = tuple(TARGETS)
    faces: tuple[Face, ...] = BOTH
    text: bool = False
    but: Mapping[str, tuple[type[Phi2Error] | None, int, str]] = field(default_factory=dict)
    timeouts: Timeouts = Timeouts()
    answer: str = ANSWER

    def expected(self, target: str) -> tuple[type[Phi2Error] | None, int]:
        """(error, calls) on a route."""
        error, calls, _ = self.but.get(target, (self.error, self.calls, ""))
        return error, calls


@dataclass(frozen=True, slots=True)
class Cell:
    """A row on one route, by one method of one client."""

    row: Row
    target: str
    face: Face
    client: Literal["sync", "async"]

    def __str__(self) -> str:
        return f"{self.row.name} | {self.target} | {self.face} | {self.client}"


def cells() -> Iterator[Cell]:
    """All cells, route by route within a row."""
    for row in ROWS:
        for target in row.targets:
            for face in row.faces:
                yield Cell(row, target, face, "sync")
                yield Cell(row, target, face, "async")


def _status(status: int, words: str, error: type[Phi2Error], calls: int, **fields: Any) -> Row:
    fault = Fault("status", status=status, headers=fields.pop("headers", {}),
                  body=fields.pop("body", None))  # fmt: skip
    return Row(f"{status} {words}", fault, error, calls, **{"targets": HTTP, **fields})


def _reply(form: Any, words: str) -> Row:
    return Row(f"200 with {words}", Fault("garbage", form=form), BadResponse, 1, targets=HTTP)


def _event(form: Any, words: str) -> Row:
    fault = Fault("garbage", form=form, after=2)
    return Row(
        f"an event of {words}", fault, BadResponse, 1, HTTP_STREAMED, faces=PIECES, text=True
    )


def _clarifai(code: int, words: str, error: type[Phi2Error], calls: int) -> Row:
    fault = Fault("clarifai", status=code)
    return Row(f"Clarifai {code}, {words}", fault, error, calls, ("clarifai",))


def _grpc(code: str, error: type[Phi2Error], calls: int) -> Row:
    return Row(f"gRPC {code}", Fault("grpc", code=code), error, calls, ("clarifai",))


_ERROR = {"error": {"message": "no", "type": "invalid_request_error"}}
_SLOW = {"error": {"message": "slow down"}}
_QUICK = Timeouts(idle=0.15)
_LATER = Timeouts(idle=0.5)
_SHORT = Timeouts(attempt=0.15)
_GRPC_TELLS_LESS = "gRPC reports it as UNAVAILABLE, like any failed connection"

CONNECTING = (
    Row("connection refused", Place("refused"), ConnectionFailed, 0),
    Row("unknown host name", Place("unknown"), ConnectionFailed, 0),
    Row(
        "TLS with a certificate nobody vouches for",
        Place("untrusted"),
        ConfigurationError,
        0,
        but={"clarifai": (ConnectionFailed, 0, _GRPC_TELLS_LESS)},
    ),
    Row("TLS with a server that speaks none", Place("not tls"), ConnectionFailed, 0),
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

STATUSES = (
    _status(400, "", InvalidRequest, 1, body=_ERROR),
    _status(
        400,
        "context_length_exceeded",
        ContextLengthExceeded,
        1,
        targets=OPENAI,
        body={"error": {"message": "too long", "code": "context_length_exceeded"}},
    ),
    _status(
        400,
        "content_filter",
        ContentFiltered,
        1,
        body={"error": {"message": "filtered", "code": "content_filter"}},
    ),
    _status(401, "", AuthenticationFailed, 1),
    _status(401, "as plain text", AuthenticationFailed, 1, body="key_auth_access_denied"),
    _status(401, "that quotes the key", AuthenticationFailed, 1, body=f"unknown key {KEY}"),
    _status(402, "", PermissionDenied, 1),
    _status(403, "", PermissionDenied, 1),
    _status(404, "", ModelNotFound, 1),
    _status(405, "", ModelNotFound, 1),
    _status(408, "", Timeout, 3),
    _status(409, "", ProviderFault, 3),
    _status(413, "", InvalidRequest, 1),
    _status(418, "(unknown)", InvalidRequest, 1),
    _status(422, "", InvalidRequest, 1),
    _status(
        422,
        "of TGI's validation",
        InvalidRequest,
        1,
        targets=TGI,
        body={"error": "temperature", "error_type": "validation"},
    ),
    _status(424, "without Azure's headers", ProviderFault, 3, body={"error": "model"}),
    *(
        _status(
            424,
            f"whose model said {inner}",
            error,
            calls,
            targets=AZURE,
            body="the model's own words",
            headers={
                "ms-azureml-model-error-statuscode": inner,
                "ms-azureml-model-error-reason": "model_error",
            },
        )
        for inner, error, calls in (
            ("400", InvalidRequest, 1),
            ("401", AuthenticationFailed, 1),
            ("429", RateLimited, 3),
            ("503", Overloaded, 3),
            ("nonsense", ProviderFault, 3),
        )
    ),
    _status(429, "without Retry-After", RateLimited, 3, body=_SLOW),
    _status(
        429,
        "with TGI's overloaded",
        Overloaded,
        3,
        targets=TGI,
        body={"error": "busy", "error_type": "overloaded"},
    ),  # fmt: skip
    _status(
        429,
        "whose quota is spent",
        PermissionDenied,
        1,
        targets=OPENAI,
        body={"error": {"message": "pay", "code": "insufficient_quota"}},
    ),  # fmt: skip
    *(
        _status(
            429,
            f"with Retry-After {value!r}",
            RateLimited,
            calls,
            body=_SLOW,
            headers={"Retry-After": value},
        )  # fmt: skip
        for value, calls in (
            ("0", 3),
            ("0.01", 3),
            ("Wed, 21 Oct 2015 07:28:00 GMT", 3),
            ("Fri, 31 Dec 2100 23:59:59 GMT", 1),
            ("86400", 1),
            ("-1", 3),
            ("soon", 3),
            ("inf", 3),
        )
    ),
    _status(
        429, "with retry-after-ms 5", RateLimited, 3, body=_SLOW, headers={"retry-after-ms": "5"}
    ),  # fmt: skip
    _status(
        429,
        "with x-ms-retry-after-ms 3600000",
        RateLimited,
        1,
        body=_SLOW,
        headers={"x-ms-retry-after-ms": "3600000"},
    ),  # fmt: skip
    _status(500, "", ProviderFault, 3),
    _status(
        502,
        "with an HTML page",
        ProviderFault,
        3,
        body=b"<html><h1>Bad Gateway</h1>",
        headers={"Content-Type": "text/html"},
    ),  # fmt: skip
    _status(503, "", Overloaded, 3, but={"hf tgi": (ModelLoading, 3, "its proxy, while it wakes")}),
    _status(
        503,
        "loading, with estimated_time",
        ModelLoading,
        3,
        body={"error": "Model is loading", "estimated_time": 0.01},
    ),  # fmt: skip
    _status(
        503,
        "loading, absurdly long",
        ModelLoading,
        1,
        body={"error": "Model is loading", "estimated_time": 1e6},
        but={"hf tgi": (ModelLoading, 3, "its proxy names no time")},
    ),  # fmt: skip
    _status(504, "", Timeout, 3),
    _status(529, "", Overloaded, 3),
    _status(599, "(unknown)", ProviderFault, 3),
    _status(301, "to elsewhere", BadResponse, 1, headers={"Location": "http://127.0.0.1:9/x"}),
    _status(307, "to itself", BadResponse, 1, headers={"Location": "/score"}),
    _status(308, "without an address", BadResponse, 1),
    _status(204, "and no body", BadResponse, 1, body=b""),
)

REPLIES = (
    _reply("bytes", "bytes that are no text"),
    _reply("truncated", "JSON that stops short"),
    _reply("wrong_shape", "JSON of another shape"),
    _reply("empty", "an empty body"),
    _reply("object", "{}"),
    _reply("null", "null"),
    _reply("html", "an HTML page"),
    _reply("invalid_utf8", "invalid UTF-8"),
    _reply("control", "raw control characters"),
    _event("bytes", "bytes that are no text"),
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

CLARIFAI = (
    _clarifai(10020, "failure", ProviderFault, 3),
    _clarifai(10030, "try again", Overloaded, 3),
    _clarifai(11001, "token invalid", AuthenticationFailed, 1),
    _clarifai(11002, "credentials invalid", AuthenticationFailed, 1),
    _clarifai(11003, "hourly limit", RateLimited, 3),
    _clarifai(11004, "monthly limit", PermissionDenied, 1),
    _clarifai(11005, "throttled", RateLimited, 3),
    _clarifai(11006, "limits exceeded", PermissionDenied, 1),
    _clarifai(11007, "scopes too small", PermissionDenied, 1),
    _clarifai(11008, "key invalid", AuthenticationFailed, 1),
    _clarifai(11009, "key not found", AuthenticationFailed, 1),
    _clarifai(11100, "bad request", InvalidRequest, 1),
    _clarifai(11102, "invalid request", InvalidRequest, 1),
    _clarifai(11200, "authentication disabled", AuthenticationFailed, 1),
    _clarifai(21200, "no such model", ModelNotFound, 1),
    _clarifai(21201, "model denied", PermissionDenied, 1),
    _clarifai(21202, "invalid argument", InvalidRequest, 1),
    _clarifai(21313, "prediction failed", ProviderFault, 3),
    _clarifai(21350, "deployment failed", ProviderFault, 3),
    _clarifai(21351, "deploying", ModelLoading, 3),
    _clarifai(21352, "queued", ModelLoading, 3),
    _clarifai(21353, "not deployed", ModelNotFound, 1),
    _clarifai(21354, "busy", Overloaded, 3),
    _clarifai(21355, "loading", ModelLoading, 3),
    _clarifai(25604, "runner asks for a retry", Overloaded, 3),
    _clarifai(40001, "bad prediction request", InvalidRequest, 1),
    _clarifai(98004, "internal", ProviderFault, 3),
    _clarifai(98009, "internal timeout", Timeout, 3),
    _clarifai(98014, "resources exhausted", Overloaded, 3),
    _clarifai(424242, "(unknown)", ProviderFault, 3),
    Row(
        "Clarifai 21355 in the output alone",
        Fault("clarifai", status=21355, where="output"),
        ModelLoading,
        3,
        ("clarifai",),
    ),
    Row(
        "Clarifai 21313 in the middle of a stream",
        Fault("clarifai", status=21313, after=2),
        ProviderFault,
        1,
        ("clarifai",),
        PIECES,
        text=True,
    ),
    _grpc("CANCELLED", ConnectionFailed, 3),
    _grpc("UNKNOWN", ProviderFault, 3),
    _grpc("INVALID_ARGUMENT", InvalidRequest, 1),
    _grpc("DEADLINE_EXCEEDED", Timeout, 3),
    _grpc("NOT_FOUND", ModelNotFound, 1),
    _grpc("PERMISSION_DENIED", PermissionDenied, 1),
    _grpc("UNAUTHENTICATED", AuthenticationFailed, 1),
    _grpc("RESOURCE_EXHAUSTED", RateLimited, 3),
    _grpc("UNIMPLEMENTED", ModelNotFound, 1),
    _grpc("INTERNAL", ProviderFault, 3),
    _grpc("UNAVAILABLE", ConnectionFailed, 3),
    _grpc("DATA_LOSS", ProviderFault, 3),
    Row("a message without status", Fault("garbage", form="empty"), BadResponse, 1, ("clarifai",)),
    Row("success without output", Fault("garbage", form="null"), BadResponse, 1, ("clarifai",)),
    Row("an output without text", Fault("garbage"), BadResponse, 1, ("clarifai",)),
    Row(
        "a message without output in a stream",
        Fault("garbage", form="null", after=2),
        BadResponse,
        1,
        ("clarifai",),
        PIECES,
        text=True,
    ),
    # gRPC refuses it on our side with the code that a spent quota has, and nothing but words
    # tells the two apart; what counts is that it is not read.
    Row("a message past 64 MiB", Fault("huge", size=65 << 20), RateLimited, 3, ("clarifai",)),
    Row(
        "one past 64 MiB when unpacked", Fault("gzip", size=65 << 20), RateLimited, 3, ("clarifai",)
    ),  # fmt: skip
)

GROUPS: Mapping[str, tuple[Row, ...]] = {
    "Before a connection stands": CONNECTING,
    "Connections that break, stall or drip": BREAKING,
    "HTTP statuses": STATUSES,
    "Replies and events that are not the protocol": REPLIES,
    "Clarifai's statuses and gRPC's codes": CLARIFAI,
}

ROWS: tuple[Row, ...] = tuple(row for rows in GROUPS.values() for row in rows)
