"""Measure the error of the measured latencies before a run, with servers whose times are known.

For each wire that a run uses (HTTP, gRPC, and a thread of this process), requests go to a reference
server in the same way as to a target. The measurement error of a latency is the reported latency
minus the time that the server took from reading the request to the write.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict, dataclass
from time import perf_counter_ns

import numpy as np

from phi2sdk import prompts
from phi2sdk.backends.base import Backend, Capabilities
from phi2sdk.completion import Chunk, Count, Done, Event, Opened, Request, Sent, Usage
from phi2sdk.errors import ConfigurationError, Phi2Error
from phi2sdk.fold import Fold
from phi2sdk.measure.reference_server import Answered, Scenario
from phi2sdk.sampling import Dialect, Rule, Sampling
from phi2sdk.secret import Secret

WIRES: Mapping[str, str] = {
    "azure": "http",
    "hf": "http",
    "openai": "http",
    "clarifai": "grpc",
    "local": "thread",
}
"""The wire of each built-in backend; there is no calibration for third-party backends."""

SCENARIO = Scenario(first=0.006, gap=0.002, writes=5)
REQUESTS = 100


@dataclass(frozen=True, slots=True)
class Error:
    """The absolute error of a latency in seconds, over the requests of a calibration."""

    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The measurement error on one wire, with ``streams`` requests in flight."""

    wire: str
    streams: int
    n: int
    ttft: Error
    e2e: Error


async def calibrate(wires: Iterable[str], *, streams: int = 1) -> list[Calibration]:
    """Calibrate each wire, except those that do not work on this machine.

    Args:
        wires: ``http``, ``grpc``, ``thread``.
        streams: Number of requests in flight, as in the run that follows.
    """
    found = []
    for wire in sorted(set(wires)):
        try:
            found.append(await _BY_WIRE[wire](streams))
        except (Phi2Error, OSError, ImportError):
            continue  # without loopback or a package, the report states that the error is unknown
    return found


async def measure_errors(
    backend: Backend, streams: int, log: Callable[[], object], *, requests: int = REQUESTS
) -> tuple[list[float], list[float]]:
    """Return the signed errors of TTFT and E2E in seconds, by request.

    Args:
        backend: A backend connected to a reference server.
        streams: Number of requests in flight.
        log: Returns the log of the server; may be a coroutine function.
        requests: Total number of requests.
    """
    names = iter([f"reference {i}" for i in range(max(requests, 2 * streams))])
    accounts: dict[str, Fold] = {}

    async def worker() -> None:
        for name in names:
            request = Request(prompts.raw(name), Sampling(max_tokens=4096), timeout=30)
            accounts[name] = account = Fold(request)
            async with aclosing(backend.stream(request)) as events:
                async for event in events:
                    account.take(event)

    await asyncio.gather(*(worker() for _ in range(streams)))
    told = log()
    rows = await told if asyncio.iscoroutine(told) else told
    ttft, e2e = [], []
    for row in _answered(rows):
        timing = accounts[row.prompt].timing() if row.prompt in accounts else None
        if timing is None or timing.ttft is None or not row.write_ns:
            continue
        ttft.append(timing.ttft - (row.write_ns[0] - row.read_ns) / 1e9)
        e2e.append(timing.e2e - (row.write_ns[-1] - row.read_ns) / 1e9)
    return ttft, e2e


