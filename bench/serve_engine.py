"""The part of bench/serve.py about the local engine: 16 clients of the bundled checkpoint.

``phi2 serve``, ``transformers serve`` and llama.cpp's server serve the same weights in float32 on
all cores, one at a time. 16 clients send completions one after another, greedy, with the same
prompts. Tokens are counted by the server's ``usage``.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
from client import ratio
from common import HERE, Report, median, peer_python, peer_versions
from serve_process import Server, free_port

from phi2sdk.demo import checkpoint_path

CLIENTS = 16
MODEL = "phi-2-demo"
TOKENS = 64
ROUNDS = 3
NAMES = {
    "ours": "phi2 serve",
    "transformers": "transformers serve",
    "batching": "transformers serve --continuous-batching",
    "llamacpp": "llama.cpp server",
}
CONFIG = '[targets.local]\nbackend = "local"\nmodel = "{model}"\ndtype = "float32"\n'
SUBJECTS = ("tides", "lighthouses", "bees", "glaciers", "numbers", "bridges", "rivers", "maps")


def prompt(number: int) -> str:
    """Return one of many prompts of 20 to 80 tokens."""
    subject = SUBJECTS[number % len(SUBJECTS)]
    before = f"Light guides ships, and {subject} guide minds. " * (1 + number % 4)
    return f"Instruct: {before}Write about {subject} and {number}.\nOutput:"


def body(number: int) -> dict[str, Any]:
    """Return the body of a request."""
    return {"model": MODEL, "prompt": prompt(number), "max_tokens": TOKENS, "temperature": 0}


async def load(url: str, requests: int) -> dict[str, float]:
    """Send requests from 16 clients, and measure tokens per second."""
    numbers = iter(range(requests))
    written = 0

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as session:

        async def ask() -> None:
            nonlocal written
            for number in numbers:
                async with session.post(f"{url}/v1/completions", json=body(number)) as reply:
                    document = await reply.json()
                if reply.status != 200:
                    raise RuntimeError(f"status {reply.status}: {str(document)[:200]}")
                written += document["usage"]["completion_tokens"]

        begun = time.perf_counter()
        await asyncio.gather(*(ask() for _ in range(CLIENTS)))
        seconds = time.perf_counter() - begun
    return {"tps": written / seconds, "tokens": written}


def servers(folder: Path) -> dict[str, Callable[[], Server]]:
    """Return how each server is started."""
    model = folder / MODEL
    shutil.copytree(checkpoint_path(), model)
    (folder / "phi2.toml").write_text(
        CONFIG.format(model=model) + f'[serve.routes]\n{MODEL} = ["local"]\n', encoding="utf-8"
    )

    def server(*command: str, environment: dict[str, str] | None = None) -> Server:
        port = free_port()
        words = [word.replace("PORT", str(port)) for word in command]
        return Server(
            words, port, body(0), path="/v1/completions", core=None, cwd=folder,
            environment=environment,
        )  # fmt: skip

    hub = [str(peer_python("transformers-serve")), "-m", "transformers.cli.transformers", "serve"]
    hub += [MODEL, "--device", "cpu", "--dtype", "float32", "--host", "127.0.0.1", "--port", "PORT"]
    ours = [sys.executable, "-m", "phi2sdk.cli", "serve", "--config", "phi2.toml", "--port", "PORT"]
    llama = [str(peer_python("xllamacpp")), str(HERE / "serve_llamacpp.py"), MODEL, "PORT"]
    return {
        "ours": lambda: server(*ours),
        "transformers": lambda: server(*hub),
        "batching": lambda: server(*hub, "--continuous-batching"),
        "llamacpp": lambda: server(*llama, str(CLIENTS), "2"),
    }


def run(report: Report) -> None:
    """Measure the servers, in rounds that alternate, and add rows and checks."""
    requests = 2 * CLIENTS if report.quick else 4 * CLIENTS
    found: dict[str, list[dict[str, float]]] = {}
    missing: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="phi2-engine-") as place:
        kinds = servers(Path(place))
        for number in range(1 if report.quick else ROUNDS):
            for name in list(kinds) if number % 2 == 0 else list(kinds)[::-1]:
                if name in missing:
                    continue
                try:
                    with kinds[name]() as server:
                        asyncio.run(load(server.url, CLIENTS))  # the first requests warm up
                        found.setdefault(name, []).append(asyncio.run(load(server.url, requests)))
                except (RuntimeError, OSError, KeyError, aiohttp.ClientError) as error:
                    missing[name] = f"{type(error).__name__}: {error}"[:200]
                    report.note(f"{NAMES[name]} is excluded: {missing[name]}")
    for package, peer in (("transformers", "transformers-serve"), ("xllamacpp", "xllamacpp")):
        report.versions |= peer_versions(peer, [package])
    whole = {name: rounds for name, rounds in found.items() if name not in missing}
    for name, rounds in whole.items():
        report.row(
            server=NAMES[name],
            clients=CLIENTS,
            tokens=round(median(one["tokens"] for one in rounds)),
            tokens_per_s=round(median(one["tps"] for one in rounds), 1),
        )
    speeds = {name: [one["tps"] for one in rounds] for name, rounds in whole.items()}
    for check, peer, bound in (
        ("slots_vs_transformers_serve", "transformers", 2.0),
        ("slots_vs_transformers_batching", "batching", 1.0),
        ("slots_vs_llamacpp_server", "llamacpp", 0.5),
    ):
        value = ratio(speeds.get("ours"), speeds.get(peer))
        reason = missing.get("ours") or missing.get(peer) or ""
        report.check(check, value, ">=", bound, reason)
