"""Compare two recorded calls, field by field and header by header."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.json_format import MessageToDict

from phi2sdk.emulator import Call

ABSENT = "(absent)"


def differences(ours: Call, theirs: Call) -> dict[str, tuple[str, str]]:
    """``place -> (ours, theirs)`` for every place where the two calls differ."""
    left, right = _flat(ours), _flat(theirs)
    return {
        place: (left.get(place, ABSENT), right.get(place, ABSENT))
        for place in sorted(left.keys() | right.keys())
        if left.get(place, ABSENT) != right.get(place, ABSENT)
    }


def _flat(call: Call) -> dict[str, str]:
    body = call.body
    headers = dict(call.headers)
    if headers.get("content-length") == str(len(call.raw)):
        del headers["content-length"]  # it follows from the body, whose values are compared
    if call.method == "gRPC":
        body = MessageToDict(call.body, preserving_proto_field_name=True)
    return {
        "method": call.method,
        "path": call.path,
        "query": call.query,
        "authorized": str(call.authorized),
        **{f"header {name}": value for name, value in headers.items()},
        **dict(_leaves("body", body)),
    }


def _leaves(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Every value with the path to it; numbers with their type, since 1 and 1.0 differ."""
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}", inner)
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from _leaves(f"{path}[{index}]", inner)
    else:
        yield path, repr(value)
