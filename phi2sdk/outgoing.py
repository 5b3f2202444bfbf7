"""A call as it would go out: what ``phi2 explain`` shows and turns into a command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from phi2sdk.secret import Secret

__all__ = ["Outgoing"]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One call over a wire, with its keys still secret.

    Attributes:
        protocol: ``http`` (a POST), or ``grpc`` (one message there, one or a stream back).
        url: Where to, path and query included; for gRPC ``https://host:port/service/method``.
        headers: By name, those that the transport adds by itself apart (``Host``, lengths). A
            secret is a key, with its scheme in front (``Bearer ...``); a scheme alone stands for
            a token that is fetched when the call is made.
        body: The JSON document byte for byte; for gRPC the message in protobuf's JSON form.
        streamed: Whether the reply will be a stream.
        hint: How a shell gets a key that no environment variable holds: a command's words, which
            need not be quoted yet.
    """

    protocol: Literal["http", "grpc"]
    url: str
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    body: bytes = b""
    streamed: bool = False
    hint: tuple[str, ...] = ()
