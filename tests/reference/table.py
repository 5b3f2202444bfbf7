"""Every difference between our calls and those of the vendors' SDKs, each with its reason.

The tests enforce it both ways: a difference that is not here fails, and so does a line that no
longer holds. ``docs/contributing/wire.md`` shows the table; ``python -m tests.reference.table``
prints it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .differences import ABSENT

OPENAI = r".* / openai"
AZURE = r".* / azure-ai-inference"
HUB = r".* / huggingface_hub.*"
HTTP = rf"{OPENAI}|{AZURE}|{HUB}"
_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@dataclass(frozen=True)
class Difference:
    """One line of the table.

    Attributes:
        pairs: Which pairs it holds for, as a regular expression over their names.
        place: Where in the call: ``header NAME``, or a path into the body.
        ours: What we send there; ABSENT where we send nothing.
        theirs: What they send, as a regular expression, or ABSENT.
        reason: Why it is right to differ.
        mode: Only where the answer is asked for as a stream, or as one reply.
    """

    pairs: str
    place: str
    ours: str
    theirs: str
    reason: str
    mode: Literal["stream", "reply"] | None = None

    def applies(self, pair: str, *, stream: bool) -> bool:
        fits = self.mode is None or (self.mode == "stream") == stream
        return fits and re.fullmatch(self.pairs, pair) is not None

    def holds(self, ours: str, theirs: str) -> bool:
        if ours != self.ours and re.fullmatch(self.ours, ours) is None:
            return False
        if self.theirs == ABSENT or theirs == ABSENT:
            return theirs == self.theirs
        return re.fullmatch(self.theirs, theirs) is not None


_STAINLESS = {
    "arch": r".+",
    "async": "false",
    "lang": "python",
    "os": r".+",
    "package-version": r"[0-9.]+",
    "read-timeout": "600",
    "retry-count": "0",
    "runtime": r".+",
    "runtime-version": r"[0-9.]+",
}

DIFFERENCES: tuple[Difference, ...] = (
    Difference(
        HTTP,
        "header user-agent",
        "phi2sdk",
        r".*(OpenAI/Python|azsdk-python-ai-inference|hf_hub)/?.*",
        "Each client identifies itself. The SDKs also send the operating system, the Python "
        "version and the installed machine-learning packages, which a server does not need.",
    ),
    Difference(
        HTTP,
        "header accept-encoding",
        "identity",
        "gzip, deflate",
        "Compression delays the tokens of a stream, and a small compressed response can expand to "
        "a very large one. Our client counts the bytes of a response and limits them.",
    ),
    Difference(
        HTTP,
        "header connection",
        ABSENT,
        "keep-alive",
        "Keep-alive is the default of HTTP/1.1; both clients keep the connection.",
    ),
    Difference(
        rf"{OPENAI}|azure chat / .*",
        "header accept",
        "*/*",
        "application/json",
        "No server uses this header. (The SDKs also send it for streams, which are not JSON.)",
    ),
    *(
        Difference(
            OPENAI,
            f"header x-stainless-{name}",
            ABSENT,
            value,
            "Telemetry of the SDK's generator about the client's machine and settings.",
        )
        for name, value in _STAINLESS.items()
    ),
    Difference(
        AZURE,
        "header x-ms-client-request-id",
        ABSENT,
        _UUID,
        "An id that the client assigns to the request. Our client reads the id of the service, "
        "which its support can look up.",
    ),
    Difference(
        r"azure score / .*",
        "header api-key",
        ABSENT,
        r"\*\*\*",
        "A managed endpoint reads the bearer token; the key is not sent twice. (On the chat route "
        "our client sends both: serverless endpoints read the token and Foundry reads the key.)",
    ),
    Difference(
        HUB,
        "header x-amzn-trace-id",
        ABSENT,
        _UUID,
        "An id that the client assigns to the request. Our client reads the id of the service.",
    ),
    Difference(
        r"hf tgi / .*",
        "body.stream",
        ABSENT,
        "True",
        "The path /generate_stream selects the stream; its schema has no such key.",
        "stream",
    ),
    Difference(
        r"hf chat / .*",
        "body.stream",
        ABSENT,
        "False",
        "This value is the default of the protocol.",
        "reply",
    ),
    Difference(
        r"clarifai / .*",
        "header user-agent",
        r"phi2sdk grpc-python-asyncio/.*",
        r"grpc-python/.*",
        "Our client adds its name before that of gRPC.",
    ),
    Difference(
        r"clarifai / .*",
        "header x-clarifai-request-id-prefix",
        ABSENT,
        r"sdk-python-[0-9.]+",
        "Telemetry of the SDK: its name and version.",
    ),
    *(
        Difference(
            r"clarifai / .*",
            f"body.model.{name}",
            ABSENT,
            value,
            "A copy of what the request names at its top (user_app_id, model_id), which is what "
            "the service reads. In `model` only the parameters count.",
        )
        for name, value in (
            ("user_id", "'microsoft'"),
            ("app_id", "'text-generation'"),
            ("id", "'phi-2'"),
        )
    ),
)


def expected(pair: str, *, stream: bool) -> dict[str, Difference]:
    """The lines for one pair and mode, by place."""
    lines = [line for line in DIFFERENCES if line.applies(pair, stream=stream)]
    by_place = {line.place: line for line in lines}
    assert len(by_place) == len(lines), "two lines for one place"
    return by_place


def rendered(pairs: tuple[str, ...]) -> str:
    """The table in Markdown; places with the same reason share a line."""
    shown: dict[tuple[str, str], list[Difference]] = {}
    for line in DIFFERENCES:
        shown.setdefault((line.pairs, line.reason), []).append(line)
    rows = ["| with | where | ours | theirs | why |", "|---|---|---|---|---|"]
    for (pattern, reason), lines in shown.items():
        sdks = {p.partition(" / ")[2].partition(" ")[0] for p in pairs if re.fullmatch(pattern, p)}
        routes = {p.partition(" / ")[0] for p in pairs if re.fullmatch(pattern, p)}
        whole = {
            p.partition(" / ")[0] for p in pairs if p.partition(" / ")[2].partition(" ")[0] in sdks
        }
        with_ = ", ".join(sorted(sdks))
        if routes != whole:
            with_ += f" ({', '.join(sorted(routes))})"
        if lines[0].mode:
            with_ += ", as a stream" if lines[0].mode == "stream" else ", as one response"
        places = ", ".join(f"`{line.place}`" for line in lines)
        ours = _cell({line.ours for line in lines})
        theirs = _cell({line.theirs for line in lines})
        rows.append(f"| {with_} | {places} | {ours} | {theirs} | {reason} |")
    return "\n".join(rows)


_WORDS = {
    _UUID: "a UUID",
    ABSENT: "-",
    r".*(OpenAI/Python|azsdk-python-ai-inference|hf_hub)/?.*": "name, version, machine",
    r"\*\*\*": "the key",
    r"phi2sdk grpc-python-asyncio/.*": "`phi2sdk grpc-python-asyncio/...`",
    r"grpc-python/.*": "`grpc-python/...`",
    r"sdk-python-[0-9.]+": "`sdk-python-12.5.0`",
}


def _cell(values: set[str]) -> str:
    if len(values) > 1:
        return "one value each"
    value = next(iter(values))
    return _WORDS.get(value, f"`{value}`")


if __name__ == "__main__":
    from .vendors import PAIRS

    print(rendered(tuple(PAIRS)))  # noqa: T201
