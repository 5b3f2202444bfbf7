"""Measure the error of the reported latencies, for phi2sdk and for other load tools.

A reference server in another process streams on a known schedule, and records when it read each
request and when it made each write. The error is the reported time minus the time at the server.
The scenarios are steady writes, bursts, several tokens per write, a stall, a role frame long before
the first content, and a slow first token. The tools run in turn on the same server.

``--simulate`` instead prints how often intervals cover the true value and verdicts are correct.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import tempfile
import zlib
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from time import perf_counter_ns
from typing import Any
from urllib.parse import quote

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.common import Report, median, parser, peer_versions, percentile
from bench.measure_peers import PEERS, Reported
from phi2sdk import prompts
from phi2sdk.analysis.metrics import E2E, TTFT, tpot
from phi2sdk.client import AsyncPhi2Client
from phi2sdk.completion import Request
from phi2sdk.config import Target
from phi2sdk.measure.calibration import reference_server_process
from phi2sdk.measure.journal import Journal
from phi2sdk.measure.records import Record
from phi2sdk.measure.reference_server import Answered, Scenario
from phi2sdk.measure.runner import Runner
from phi2sdk.measure.schedule import Load, plan
from phi2sdk.measure.tokens import ReferenceTokenizer
from phi2sdk.sampling import Sampling
from phi2sdk.transport.http import HttpTransport

SCENARIOS = {
    "steady": Scenario(first=0.05, gap=0.02, writes=15),
    "bursty": Scenario(first=0.05, gap=0.02, writes=15, burst=5),
    "several tokens": Scenario(first=0.05, gap=0.02, writes=15, tokens=4),
    "stall": Scenario(first=0.05, gap=0.02, writes=15, stall=(8, 0.3)),
    "role first": Scenario(first=0.30, gap=0.02, writes=8, role_at=0.01),
    "slow first": Scenario(first=0.50, gap=0.02, writes=8),
}
ROUNDS = 9
Truth = dict[str, Answered]


class ReferenceServer:
    """A client of the reference server."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._wire = HttpTransport(self.url, provider="reference")

    async def scenario(self, scenario: Scenario) -> None:
        """Set the scenario of the following requests."""
        await self._get(f"/scenario/{quote(json.dumps(asdict(scenario)), safe='')}")
        await self._get("/log")

    async def log(self) -> list[Answered]:
        """Return the requests that the server answered since the last call."""
        return [Answered(**row) for row in await self._get("/log")]

    async def close(self) -> None:
        await self._wire.close()

    async def _get(self, path: str) -> Any:
        async with self._wire.get(path) as reply:
            return (await reply.json())[1]


async def ours(
    reference: ReferenceServer, streams: int, requests: int, *, chat: bool
) -> list[Reported]:
    """Measure requests with the code of a comparison: client, runner, journal, metrics."""
    seen: list[Record] = []
    settings = {
        "base_url": f"{reference.url}/v1",
        "model": "reference",
        "route": "chat" if chat else "completions",
    }
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncPhi2Client(Target("t", "openai", settings)) as client:
            with Journal(Path(folder) / "records.jsonl") as journal:
                sampling = Sampling(max_tokens=4096)
                runner = Runner(
                    {"t": client},
                    lambda key: Request(prompts.raw(key.prompt), sampling, timeout=60),
                    journal,
                    seen.append,
                    perf_counter_ns(),
                )
                load = Load("closed", streams)
                await runner.run(plan(load, ["t"], [f"warm {i}" for i in range(streams)]))
                await runner.run(plan(load, ["t"], [f"reference {i:04d}" for i in range(requests)]))
    return [_reported(record) for record in seen if record.key.prompt.startswith("reference")]


WORDS = ReferenceTokenizer(
    "words",
    estimated=False,
    _encode=lambda text: tuple(zlib.crc32(word.encode()) for word in text.split()),
    _spans=lambda text: [match.span() for match in re.finditer(r"\S+", text)],
)
"""A tokenizer by words, which are the tokens of the reference server."""


def _reported(record: Record) -> Reported:
    (ttft,), (e2e,) = TTFT.values(record), E2E.values(record)
    return Reported(record.key.prompt, ttft, e2e, next(iter(tpot(WORDS).values(record)), None))


def errors(
    reported: list[Reported], log: list[Answered], scenario: Scenario, *, skip: int
) -> dict[str, float]:
    """Return p50 and p99 of the absolute errors in ms, and the median relative error of TPOT.

    Requests are matched by their prompt. If a tool does not report it, requests are matched by
    rank, which can only make the errors smaller. The first ``skip`` requests are excluded, because
    they open connections (by rank: the requests with the longest times to first token).
    """
    answered = sorted((one for one in log if one.write_ns), key=lambda one: one.read_ns)
    truth = [_truth(one, scenario) for one in answered[skip:]]
    if reported and reported[0].prompt is not None:
        by_prompt = {t.prompt: t for t in truth}
        pairs = [(r, by_prompt[r.prompt]) for r in reported if r.prompt in by_prompt]
        ttft = [(r.ttft, t.ttft) for r, t in pairs]
        e2e = [(r.e2e, t.e2e) for r, t in pairs]
        tpot = [(r.tpot, t.tpot) for r, t in pairs]
    else:
        reported = sorted(reported, key=lambda r: r.ttft)
        n = min(len(reported), len(truth))
        ttft = _by_rank([r.ttft for r in reported], [t.ttft for t in truth], n)
        e2e = _by_rank([r.e2e for r in reported], [t.e2e for t in truth], n)
        tpot = [(r.tpot, t.tpot) for r, t in zip(reported[:n], truth[:n], strict=True)]
    if not ttft:
        raise RuntimeError("none of its requests matches a request at the server")
    found = {}
    for name, values in (("ttft", ttft), ("e2e", e2e)):
        wrong = [abs(a - b) * 1e3 for a, b in values]
        found[f"{name}_p50_ms"] = percentile(wrong, 0.5)
        found[f"{name}_p99_ms"] = percentile(wrong, 0.99)
    shares = [abs(a / b - 1) for a, b in tpot if a is not None and b]
    found["tpot_share"] = median(shares) if shares else float("nan")
    return found


