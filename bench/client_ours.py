"""phi2sdk through each of its backends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from client_base import GIVEN, KEY, PROMPT, Peer


class Ours(Peer):
    """phi2sdk with the chat route; the classes of the other backends derive from it."""

    packages = ("phi2sdk", "aiohttp")
    target = "openai"

    def settings(self) -> dict[str, Any]:
        return {"base_url": f"{self.http}/v1", "api_key": KEY, "route": "chat"}

    async def open(self) -> None:
        from phi2sdk import AsyncPhi2Client, Sampling, prompts

        self._client = AsyncPhi2Client(self.target, **self.settings())
        self._prompt = prompts.raw(PROMPT)
        self._sampling = Sampling(**self.given())

    def given(self) -> dict[str, Any]:
        return GIVEN

    async def ask(self) -> str:
        return (await self._client.generate(self._prompt, self._sampling)).text

    async def stream(self) -> AsyncIterator[str]:
        async with self._client.stream(self._prompt, self._sampling) as stream:
            async for chunk in stream:
                yield chunk.text

    async def close(self) -> None:
        await self._client.close()

    def open_sync(self) -> None:
        from phi2sdk import Phi2Client, Sampling, prompts

        self._sync = Phi2Client(self.target, **self.settings())
        self._prompt = prompts.raw(PROMPT)
        self._sampling = Sampling(**self.given())

    def ask_sync(self) -> str:
        return self._sync.generate(self._prompt, self._sampling).text

    def close_sync(self) -> None:
        self._sync.close()


class OursCompletions(Ours):
    def settings(self) -> dict[str, Any]:
        return {"base_url": f"{self.http}/v1", "api_key": KEY}


class OursScore(Ours):
    target = "azure"

    def settings(self) -> dict[str, Any]:
        return {"endpoint": self.http, "api_key": KEY}

    def given(self) -> dict[str, Any]:
        return {name: value for name, value in GIVEN.items() if name != "seed"}


class OursAzureChat(Ours):
    target = "azure"

    def settings(self) -> dict[str, Any]:
        return {"endpoint": self.http, "api_key": KEY, "style": "chat"}


class OursTGI(Ours):
    target = "hf"

    def settings(self) -> dict[str, Any]:
        return {"endpoint": self.http, "token": KEY}


class OursClarifai(OursScore):
    packages = ("phi2sdk", "grpcio")
    target = "clarifai"

    def settings(self) -> dict[str, Any]:
        return {"base": self.grpc, "api_key": KEY}
