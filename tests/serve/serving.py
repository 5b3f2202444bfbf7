"""A gateway on loopback in front of emulated providers, and the vendor's client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import openai

from phi2sdk.emulator import Emulator
from phi2sdk.secret import EMULATOR_KEY
from phi2sdk.serve import Gateway, ServeOptions

__all__ = ["KEY", "Served", "contents", "served", "target_tables"]

KEY = EMULATOR_KEY

PRICE = (
    'price = { model = "per-token", input = 1000, output = 2000, source = "s", '
    'date = "2026-11-01" }'
)
"""A thousand (two thousand) US dollars for a million input (output) tokens."""


@dataclass(frozen=True, slots=True)
class Served:
    """A running gateway, and the emulators behind it."""

    gateway: Gateway
    emulator: Emulator
    http: aiohttp.ClientSession
    sdk: openai.AsyncOpenAI

    @property
    def root(self) -> str:
        """The address of the gateway without ``/v1``."""
        return self.gateway.url.removesuffix("/v1")

    async def post(self, path: str, body: object, **more: Any) -> tuple[int, Any, Any]:
        """Status, document and headers of a request that does not come from the vendor's client."""
        async with self.http.post(self.root + path, json=body, **more) as reply:
            return reply.status, await reply.json(content_type=None), reply.headers

    async def get(self, path: str, **more: Any) -> tuple[int, str, Any]:
        """Status, text and headers."""
        async with self.http.get(self.root + path, **more) as reply:
            return reply.status, await reply.text(), reply.headers


def target_tables(emulator: Emulator, *, price: bool = True) -> str:
    """The tables of targets for the running emulators, each named like its provider."""
    known = {
        "openai": f'backend = "openai"\nbase_url = "{emulator.openai.url}/v1"\n'
        'api_key = { env = "EMULATED" }\nserver = "vllm"\n',
        "azure": f'backend = "azure"\nstyle = "score"\nendpoint = "{emulator.azure.url}"\n'
        'api_key = { env = "EMULATED" }\n',
        "hf": f'backend = "hf"\nendpoint = "{emulator.hf.url}"\napi_key = {{ env = "EMULATED" }}\n',
    }
    tables = [
        f"[targets.{name}]\n{known[name]}attempts = 1\n{PRICE if price else ''}\n"
        for name in emulator.providers
        if name in known
    ]
    return "\n".join(tables)


@asynccontextmanager
async def served(
    emulator: Emulator, folder: Path, *, more: str = "", price: bool = True, **options: Any
) -> AsyncIterator[Served]:
    """Run a gateway in front of an emulator that runs."""
    path = folder / "phi2.toml"
    path.write_text(target_tables(emulator, price=price) + more, encoding="utf-8")
    settings = ServeOptions(**{"port": 0, "config": path, **options})
    key = settings.api_key.reveal() if settings.api_key else "none"
    async with (
        Gateway(settings) as gateway,
        aiohttp.ClientSession() as http,
        openai.AsyncOpenAI(base_url=gateway.url, api_key=key, max_retries=0, timeout=20) as sdk,
    ):
        yield Served(gateway, emulator, http, sdk)


def contents(chunks: Sequence[Any]) -> str:
    """The text of the chunks of a chat."""
    return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
