"""Soak test: many requests with faults over every route, without losses, leaks or growth.

The benchmark sends 200,000 requests over all backends at a fixed concurrency, 5 % of them with a
random fault. Another process emulates the providers, and counts the calls for each request. The
benchmark compares these counts with those of the client.

    python bench/soak.py [--quick] [--json FILE] [--requests N] [--concurrency N] [--seed N]

Memory is the resident set of the client process, sampled after each 1,000 requests. Its slope is
fitted over the second half, because the first half includes imports, connection pools and the
growth of the allocator. File descriptors are counted before and after, with all connections closed.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import subprocess
import sys
from collections import Counter
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import Report, parser

from phi2sdk import AsyncPhi2Client, prompts
from phi2sdk.client.policies import Retry, RetryBudget
from phi2sdk.errors import Phi2Error
from phi2sdk.transport.http import Timeouts
from tests.reliability.matrix import TARGETS
from tests.reliability.stage import open_backend

TIMEOUTS = Timeouts(connect=5, idle=0.5, attempt=5)
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 503},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 400},
    {"kind": "status", "status": 429, "headers": {"Retry-After": "0"}},
    {"kind": "reset"},
    {"kind": "reset", "where": "in_body", "after": 2},
    {"kind": "cut", "after": 2},
    {"kind": "hang", "after": 1},
    {"kind": "garbage", "form": "truncated"},
    {"kind": "error_event", "after": 1},
    {"kind": "grpc", "code": "UNAVAILABLE"},
    {"kind": "clarifai", "status": 21355},
)
SHARE = 0.05
SERVERS = ("azure", "clarifai", "hf", "openai")

# The process of the emulators, which answer each prompt with itself and draw random faults.
SERVE = """
import asyncio, json, random, sys
from collections import Counter
from phi2sdk.emulator import Emulator, Fault, ScriptedEngine
from phi2sdk.emulator.exchange import CallLog
from phi2sdk.emulator.faults import FaultQueue

share, seed, kinds = float(sys.argv[1]), int(sys.argv[2]), json.loads(sys.argv[3])
dice = random.Random(seed)
counts = {}

class Drawn(FaultQueue):
    def take(self, path, *, generating):
        if not generating or dice.random() >= share:
            return None
        return Fault(**dice.choice(kinds))

class Counting(CallLog):
    def append(self, call):  # counted and forgotten: a log of all calls would grow
        counts[self.name] = counts.get(self.name, 0) + 1

async def main():
    answer = lambda prompt: " ".join(w for w in prompt.split() if w.startswith("request-"))
    async with Emulator(ScriptedEngine(answer)) as emulator:
        for name in emulator.providers:
            server = getattr(emulator, name)
            server.faults, server.calls = Drawn(), Counting()
            server.calls.name = name
        emulator.azure.style = type(emulator.azure.style)(echo=False)
        urls = {n: getattr(emulator, n).url for n in emulator.providers}
        print(json.dumps(urls), flush=True)
        loop = asyncio.get_running_loop()
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(json.dumps(counts), flush=True)

asyncio.run(main())
"""


class Account:
    """The client's counts of its requests."""

    def __init__(self) -> None:
        self.sent = 0
        self.ok: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.wrong = 0
        self.calls: Counter[str] = Counter()

    @property
    def lost(self) -> int:
        """Return the number of requests that did not end, or got the answer of another request."""
        return self.sent - self.ok.total() - self.failed.total() + self.wrong


async def one(number: int, target: str, phi: AsyncPhi2Client, account: Account) -> None:
    """Send a request, and check that the answer belongs to it."""
    name = f"request-{number}-end"
    prompt = prompts.raw(f"Say {name}")
    backend = TARGETS[target][0]
    account.sent += 1
    try:
        if number % 2:
            answer = await phi.generate(prompt, max_tokens=24)
        else:
            async with phi.stream(prompt, max_tokens=24) as stream:
                async for _ in stream:
                    pass
            answer = stream.completion
    except Phi2Error as error:
        account.failed[type(error).__name__] += 1
        account.calls[backend] += error.attempts
        account.wrong += not name.startswith(error.partial.strip())
    else:
        account.ok[target] += 1
        account.calls[backend] += len(answer.receipt.attempts)
        # Clarifai's protocol cannot distinguish a truncated stream from a short answer.
        whole = answer.text == name or (backend == "clarifai" and name.startswith(answer.text))
        account.wrong += not whole


