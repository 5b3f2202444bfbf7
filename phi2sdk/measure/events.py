"""Validate the lines of a journal before anything is computed from them.

A journal may come from another person, or from a damaged disk. Types, ranges and the order of times
are checked here, so that code that reads records can rely on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from phi2sdk.measure.records import Arm, Outcome
from phi2sdk.parsing import first_mistake
from phi2sdk.text import encodable

MOST = 2**53
"""No count and no clock reading is larger: up to here a float holds every integer."""

Natural = Annotated[int, Field(strict=True, ge=0, le=MOST)]
Seconds = Annotated[float, Field(strict=True, ge=0, le=1e9, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
_Nanoseconds = Annotated[int, Field(strict=True, ge=-MOST, le=MOST)]
_Bin = Annotated[int, Field(ge=0, le=1000)]


def _encodable(text: str) -> str:
    if text != encodable(text):
        raise ValueError("half of a surrogate pair is not a character")
    return text


Word = Annotated[str, AfterValidator(_encodable)]
"""Text that reports show. Only answers may contain unpaired surrogates."""
_Key = tuple[Arm, Word, Word, Natural]


class _Event(BaseModel):
    model_config = ConfigDict(frozen=True)


class _InSession(_Event):
    session: Annotated[int, Field(strict=True, ge=1, le=MOST)]


class _Session(_InSession):
    event: Literal["session"]
    started: Word


class _Over(_InSession):
    event: Literal["over"]


class _Intent(_InSession):
    event: Literal["intent"]
    key: _Key


class _Attempt(_Event):
    event: Literal["attempt"]
    key: _Key
    t_send: _Nanoseconds
    t_end: _Nanoseconds
    error: Word | None = None
    status: Natural | None = None
    wait: Seconds = 0.0

    @model_validator(mode="after")
    def _times(self) -> Self:
        _in_order(self.t_send, self.t_end)
        return self


class _Quantiles(_Event):
    p50: Seconds
    p99: Seconds


class _Calibration(_InSession):
    event: Literal["calibration"]
    wire: Word
    streams: Natural
    n: Natural
    ttft: _Quantiles
    e2e: _Quantiles


class _Health(_InSession):
    event: Literal["health"]
    lag: dict[_Bin, Natural]
    cpu_s: Seconds
    wall_s: Seconds
    watts: list[tuple[_Nanoseconds, Annotated[float, Field(strict=True, ge=0, le=1e6)]]] = []


class _Chunks(_Event):
    t: list[_Nanoseconds] = []
    chars: list[Natural] = []

    @model_validator(mode="after")
    def _as_many(self) -> Self:
        if len(self.chars) != len(self.t):
            raise ValueError("its lists have different lengths")
        return self


class _Done(_InSession):
    event: Literal["done"]
    key: _Key
    outcome: Outcome
    t_scheduled: _Nanoseconds
    t_close: _Nanoseconds
    t_send: _Nanoseconds | None = None
    t_first: _Nanoseconds | None = None
    t_last: _Nanoseconds | None = None
    streamed: Flag | None = None
    error: Word | None = None
    status: Natural | None = None
    message: Word | None = None
    chunks: _Chunks = _Chunks()
    text: str
    raw: str | None = None
    usage: dict[
        Literal["input", "output_billed", "output_kept", "cached"],
        Natural | tuple[Natural, Literal["estimated"]],
    ] = {}
    cut: Flag = False
    finish_reason: Word | None = None
    model: Word | None = None
    request_id: Word | None = None
    route: Word | None = None
    wrapped: Flag = False

    @model_validator(mode="after")
    def _times(self) -> Self:
        _in_order(self.t_scheduled, self.t_close)
        _in_order(self.t_send, self.t_first, self.t_last, self.t_close)
        if self.t_first is not None and not self.chunks.t:
            raise ValueError("it has the time of a first chunk and no chunks")
        return self


def _in_order(*times: int | None) -> None:
    known = [time for time in times if time is not None]
    if any(earlier > later for earlier, later in pairwise(known)):
        raise ValueError("its times are not in order")


_EVENT: TypeAdapter[Any] = TypeAdapter(
    Annotated[
        _Session | _Over | _Intent | _Attempt | _Calibration | _Health | _Done,
        Field(discriminator="event"),
    ]
)


def check_event(event: object) -> Mapping[str, Any]:
    """Return an event if it is one that the journal writes.

    Raises:
        ValueError: It is not a valid event. The message gives the reason on one line.
    """
    try:
        _EVENT.validate_python(event)
    except ValidationError as error:
        raise ValueError(first_mistake(error)) from None
    assert isinstance(event, dict)
    return event
