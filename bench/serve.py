"""Compare ``phi2 serve`` with litellm's proxy and with a bare reverse proxy of aiohttp.

    python bench/serve.py --quick             the checks of the gateway, in about 50 s
    python bench/serve.py --json serve.json   more rounds, and the local engine (some minutes)
    python bench/serve.py --engine            only the local engine, with 16 clients
    python bench/serve.py --faults            only the faults, with 1,000 clients

The gateways forward to the same server with fixed replies. The server and the clients use one
core, and the gateway that is measured uses another. Rounds alternate between the gateways. Each
ratio is computed within a round, and the median over the rounds is reported. Without a gateway,
the same client sends to the server directly; the difference is the latency that a gateway adds.
``--engine`` serves the bundled checkpoint in float32 (see bench/serve_engine.py), and ``--faults``
checks that every request is answered or refused (see bench/serve_faults.py).
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from client import CORES, IN_FLIGHT, Process, ratio
from client_base import BODY, KEY, MODEL
from common import HERE, Report, median, parser, peer_python, peer_versions, percentile
from serve_process import Server, free_port

NAMES = {
    "direct": "no gateway",
    "bare": "aiohttp reverse proxy",
    "ours": "phi2 serve",
    "litellm": "litellm proxy",
}
TARGET = """\
[targets.upstream]
backend = "openai"
base_url = "{url}/v1"
model = "{model}"
server = "vllm"

[serve.routes]
"{model}" = ["upstream"]
"""
LITELLM = """\
model_list:
  - model_name: {model}
    litellm_params: {{ model: openai/{model}, api_base: {url}/v1, api_key: {key} }}
"""


class Gateways:
    """The server with fixed replies, the gateways, and a client for each of them."""

    def __init__(self, stack: ExitStack, report: Report) -> None:
        self.report = report
        self.missing: dict[str, str] = {}
        self.servers: dict[str, Server] = {}
        self._stack = stack
        self._workers: dict[str, Process] = {}
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="phi2-serve-")))
        command = [sys.executable, "client_server.py", "--core", str(CORES[-1])]
        upstream = stack.enter_context(Process(command)).read()["http"]
        self.urls = {"direct": upstream}
        for name, make in (("bare", _bare), ("ours", _ours), ("litellm", _litellm)):
            try:
                self._start(name, make(upstream, folder, free_port()))
            except (RuntimeError, OSError) as error:
                self.missing[name] = str(error)
                report.note(f"{NAMES[name]} is excluded: {error}")

    def _start(self, name: str, server: Server) -> None:
        self.servers[name] = self._stack.enter_context(server)
        self.urls[name] = server.url

    def worker(self, name: str) -> Process:
        """Return the client of a gateway."""
        if name not in self._workers:
            command = [sys.executable, "client_worker.py", "aiohttp", self.urls[name], ""]
            self._workers[name] = self._stack.enter_context(Process([*command, str(CORES[-1])]))
        return self._workers[name]

    def load(self, name: str, seconds: float, concurrency: int) -> dict[str, float]:
        """Measure requests/s, and CPU seconds of the gateway per request."""
        worker, server = self.worker(name), self.servers.get(name)
        warm = worker.ask(do="load", requests=2 * concurrency, concurrency=concurrency)
        requests = max(concurrency, int(warm["rps"] * seconds))
        before = server.cpu() if server is not None else 0.0
        said = worker.ask(do="load", requests=requests, concurrency=concurrency)
        used = server.cpu() - before if server is not None else 0.0
        return {"rps": said["rps"], "cpu": used / requests}

    def latency(self, name: str, requests: int) -> dict[str, float]:
        """Measure the latency of requests one after another, in ms."""
        taken = self.worker(name).ask(do="each", requests=requests)["ms"]
        return {"p50": percentile(taken, 0.5), "p99": percentile(taken, 0.99)}

    def streams(self, name: str) -> dict[str, float]:
        """Measure the delay of the chunks of 64 streams, from sending to reading, in ms."""
        lags = self.worker(name).ask(do="stream", streams=IN_FLIGHT)["lags"]
        if len(lags) < 1000:
            raise RuntimeError(f"only {len(lags)} chunks arrived")
        return {"p50": percentile(lags, 0.5), "p99": percentile(lags, 0.99)}


def _bare(upstream: str, folder: Path, port: int) -> Server:
    return Server([sys.executable, str(HERE / "serve_proxy.py"), upstream, str(port)], port, BODY)


def _ours(upstream: str, folder: Path, port: int) -> Server:
    path = folder / "phi2.toml"
    path.write_text(TARGET.format(url=upstream, model=MODEL), encoding="utf-8")
    command = [sys.executable, "-m", "phi2sdk.cli", "serve", "--config", str(path)]
    return Server([*command, "--port", str(port)], port, BODY)


def _litellm(upstream: str, folder: Path, port: int) -> Server:
    python = peer_python("litellm-proxy")
    path = folder / "litellm.yaml"
    path.write_text(LITELLM.format(url=upstream, model=MODEL, key=KEY), encoding="utf-8")
    command = [str(python), str(python.parent / "litellm"), "--config", str(path)]
    options = ["--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    options += ["--keepalive_timeout", "75"]  # the clients wait while others are measured
    return Server([*command, *options], port, BODY)


def measure(gateways: Gateways, *, quick: bool) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Measure every gateway in alternating rounds."""
    found: dict[str, dict[str, list[dict[str, float]]]] = {}
    names = [name for name in NAMES if name in gateways.urls]
    kinds: dict[str, Any] = {
        "load": lambda name: gateways.load(name, 0.8 if quick else 3.0, IN_FLIGHT),
        "latency": lambda name: gateways.latency(name, 150 if quick else 600),
        "streams": gateways.streams,
    }
    for kind, one in kinds.items():
        count = (3 if kind == "load" else 2) if quick else 5
        results: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for number in range(count):
            for name in names if number % 2 == 0 else names[::-1]:
                results[name].append(one(name))
        found[kind] = results
    return found


