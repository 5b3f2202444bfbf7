"""The part of bench/serve.py about faults: many clients at once, and the end under load.

The provider is an emulator in this process, with its own meter; the gateway is a process.

- 1,000 clients at once: every request is answered or refused with 429, and memory does not grow.
- 400 requests at once and a budget: the provider's meter stays below the cap.
- SIGTERM under load: every answer that had begun is complete.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp
from common import Report
from serve_process import Server, free_port

from phi2sdk.emulator import Emulator, Schedule, ScriptedEngine
from phi2sdk.emulator.exchange import Meter

CLIENTS = 1000
CAP_USD = 1.0
CONFIG = """\
[targets.far]
backend = "openai"
base_url = "{url}/v1"
api_key = {{ env = "EMULATED" }}
server = "vllm"
price = {{ model = "per-token", input = 1000, output = 2000, source = "s", date = "2026-11-01" }}
"""
BODY = {"model": "far", "prompt": "Explain tides.", "max_tokens": 16}
ANSWER = " Tides follow the moon, and the sea follows the tides, day after day."


async def _post(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> str:
    """Return the status of a request, or how it ended."""
    try:
        async with session.post(f"{url}/v1/completions", json=body) as reply:
            text = await reply.text()
            if body.get("stream") and reply.status == 200:
                return "200" if text.endswith("data: [DONE]\n\n") else "incomplete stream"
            return str(reply.status)
    except aiohttp.ClientError as error:
        return type(error).__name__


async def _many(session: aiohttp.ClientSession, url: str, count: int) -> Counter[str]:
    asked = (_post(session, url, BODY | {"stream": number % 2 == 0}) for number in range(count))
    return Counter(await asyncio.gather(*asked))


async def _crowd(report: Report, session: aiohttp.ClientSession, server: Server) -> None:
    memory: list[float] = []
    total: Counter[str] = Counter()
    for _ in range(2 if report.quick else 5):
        total += await _many(session, server.url, CLIENTS)
        memory.append(server.rss_mib())
    report.row(fault="1,000 clients at once", outcomes=str(dict(total)))
    lost = total.total() - total["200"] - total["429"]
    report.check("crowd_lost", lost, "<=", 0)
    report.check("crowd_answered", total["200"], ">=", 100)
    report.check("crowd_growth_mib", round(memory[-1] - memory[0], 1), "<=", 10)


async def _end(report: Report, session: aiohttp.ClientSession, server: Server) -> None:
    """Send SIGTERM while streams run; those that had begun must end with [DONE]."""
    begun: list[bool] = []

    async def read() -> None:
        try:
            body = BODY | {"stream": True}
            async with session.post(f"{server.url}/v1/completions", json=body) as reply:
                if reply.status != 200:
                    return
                data = await reply.content.readany()
                if not data:
                    return
                try:
                    data += await reply.content.read()
                finally:
                    begun.append(data.endswith(b"data: [DONE]\n\n"))
        except aiohttp.ClientError:
            return

    async def keep_asking(stop: asyncio.Event) -> None:
        while not stop.is_set():
            await read()
            await asyncio.sleep(0)

    stop = asyncio.Event()
    asking = [asyncio.create_task(keep_asking(stop)) for _ in range(64)]
    while len(begun) < 200:  # noqa: ASYNC110 - the number of answers is polled
        await asyncio.sleep(0.05)
    server.child.terminate()
    status = await asyncio.to_thread(server.child.wait, 40)
    stop.set()
    await asyncio.gather(*asking)
    report.row(fault="SIGTERM under load", outcomes=f"{len(begun)} answers, status {status}")
    report.check("end_incomplete_answers", begun.count(False), "<=", 0)
    report.check("end_status", status, "<=", 0)


async def _budget(
    report: Report, session: aiohttp.ClientSession, server: Server, meter: Meter
) -> None:
    rng = random.Random(1)
    before = meter.prompt_tokens, meter.completion_tokens
    asked = (
        _post(session, server.url, BODY | {"max_tokens": rng.randint(1, 40), "stream": n % 3 == 0})
        for n in range(400)
    )
    outcomes = Counter(await asyncio.gather(*asked))
    read, wrote = meter.prompt_tokens - before[0], meter.completion_tokens - before[1]
    metered = (read * 1000 + wrote * 2000) / 1e6
    report.row(fault="400 requests at once with a budget", outcomes=str(dict(outcomes)))
    report.check("budget_metered_share", round(metered / CAP_USD, 3), "<=", 1.0)
    report.check("budget_refused", outcomes["402"], ">=", 1)


async def _run(report: Report) -> None:
    os.environ["EMULATED"] = "test-key"
    emulator = Emulator(
        ScriptedEngine(ANSWER), schedule=Schedule(per_token=0.005), providers=["openai"]
    )
    with tempfile.TemporaryDirectory(prefix="phi2-faults-") as folder:
        async with emulator:
            path = Path(folder) / "phi2.toml"
            path.write_text(CONFIG.format(url=emulator.openai.url), encoding="utf-8")
            command = [sys.executable, "-m", "phi2sdk.cli", "serve", "--config", str(path)]

            async def start(*options: str) -> Server:
                port = free_port()
                words = [*command, "--port", str(port), *options]
                made = Server(words, port, BODY, path="/v1/completions", core=None)
                return await asyncio.to_thread(made.__enter__)

            connector = aiohttp.TCPConnector(limit=0, force_close=True)
            timeout = aiohttp.ClientTimeout(120)
            async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
                server = await start("--concurrency", "64", "--queue", "128")
                await _crowd(report, session, server)
                await _end(report, session, server)
                capped = await start("--budget-usd", str(CAP_USD), "--queue", "1000")
                try:
                    await _budget(report, session, capped, emulator.openai.meter)
                finally:
                    await asyncio.to_thread(capped.__exit__)


def run(report: Report) -> None:
    """Run the faults, and add rows and checks."""
    asyncio.run(_run(report))