async def soak(
    urls: dict[str, str], total: int, concurrency: int, report: Report
) -> tuple[Account, list[int], int]:
    """Send all requests; return the counts, memory samples in KiB, and new descriptors."""
    account, memory = Account(), []
    before = await descriptors(urls)
    clients = {name: client(name, urls) for name in TARGETS}
    numbers, ends = iter(range(total)), count(1)
    names = list(TARGETS)

    async def worker() -> None:
        for number in numbers:
            name = names[number % len(names)]
            await one(number, name, clients[name], account)
            if (ended := next(ends)) % 1000 == 0:
                gc.collect()
                memory.append(resident_kib())
            if ended % 20_000 == 0:
                print(f"  {ended} of {total}", flush=True)

    begun = perf_counter()
    await asyncio.gather(*(worker() for _ in range(concurrency)))
    seconds = perf_counter() - begun
    for phi in clients.values():
        await phi.close()
    clients.clear()
    report.row(requests=account.sent, answered=account.ok.total(), failed=account.failed.total(),
               seconds=round(seconds, 1), per_second=round(total / seconds))  # fmt: skip
    return account, memory, await descriptors(urls) - before


async def descriptors(urls: dict[str, str]) -> int:
    """Return the number of open descriptors after every kind of client was used and closed."""
    for name in TARGETS:
        async with client(name, urls) as phi:
            await phi.check()
    for _ in range(50):
        gc.collect()
        await asyncio.sleep(0.01)
    return len(os.listdir("/proc/self/fd"))


def client(target: str, urls: dict[str, str]) -> AsyncPhi2Client:
    """Return a client that retries without waiting."""
    backend = TARGETS[target][0]
    url = f"http://{urls[backend]}" if backend == "clarifai" else urls[backend]
    opened = open_backend(target, url, TIMEOUTS, key="test-key")
    phi = AsyncPhi2Client(opened, timeout=60)
    phi.backend = Retry(opened, attempts=3, base=0.0, budget=RetryBudget(reserve=1e9))
    return phi


def resident_kib() -> int:
    """Return the resident set of this process in KiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024


def slope(samples: list[int]) -> float | None:
    """Return the least-squares slope of the second half, in KiB per 1,000 requests."""
    late = samples[len(samples) // 2 :]
    if len(late) < 3:
        return None
    mean_x, mean_y = (len(late) - 1) / 2, sum(late) / len(late)
    rise = sum((x - mean_x) * (y - mean_y) for x, y in enumerate(late))
    return rise / sum((x - mean_x) ** 2 for x in range(len(late)))


def main() -> int:
    """Run the benchmark, and return 0 if no request was lost and nothing grew."""
    made = parser(__doc__)
    made.add_argument("--requests", type=int, help="requests (200,000; with --quick 8,000)")
    made.add_argument("--concurrency", type=int, default=32)
    made.add_argument("--seed", type=int, default=8)
    args = made.parse_args()
    total = args.requests or (8_000 if args.quick else 200_000)
    random.seed(args.seed)
    report = Report("soak", args, ["phi2sdk", "aiohttp", "grpcio"])
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(SHARE), str(args.seed), json.dumps(FAULTS)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        urls = json.loads(server.stdout.readline())

        def counted() -> dict[str, int]:
            assert server.stdin is not None
            assert server.stdout is not None
            server.stdin.write("\n")
            server.stdin.flush()
            counts: dict[str, int] = json.loads(server.stdout.readline())
            return counts

        checks = 2 * len(TARGETS)
        account, memory, grown = asyncio.run(soak(urls, total, args.concurrency, report))
        theirs = counted()
        server.stdin.close()
    for name in SERVERS:
        asked = sum(1 for target in TARGETS if TARGETS[target][0] == name) * 2
        report.row(provider=name, calls_we_made=account.calls[name],
                   calls_it_counted=theirs.get(name, 0) - asked)  # fmt: skip
    for kind, times in account.failed.most_common():
        report.row(error=kind, requests=times)
    ours = account.calls.total()
    report.check("lost", account.lost, "<=", 0)
    report.check("calls_differ", abs(ours - (sum(theirs.values()) - checks)), "<=", 0)
    bound = 20.0 if total >= 100_000 else 400.0
    reason = "" if slope(memory) is not None else "too few requests for a slope"
    report.check("rss_slope_kb_per_1000", slope(memory), "<=", bound, reason)
    report.check("fd_growth", grown, "<=", 0)
    report.note(f"resident set {memory[0] if memory else 0} KiB after the first 1,000 requests, "
                f"{memory[-1] if memory else 0} KiB at the end")  # fmt: skip
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
