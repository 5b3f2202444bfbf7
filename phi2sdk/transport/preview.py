"""The request that a call sends, without secrets: as data and as a cURL command."""

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
    """One call, whose keys are secrets.

    Attributes:
        protocol: ``http`` (a POST), or ``grpc`` (one message there, one or a stream back).
        url: The URL with path and query; for gRPC ``https://host:port/service/method``.
        headers: By name, without those that the transport adds (``Host``, lengths). A
            secret is a key, with its scheme in front (``Bearer ...``); a scheme alone stands for
            a token that is fetched when the call is made.
        body: The JSON document byte for byte; for gRPC the message in protobuf's JSON form.
        streamed: Whether the response will be a stream.
        hint: Words of a command that prints a key which is in no environment variable.
    """

    protocol: Literal["http", "grpc"]
    url: str
    headers: Mapping[str, str | Secret] = field(default_factory=dict)
    body: bytes = b""
    streamed: bool = False
    hint: tuple[str, ...] = ()


UNNAMED_KEY = "PHI2_KEY"
"""Name of the shell variable for a key that is in no environment variable."""

_PROTOSET = "clarifai.protoset"
_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")
"""Names of shell variables. The environment of a process may contain other names."""


def command(call: RequestPreview, variables: Mapping[str, str]) -> str:
    """Return the command that makes the same call.

    Args:
        call: The call.
        variables: Environment variables that may contain its keys, with their values. A key is
            shown as the first variable that has its value.

    Returns:
        One command on several lines, for bash or zsh, after the commands that it needs.
    """
    first = f"{UNNAMED_KEY}=$({' '.join(map(quoted, call.hint))})\n" if call.hint else ""
    made = _grpcurl(call, variables) if call.protocol == "grpc" else _curl(call, variables)
    return first + made


def quoted(text: str) -> str:
    """Return one word for the shell, without unprintable characters.

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
        words.append("--noproxy '*'")  # a proxy would send the key to another machine
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
    return quoted(f"{name}: {value}" if value else f"{name};")  # "name:" would remove the header


def _scheme_and_key(value: str) -> tuple[str, str]:
    """Return scheme and key of a header value; either may be empty."""
    for scheme in ("Bearer", "Key"):
        if value == scheme or value.startswith(f"{scheme} "):
            return f"{scheme} ", value[len(scheme) + 1 :]
    return "", value
