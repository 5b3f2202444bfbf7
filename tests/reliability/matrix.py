"""The data of the fault matrix: what goes wrong, and which error a caller then receives.

The types of the rows are here; the rows are in ``rows_wire.py`` and ``rows_status.py``, and
``table.py`` collects them. ``test_matrix.py`` tests every cell. This command writes the page::

    python -m tests.reliability.published > docs/contributing/fault-matrix.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from phi2sdk.emulator import Fault
from phi2sdk.errors import (
    ConnectionFailed,
    ModelLoading,
    Overloaded,
    Phi2Error,
    ProviderFault,
    RateLimited,
    Timeout,
)
from phi2sdk.transport.http import Timeouts

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
        error: The class of the error, exactly; ``None``: the request is still answered.
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
    timeouts: Timeouts = field(default_factory=Timeouts)
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