def _by_rank(a: list[float], b: list[float], n: int) -> list[tuple[float, float]]:
    return list(zip(sorted(a)[:n], sorted(b)[:n], strict=True))


def _truth(answered: Answered, scenario: Scenario) -> Reported:
    first, last = answered.write_ns[0], answered.write_ns[-1]
    after = scenario.tokens * (len(answered.write_ns) - 1)
    return Reported(
        answered.prompt,
        (first - answered.read_ns) / 1e9,
        (last - answered.read_ns) / 1e9,
        (last - first) / 1e9 / after if after else None,
    )


async def measure(report: Report, rounds: int, scenarios: list[str], peers: bool) -> None:
    """Measure all scenarios, and add rows and checks to the report."""
    ours_at: dict[tuple[int, str], list[dict[str, float]]] = {}
    peers_at: dict[tuple[str, str], list[dict[str, float]]] = {}
    reasons: dict[str, str] = {}
    levels = (16, 64) if report.quick else (1, 16, 64, 256)
    async with reference_server_process("phi2sdk.measure.reference_server", Scenario()) as port:
        reference = ReferenceServer(port)
        for turn in range(rounds):
            for name in scenarios:
                scenario, chat = SCENARIOS[name], name == "role first"
                await reference.scenario(scenario)
                for streams in levels:
                    requests = max(4 * streams, 128)
                    if streams == 1:
                        requests = 12
                    found = await ours(reference, streams, requests, chat=chat)
                    wrong = errors(found, await reference.log(), scenario, skip=streams)
                    ours_at.setdefault((streams, name), []).append(wrong)
                if not peers or turn % 3 or (report.quick and not chat):
                    continue  # peers take long: fewer rounds and scenarios
                for tool in PEERS:
                    if tool.name in reasons:
                        continue
                    try:
                        told = await asyncio.to_thread(
                            tool.run, port, streams=16, requests=64, chat=chat
                        )
                        wrong = errors(told, await reference.log(), scenario, skip=16)
                    except (RuntimeError, OSError) as error:
                        reasons[tool.name] = str(error)
                        continue
                    peers_at.setdefault((tool.name, name), []).append(wrong)
        await reference.close()
    for (streams, name), found_at in ours_at.items():
        report.row(tool="phi2sdk", streams=streams, scenario=name, **_middle(found_at))
    for (tool_name, name), found_at in peers_at.items():
        report.row(tool=tool_name, streams=16, scenario=name, **_middle(found_at))
    _checks(report, ours_at, peers_at, reasons)


def _middle(found: list[dict[str, float]]) -> dict[str, float]:
    return {key: median(one[key] for one in found) for key in found[0]}


def _checks(
    report: Report,
    ours_at: dict[tuple[int, str], list[dict[str, float]]],
    peers_at: dict[tuple[str, str], list[dict[str, float]]],
    reasons: dict[str, str],
) -> None:
    names = list(dict.fromkeys(name for _, name in ours_at))
    for metric in ("ttft", "e2e"):
        for streams, bound in ((16, 2.0), (64, 5.0)):
            worst = max(_middle(ours_at[(streams, n)])[f"{metric}_p99_ms"] for n in names)
            report.check(f"{metric}_error_p99_ms_{streams}", worst, "<=", bound)
    ratios = []
    for name in names:
        theirs = [_middle(v)["ttft_p99_ms"] for (_, n), v in peers_at.items() if n == name]
        if theirs:
            ratios.append(_middle(ours_at[(16, name)])["ttft_p99_ms"] / min(theirs))
    reason = "; ".join(f"{tool}: {why}" for tool, why in reasons.items())
    if not ratios:
        reason = reason or "no other tool was run"
    report.check("ttft_error_vs_best_peer", max(ratios, default=None), "<=", 1.0, reason)
    several = "several tokens" if (16, "several tokens") in ours_at else names[0]
    report.check("tpot_error_share", _middle(ours_at[(16, several)])["tpot_share"], "<=", 0.01)


def main() -> int:
    """Run the benchmark, and return 0 if every check holds."""
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, help="number of rounds (9; 3 with --quick)")
    made.add_argument("--no-peers", action="store_true", help="measure only phi2sdk")
    made.add_argument(
        "--simulate", action="store_true", help="simulate the coverage of the statistics instead"
    )
    args = made.parse_args()
    if args.simulate:
        from bench.measure_simulations import simulate

        return simulate(args)
    report = Report("measure", args, ["phi2sdk", "aiohttp"])
    scenarios = ["several tokens", "role first"] if args.quick else list(SCENARIOS)
    rounds = args.rounds or (3 if args.quick else ROUNDS)
    asyncio.run(measure(report, rounds, scenarios, not args.no_peers))
    if not args.no_peers:
        for tool in PEERS:
            with suppress(RuntimeError, OSError):
                report.versions |= peer_versions(tool.name, tool.packages)
    report.note(
        "an error is the reported time minus the time at the server; figures are medians over "
        "rounds of the p50 and p99 within a round"
    )
    report.note(
        "genai-bench does not report prompts, so its requests are matched by rank, which makes "
        "its errors smaller"
    )
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