def rows(gateways: Gateways, found: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    """Add the table of the gateways."""

    def value(kind: str, name: str, key: str) -> float:
        return median(round_[key] for round_ in found[kind][name])

    for name in found["load"]:
        server = gateways.servers.get(name)
        gateways.report.row(
            gateway=NAMES[name],
            rps_64=round(value("load", name, "rps")),
            cpu_ms=round(value("load", name, "cpu") * 1e3, 3),
            p50_ms=round(value("latency", name, "p50"), 3),
            p99_ms=round(value("latency", name, "p99"), 3),
            chunk_lag_p50_ms=round(value("streams", name, "p50"), 3),
            chunk_lag_p99_ms=round(value("streams", name, "p99"), 3),
            rss_mib=round(server.rss_mib()) if server is not None else None,
            ready_s=round(server.ready_s, 2) if server is not None else None,
        )


def checks(gateways: Gateways, found: dict[str, dict[str, list[dict[str, float]]]]) -> None:
    """Add the checks of the gateway."""
    report = gateways.report

    def of(kind: str, name: str, key: str) -> list[float] | None:
        rounds = found[kind].get(name)
        return None if rounds is None else [round_[key] for round_ in rounds]

    def reason(*names: str) -> str:
        return "; ".join(gateways.missing[name] for name in names if name in gateways.missing)

    value = ratio(of("load", "ours", "rps"), of("load", "litellm", "rps"))
    report.check("rps_vs_litellm_proxy", value, ">=", 5.0, reason("ours", "litellm"))
    ours, direct = of("latency", "ours", "p50"), of("latency", "direct", "p50")
    added = median(a - b for a, b in zip(ours, direct, strict=True)) if ours and direct else None
    report.check("added_p50_ms", added, "<=", 1.5, reason("ours"))
    value = ratio(of("load", "ours", "cpu"), of("load", "bare", "cpu"))
    report.check("cpu_vs_bare_proxy", value, "<=", 2.5, reason("ours", "bare"))
    if (server := gateways.servers.get("ours")) is not None:
        report.check("ready_s", round(server.ready_s, 2), "<=", 10.0)
        report.check("rss_mib", round(server.rss_mib()), "<=", 170.0)


def main() -> int:
    """Run the benchmark, and return 0 if every check holds."""
    made = parser(__doc__)
    made.add_argument("--engine", action="store_true", help="measure only the local engine")
    made.add_argument("--faults", action="store_true", help="check only the faults")
    args = made.parse_args()
    report = Report("serve", args, ["phi2sdk", "aiohttp"])
    started = time.monotonic()
    if args.faults:
        import serve_faults

        serve_faults.run(report)
    else:
        if not args.engine:
            try:
                report.versions |= peer_versions("litellm-proxy", ["litellm"])
            except RuntimeError as error:
                report.note(str(error))
            with ExitStack() as stack:
                gateways = Gateways(stack, report)
                found = measure(gateways, quick=args.quick)
                rows(gateways, found)
                checks(gateways, found)
        if args.engine or not args.quick:
            import serve_engine

            serve_engine.run(report)
    report.note(f"the benchmark took {time.monotonic() - started:.0f} s")
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
