"""The request of bench/client.py, and the interface of the clients."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

PROMPT = "Instruct: Write a detailed analogy between mathematics and a lighthouse.\nOutput:"
MODEL = "microsoft/phi-2"
KEY = "test-key"
TOKENS = 100
MESSAGES: Any = [{"role": "user", "content": PROMPT}]
GIVEN: dict[str, Any] = {"max_tokens": TOKENS, "temperature": 0.7, "top_p": 0.9, "seed": 3}
BODY = {"model": MODEL, "messages": MESSAGES, **GIVEN}


class Peer:
    """A client of the server at ``http`` (a URL) and ``grpc`` (an address)."""

    packages: tuple[str, ...] = ()

    def __init__(self, http: str, grpc: str) -> None:
        self.http, self.grpc = http, grpc

    async def open(self) -> None:
        """Create the asynchronous client."""

    async def ask(self) -> str:
        raise NotImplementedError

    def stream(self) -> AsyncIterator[str]:
        raise NotImplementedError

    async def close(self) -> None:
        """Close the asynchronous client."""

    def open_sync(self) -> None:
        """Create the synchronous client."""

    def ask_sync(self) -> str:
        raise NotImplementedError

    def close_sync(self) -> None:
        """Close the synchronous client."""
