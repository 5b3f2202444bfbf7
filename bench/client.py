"""Compare the client with aiohttp, grpc.aio, the vendors' SDKs, litellm, any-llm and aisuite.

    python bench/client.py --quick             the checks, in under 50 s
    python bench/client.py --json client.json  everything, in about five minutes
    python bench/client_plot.py client.json    draw docs/how-it-works/client.svg

A server process with fixed replies uses one core. Each client has a separate process and
environment, and the clients take turns on another core. Rounds alternate between the clients. Each
ratio is computed within a round, and the median over the rounds is reported. All clients request
the same chat completion with the same parameters through asyncio, with 64 requests in flight,
except where a row states another setting.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, Self

from client_layers import LAYERS
from client_peers import PEERS
from common import (
    HERE,
    Report,
    arguments,
    interquartile,
    median,
    peer_python,
    peer_versions,
    percentile,
)

IN_FLIGHT = 64
STREAM_ROUNDS = 9
NAMES = {
    "ours": "phi2sdk",
    "ours completions": "phi2sdk (completions)",
    "ours azure score": "phi2sdk (azure score)",
    "ours azure chat": "phi2sdk (azure chat)",
    "ours hf tgi": "phi2sdk (hf tgi)",
    "ours clarifai": "phi2sdk (clarifai)",
    "aiohttp": "aiohttp",
    "grpc": "grpc.aio (clarifai)",
    "openai": "openai",
    "azure": "azure-ai-inference",
    "hf": "huggingface_hub",
    "clarifai": "clarifai (64 threads)",
    "litellm": "litellm",
    "anyllm": "any-llm",
    "aisuite": "aisuite (64 threads)",
}
QUIET = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # without it, the import waits for a download
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
CORES = sorted(os.sched_getaffinity(0))


class Process:
    """A child process that answers lines of JSON, and ends when its standard input is closed."""

    def __init__(self, command: list[str]) -> None:
        self._child = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=HERE,
            env=os.environ | QUIET,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        try:
            self._child.wait(20)
        except subprocess.TimeoutExpired:
            self._child.kill()

    def read(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise RuntimeError("the process ended")
        answer: dict[str, Any] = json.loads(line)
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return answer

    def ask(self, **command: Any) -> dict[str, Any]:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(command) + "\n")
        self._child.stdin.flush()
        return self.read()


class Bench:
    """The server, the workers, and the failures of clients."""

    def __init__(self, stack: ExitStack, report: Report) -> None:
        self.report = report
        self.failed: dict[str, str] = {}
        self._stack = stack
        self._workers: dict[str, Process] = {}
        server = [sys.executable, "client_server.py", "--core", str(CORES[-1])]
        if not report.quick:
            server.append("--grpc")
        self._server = stack.enter_context(Process(server))
        self._urls = self._server.read()
        self.http: str = self._urls["http"]

    def worker(self, name: str) -> Process:
        """Return the process of a client, which is started on first use."""
        if name not in self._workers:
            self._workers[name] = self._stack.enter_context(self.fresh(name))
        return self._workers[name]

    def fresh(self, name: str) -> Process:
        """Start a new process for one measurement."""
        python = sys.executable if name.startswith("ours") else str(peer_python(name))
        urls = self._urls["http"], self._urls["grpc"]
        return Process([python, "client_worker.py", name, *urls, str(CORES[0])])

    def each(self, names: Iterable[str], measure: Callable[[str], Any]) -> dict[str, Any]:
        """Measure every client once. A client that fails is excluded from later rounds."""
        results = {}
        for name in names:
            if name in self.failed:
                continue
            try:
                results[name] = measure(name)
            except (RuntimeError, OSError, json.JSONDecodeError) as error:
                self.failed[name] = str(error)
                self.report.note(f"{NAMES[name]} is excluded because it failed: {error}")
        return results

    def rounds(
        self, names: Iterable[str], count: int, measure: Callable[[str], Any]
    ) -> dict[str, list[Any]]:
        """Run rounds, every second one in reverse order, so that drift cancels out."""
        order = list(names)
        found: dict[str, list[Any]] = {name: [] for name in order}
        for number in range(count):
            turn = order if number % 2 == 0 else order[::-1]
            for name, value in self.each(turn, measure).items():
                found[name].append(value)
        return {name: values for name, values in found.items() if len(values) == count}


def ratio(ours: list[float] | None, theirs: list[float] | None) -> float | None:
    """Return the median over the rounds of ``ours`` divided by ``theirs``."""
    if not ours or not theirs:
        return None
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def first_clients(bench: Bench, names: list[str], count: int) -> dict[str, list[dict[str, float]]]:
    """Measure time and memory until a client is built, in a new process for each round."""

    def measure(name: str) -> dict[str, float]:
        with bench.fresh(name) as process:
            return process.ask(do="first")

    return bench.rounds(names, count, measure)


def first_clients_quickly(bench: Bench) -> dict[str, list[dict[str, float]]]:
    """Measure only what the check needs, and import litellm, which takes seconds, only once."""
    found = first_clients(bench, ["ours"], 3)
    # The process that also makes the other measurements.
    once = bench.each(["litellm"], lambda name: bench.worker(name).ask(do="first"))
    return found | {name: [said] * 3 for name, said in once.items()}


def layers(bench: Bench, rounds: int) -> dict[str, list[float]]:
    """Return the CPU microseconds per request, adding one layer of the client at a time."""
    command = [sys.executable, "client_layers.py", bench.http, str(CORES[0]), str(rounds)]
    with Process(command) as process:
        return process.read()


def loads(
    bench: Bench, names: list[str], count: int, seconds: float
) -> dict[str, list[dict[str, float]]]:
    """Measure requests/s and CPU per request with 64 requests in flight."""
    requests: dict[str, int] = {}

    def warm(name: str) -> None:
        worker = bench.worker(name)
        # Twice, because opening the connections takes longer than all later requests.
        for _ in range(2):
            said = worker.ask(do="load", requests=IN_FLIGHT, concurrency=IN_FLIGHT)
        requests[name] = max(IN_FLIGHT, int(said["rps"] * seconds))

    def measure(name: str) -> dict[str, float]:
        worker = bench.worker(name)
        return worker.ask(do="load", requests=requests[name], concurrency=IN_FLIGHT)

    bench.each(names, warm)
    return bench.rounds(names, count, measure)


def streams(bench: Bench, names: list[str], count: int) -> dict[str, list[dict[str, float]]]:
    """Measure the delay of chunks from sending to reading, with 64 streams of 20 chunks/s."""

    def measure(name: str) -> dict[str, float]:
        said = bench.worker(name).ask(do="stream", streams=IN_FLIGHT)
        lags = said["lags"]
        if len(lags) < 2000:
            raise RuntimeError(f"only {len(lags)} chunks arrived")
        return {
            "chunks": len(lags),
            "p50": percentile(lags, 0.5),
            "p99": percentile(lags, 0.99),
            "cpu": said["cpu"],
        }

    return bench.rounds(names, count, measure)


def syncs(bench: Bench, names: list[str], count: int, requests: int) -> dict[str, list[float]]:
    """Return the p50 latency of sequential requests through the synchronous client, in ms."""

    def measure(name: str) -> float:
        said = bench.worker(name).ask(do="sync", requests=requests)
        return percentile(said["ms"], 0.5)

    bench.each(names, measure)
    return bench.rounds(names, count, measure)


def run(report: Report) -> None:
    quick = report.quick
    with ExitStack() as stack:
        bench = Bench(stack, report)
        main = ["aiohttp", "ours", "openai", "litellm"]
        others = [name for name in PEERS if name not in main]
        firsts = (
            first_clients_quickly(bench)
            if quick
            else first_clients(bench, [*main, "azure", "hf", "clarifai", "anyllm", "aisuite"], 5)
        )
        load = loads(bench, main, 5 if quick else 9, 0.2 if quick else 0.7)
        sync = syncs(
            bench,
            ["ours", "openai"] if quick else ["ours", "openai", "azure", "hf", "litellm", "anyllm",
                                              "aisuite", "ours clarifai", "clarifai"],
            3 if quick else 5,
            100 if quick else 200,
        )  # fmt: skip
        lag = streams(bench, ["aiohttp", "ours"], STREAM_ROUNDS)
        if not quick:
            load |= loads(bench, others, 5, 0.5)
            lag |= streams(
                bench,
                ["openai", "azure", "hf", "litellm", "ours hf tgi", "grpc", "ours clarifai"],
                3,
            )
            _layer_rows(report, layers(bench, 9))
        _rows(report, load, sync, lag, firsts)
        _checks(report, bench, load, sync, lag, firsts)


def _rows(report: Report, load: Any, sync: Any, lag: Any, firsts: Any) -> None:
    for name in PEERS:
        if name in load:
            rps = [said["rps"] for said in load[name]]
            cpu = [said["cpu"] * 1e3 for said in load[name]]
            low, high = interquartile(rps)
            report.row(
                client=NAMES[name],
                rps=round(median(rps)),
                rps_quarters=f"{low:.0f}-{high:.0f}",
                cpu_ms=round(median(cpu), 3),
                sync_p50_ms=round(median(sync[name]), 3) if name in sync else None,
            )
    for name in PEERS:
        if name in lag:
            report.row(
                stream=NAMES[name],
                chunks=min(said["chunks"] for said in lag[name]),
                lag_p50_ms=round(median(said["p50"] for said in lag[name]), 3),
                lag_p99_ms=round(median(said["p99"] for said in lag[name]), 3),
                cpu_ms_a_chunk=round(median(said["cpu"] for said in lag[name]) * 1e3, 3),
            )
    for name in PEERS:
        if name in firsts:
            report.row(
                first_client=NAMES[name],
                seconds=round(median(said["client"] for said in firsts[name]), 3),
                mib=round(median(said["mib"] for said in firsts[name]), 1),
                seconds_to_first_answer=round(median(said["answer"] for said in firsts[name]), 3),
            )


def _layer_rows(report: Report, found: dict[str, list[float]]) -> None:
    before = 0.0
    for name, what in LAYERS.items():
        times = median(a / b for a, b in zip(found[name], found["aiohttp"], strict=True))
        cost = median(found[name])
        report.row(
            layer=name,
            what=what,
            cpu_us=round(cost, 1),
            adds_us=round(cost - before, 1),
            times_aiohttp=round(times, 2),
        )
        before = cost


def _checks(report: Report, bench: Bench, load: Any, sync: Any, lag: Any, firsts: Any) -> None:
    def of(found: Any, name: str, key: str) -> list[float] | None:
        return [said[key] for said in found[name]] if name in found else None

    def check(name: str, value: float | None, op: Any, bound: float, *peers: str) -> None:
        missing = [f"{NAMES[p]}: {bench.failed[p]}" for p in peers if p in bench.failed]
        reason = "; ".join(missing) or "some rounds failed"
        report.check(name, value, op, bound, "" if value is not None else reason)

    cpu, rps = of(load, "ours", "cpu"), of(load, "ours", "rps")
    both = ("ours", "aiohttp")
    check("cpu_vs_aiohttp", ratio(cpu, of(load, "aiohttp", "cpu")), "<=", 2.0, *both)
    for peer, bound in (("openai", 4.0), ("litellm", 10.0)):
        value = ratio(rps, of(load, peer, "rps"))
        check(f"rps_vs_{peer}", value, ">=", bound, "ours", peer)
    value = ratio(sync.get("ours"), sync.get("openai"))
    check("sync_p50_vs_openai", value, "<=", 0.5, "ours", "openai")
    value = ratio(of(firsts, "ours", "client"), of(firsts, "litellm", "client"))
    check("first_client_vs_litellm_import", value, "<=", 0.125, "ours", "litellm")
    value = ratio(of(lag, "ours", "p99"), of(lag, "aiohttp", "p99"))
    check("stream_lag_p99_vs_aiohttp", value, "<=", 1.5, *both)


def main() -> int:
    """Run the benchmark, and return 0 if every check holds."""
    args = arguments(__doc__)
    report = Report("client", args, ["phi2sdk", "aiohttp"])
    peers = ["aiohttp", "openai", "litellm"]
    if not args.quick:
        peers += ["grpc", "azure", "hf", "clarifai", "anyllm", "aisuite"]
    for name in peers:
        try:
            for package, version in peer_versions(name, PEERS[name].packages).items():
                report.versions[package] = version
        except (RuntimeError, subprocess.CalledProcessError) as error:
            report.note(f"{NAMES[name]} could not be installed: {error}")
    started = time.monotonic()
    run(report)
    report.note(f"the benchmark took {time.monotonic() - started:.0f} s")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
