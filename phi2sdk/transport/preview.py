"""The request that would be sent, without secrets: as data and as a cURL command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from phi2sdk.secret import Secret
from phi2sdk.transport.endpoint import is_loopback

__all__ = [
    "RequestPreview",
    "command",
    "quoted",
]


@dataclass(frozen=True, slots=True)
class RequestPreview:
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


UNNAMED_KEY = "PHI2_KEY"
"""The variable for a key that comes from no environment variable."""

_PROTOSET = "clarifai.protoset"
_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")
"""What a shell takes for a variable. The environment of a process may hold any other name."""


def command(call: RequestPreview, variables: Mapping[str, str]) -> str:
    """The command that makes the same call.

    Args:
        call: The call.
        variables: Environment variables that may hold its keys, with their values: a key is shown
            as the first one that has its value.

    Returns:
        One command over several lines, for bash or zsh; where something has to be done first,
        that is in a line before it.
    """
    first = f"{UNNAMED_KEY}=$({' '.join(map(quoted, call.hint))})\n" if call.hint else ""
    made = _grpcurl(call, variables) if call.protocol == "grpc" else _curl(call, variables)
    return first + made


def quoted(text: str) -> str:
    """One word for the shell, with nothing unprintable in it.

    Control and bidirectional characters go as bytes, in the form ``$'...'`` of bash and zsh.

    >>> quoted("it's")
    '\\'it\\'"\\'"\\'s\\''
    >>> print(quoted("red \\x1b[31m"))
    $'red \\x1b[31m'
    """
    if text.isprintable():
        return shlex.quote(text)
    return f"$'{''.join(map(_escaped, text))}'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode())


def _curl(call: RequestPreview, variables: Mapping[str, str]) -> str:
    parts = urlsplit(call.url)
    words = ["curl", "--silent", "--show-error", "--http1.1"]
    if call.streamed:
        words.append("--no-buffer")
    if is_loopback(parts.hostname or ""):
        words.append("--noproxy '*'")  # a proxy would take the key off this machine
    if not {*call.url}.isdisjoint("[]{}"):
        words.append("--globoff")
    lines = [" ".join((*words, quoted(call.url)))]
    lines += [f"-H {_header(name, value, variables)}" for name, value in call.headers.items()]
    lines.append(f"--data-raw {quoted(call.body.decode())}")
    return " \\\n  ".join(lines)


def _grpcurl(call: RequestPreview, variables: Mapping[str, str]) -> str:
    parts = urlsplit(call.url)
    plain = ["-plaintext"] if parts.scheme == "http" else []
    lines = [
        " ".join(("grpcurl", *plain, "-protoset", _PROTOSET)),
        *(f"-H {_header(name, value, variables)}" for name, value in call.headers.items()),
        f"-d {quoted(call.body.decode())}",
        f"-- {quoted(parts.netloc)} {quoted(parts.path.removeprefix('/'))}",
    ]
    first = f"python -m phi2sdk.backends.clarifai_protoset > {_PROTOSET}\n"
    return first + " \\\n  ".join(lines)


def _header(name: str, value: str | Secret, variables: Mapping[str, str]) -> str:
    if isinstance(value, Secret):
        scheme, key = _scheme_and_key(value.reveal())
        found = (
            variable
            for variable, held in variables.items()
            if key and held.strip() == key and _VARIABLE.fullmatch(variable)
        )
        return f'"{name}: {scheme}${next(found, UNNAMED_KEY)}"'
    return quoted(f"{name}: {value}" if value else f"{name};")  # "name:" would remove it


def _scheme_and_key(value: str) -> tuple[str, str]:
    """``("Bearer ", key)``; a key may stand alone, and so may a scheme whose key is fetched."""
    for scheme in ("Bearer", "Key"):
        if value == scheme or value.startswith(f"{scheme} "):
            return f"{scheme} ", value[len(scheme) + 1 :]
    return "", value