@asynccontextmanager
async def reference_server_process(module: str, scenario: Scenario) -> AsyncGenerator[int, None]:
    """A reference server in a process of its own: its port."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, json.dumps(asdict(scenario))),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), 30)
        if not line.strip().isdigit():
            raise ConfigurationError("the reference server did not start")
        yield int(line)
    finally:
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), 5)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _http(streams: int) -> Calibration:
    from phi2sdk.backends.openai import OpenAIBackend
    from phi2sdk.transport.http import HttpTransport

    async with reference_server_process("phi2sdk.measure.reference_server", SCENARIO) as port:
        base = f"http://127.0.0.1:{port}"
        backend = OpenAIBackend(base_url=f"{base}/v1", model="reference")
        control = HttpTransport(base, provider="reference")

        async def log() -> object:
            async with control.get("/log") as reply:
                return (await reply.json())[1]

        try:
            await _warm(backend, log)
            return _calibration("http", streams, *await measure_errors(backend, streams, log))
        finally:
            await backend.close()
            await control.close()


async def _grpc(streams: int) -> Calibration:
    from phi2sdk.backends.clarifai import ClarifaiBackend

    async with reference_server_process("phi2sdk.measure.reference_server_grpc", SCENARIO) as port:
        backend = ClarifaiBackend(api_key=Secret("reference"), base=f"http://127.0.0.1:{port}")

        async def log() -> object:
            request = Request(prompts.raw("log"), Sampling(max_tokens=1), stream=False)
            account = Fold(request)
            async with aclosing(backend.stream(request)) as events:
                async for event in events:
                    account.take(event)
            return json.loads(account.completion().raw_text)

        try:
            await _warm(backend, log)
            return _calibration("grpc", streams, *await measure_errors(backend, streams, log))
        finally:
            await backend.close()


async def _thread(streams: int) -> Calibration:
    backend = _GoldenThread(SCENARIO)
    return _calibration(
        "thread", streams, *await measure_errors(backend, streams, backend.take_log)
    )


_BY_WIRE = {"http": _http, "grpc": _grpc, "thread": _thread}


async def _warm(backend: Backend, log: Callable[[], object]) -> None:
    """One request that opens the connection, apart from the others."""
    await measure_errors(backend, 1, log, requests=2)


def _calibration(
    wire: str, streams: int, ttft: Sequence[float], e2e: Sequence[float]
) -> Calibration:
    if not ttft:
        raise ConfigurationError(f"nothing came over the wire {wire}")
    return Calibration(wire, streams, len(ttft), _error(ttft), _error(e2e))


def _error(signed: Sequence[float]) -> Error:
    p50, p99 = np.quantile(np.abs(signed), [0.5, 0.99], method="inverted_cdf")
    return Error(float(p50), float(p99))


def _answered(rows: object) -> list[Answered]:
    assert isinstance(rows, list)
    return [row if isinstance(row, Answered) else Answered(**row) for row in rows]


class _GoldenThread(Backend):
    """Tokens from a thread of this process, as a local model's come."""

    provider = "reference"

    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        self._scenario = scenario
        self._log: list[Answered] = []

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities()

    @property
    def dialect(self) -> Dialect:
        return Dialect(
            "reference", {"max_tokens": Rule("max_tokens"), "temperature": Rule("temperature")}
        )

    def take_log(self) -> list[Answered]:
        """Return the requests answered since the last call."""
        log, self._log = self._log, []
        return log

    async def stream(self, request: Request) -> AsyncGenerator[Event, None]:
        _, receipt = self.prepare(request)
        loop = asyncio.get_running_loop()
        mailbox: asyncio.Queue[int] = asyncio.Queue()
        sent_ns = perf_counter_ns()
        yield Sent(sent_ns, receipt, True)
        answered = Answered(request.prompt.text, perf_counter_ns())
        self._log.append(answered)

        def work() -> None:
            for write in range(self._scenario.writes):
                due_ns = answered.read_ns + round(self._scenario.due(write) * 1e9)
                time.sleep(max(0.0, (due_ns - perf_counter_ns()) / 1e9))
                answered.write_ns.append(perf_counter_ns())
                loop.call_soon_threadsafe(mailbox.put_nowait, write)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        for write in range(self._scenario.writes):
            await mailbox.get()
            now = perf_counter_ns()
            if write == 0:
                yield Opened(now)
            yield Chunk(f" w{write}", f" w{write}", now, tokens=1)
        thread.join()
        yield Done(perf_counter_ns(), "length", Usage(output_billed=Count(self._scenario.writes)))
