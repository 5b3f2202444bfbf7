"""Measure phi2 bulk: throughput, memory, losses when it is killed, and the same on a Ray cluster.

    python bench/bulk.py [--rows N] [--quick] [--json FILE]     throughput and memory
    python bench/bulk.py --kills N                              random kill -9, each resumed
    python bench/bulk.py --cluster                              three nodes of Ray on loopback

Throughput and CPU per row are compared with ``generate_many`` and with the HTTP processor of Ray
Data on the same scripted server, in alternating rounds of one run. Ray Data counts the CPU of all
its processes. Ray has an environment of its own (``bench/peers/ray.txt``).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from common import HERE, Report, median, parser, peer_python, peer_versions

CONCURRENCY = 32
PRICE = {"model": "per-token", "input": 1.0, "output": 2.0, "source": "s", "date": "2026-11-01"}


@contextmanager
def provider(delay: float = 0.0) -> Iterator[str]:
    """Serve bench/bulk_server.py, and yield its URL."""
    command = [sys.executable, HERE / "bulk_server.py", "--delay", str(delay)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        yield server.stdout.readline().decode().strip()
        assert server.stdin is not None
        server.stdin.close()


def asked(url: str, path: str) -> dict[str, Any]:
    """Return the document at a path of the server."""
    with urlopen(f"{url}/{path}", timeout=30) as response:
        document: dict[str, Any] = json.load(response)
    return document


def write_rows(path: Path, count: int) -> Path:
    with path.open("w") as file:
        for i in range(count):
            text = (
                f"Paragraph {i} " + "says that the moon pulls the sea, and that tides follow. " * 4
            )
            file.write(json.dumps({"id": f"row-{i}", "text": text}) + "\n")
    return path


def target(url: str) -> Any:
    from phi2sdk.config import Target
    from phi2sdk.pricing import resolve

    settings = {"base_url": f"{url}/v1", "model": "phi-2", "server": "openai"}
    return Target("far", "openai", settings, resolve(PRICE))


# ------------------------------------------------------------------ the processes that are measured


async def plain(url: str, path: Path, out: Path) -> int:
    from phi2sdk import AsyncPhi2Client, prompts

    texts = (prompts.summarize(json.loads(line)["text"]) for line in path.open())
    answers = 0
    async with AsyncPhi2Client(target(url)) as phi:
        async for _, answer in phi.generate_many(texts, concurrency=CONCURRENCY):
            answers += bool(answer.text)
    return answers


async def ours(url: str, path: Path, out: Path) -> int:
    from phi2sdk.bulk import bulk

    return (await bulk(path, out, target(url), concurrency=CONCURRENCY)).answered


async def memory(url: str, path: Path, out: Path) -> int:
    """Run bulk, and print the resident memory after each 10,000 rows."""
    from phi2sdk.bulk import State, bulk

    seen = [0]

    def sample(state: State) -> None:
        if state.recorded // 10_000 > seen[-1]:
            seen.append(state.recorded // 10_000)
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            print(json.dumps({"rows": state.recorded, "mib": pages * 4096 / 2**20}), flush=True)

    result = await bulk(path, out, target(url), concurrency=CONCURRENCY, progress=sample)
    return result.answered


async def ray_data(url: str, path: Path, out: Path) -> int:
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    import ray
    from ray.data.llm import HttpRequestProcessorConfig, build_processor

    ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    logging.getLogger("ray.data").setLevel("ERROR")
    ray.data.DataContext.get_current().enable_progress_bars = False
    # The loading of the cluster is not measured; the start of the actors of the processor is.
    global begun
    begun = (time.perf_counter(), descendants_cpu())
    config = HttpRequestProcessorConfig(url=f"{url}/v1/completions", qps=100_000, concurrency=1)
    processor = build_processor(
        config,
        preprocess=lambda row: {
            "id": row["id"],
            "payload": {"model": "phi-2", "prompt": row["text"], "max_tokens": 256},
        },
        postprocess=lambda row: {
            "id": row["id"],
            "text": row["http_response"]["choices"][0]["text"],
        },
    )
    processor(ray.data.read_json(str(path))).write_parquet(str(out))
    import pyarrow.parquet as parquet

    return int(parquet.read_table(out).num_rows)


WAYS = {"plain": plain, "bulk": ours, "memory": memory, "ray_data": ray_data}
begun = (0.0, 0.0)


def descendants_cpu() -> float:
    """Return the CPU seconds of this process and of all processes below it, ended ones too."""
    parents: dict[int, list[int]] = {}
    cpu: dict[int, float] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
            cpu[int(entry.name)] = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    found, total = [os.getpid()], 0.0
    while found:
        one = found.pop()
        total += cpu.get(one, 0.0)
        found += parents.get(one, [])
    return total


def measure(way: str, url: str, path: Path) -> None:
    """Measure one way in this process, and print the figures."""
    global begun
    with tempfile.TemporaryDirectory() as folder:
        begun = (time.perf_counter(), descendants_cpu())
        rows = asyncio.run(WAYS[way](url, path, Path(folder) / "out"))
        seconds, cpu = time.perf_counter() - begun[0], descendants_cpu() - begun[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"rows": rows, "seconds": seconds, "cpu": cpu, "mib": peak}), flush=True)


def measured(way: str, url: str, path: Path) -> list[dict[str, float]]:
    python = peer_python("ray") if way == "ray_data" else Path(sys.executable)
    done = subprocess.run(
        [python, __file__, "--measure", way, url, path],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith(b"{")]


# ------------------------------------------------------------------ the benchmarks


def throughput(report: Report, rows: int, rounds: int, folder: Path) -> None:
    path = write_rows(folder / "in.jsonl", rows)
    few = write_rows(folder / "few.jsonl", rows // 4)
    found: dict[str, list[dict[str, float]]] = {"plain": [], "bulk": [], "ray_data": []}
    with provider() as url:
        for _ in range(rounds):
            for way, seen in found.items():
                given = few if way == "ray_data" else path
                (figures,) = measured(way, url, given)
                expected = rows // 4 if way == "ray_data" else rows
                if figures["rows"] != expected:
                    raise RuntimeError(f"{way}: {figures['rows']} of {expected} rows")
                seen.append(figures)
    rate = {w: median(f["rows"] / f["seconds"] for f in seen) for w, seen in found.items()}
    cpu = {w: median(1e6 * f["cpu"] / f["rows"] for f in seen) for w, seen in found.items()}
    for way in found:
        report.row(way=way, rows_per_s=rate[way], cpu_us_per_row=cpu[way])
    shares = [
        b["rows"] / b["seconds"] / (p["rows"] / p["seconds"])
        for b, p in zip(found["bulk"], found["plain"], strict=True)
    ]
    report.check("rows_per_s_vs_generate_many", median(shares), ">=", 0.8)
    report.check("cpu_per_row_vs_generate_many", cpu["bulk"] / cpu["plain"], "<=", 1.25)
    report.check("rows_per_s_vs_ray_data", rate["bulk"] / rate["ray_data"], ">=", 1.0)


def flat_memory(report: Report, rows: int, folder: Path) -> None:
    path = write_rows(folder / "many.jsonl", rows)
    with provider() as url:
        *samples, last = measured("memory", url, path)
    half = samples[len(samples) // 2 :]
    xs, ys = [s["rows"] / 10_000 for s in half], [s["mib"] for s in half]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    slope /= sum((x - mean_x) ** 2 for x in xs)
    report.row(what="memory", rows=last["rows"], first_mib=samples[0]["mib"], last_mib=ys[-1])
    report.check("mib_per_10000_rows", slope, "<=", 0.5)
    report.check("answered_of_rows", last["rows"] / rows, ">=", 1.0)


def kills(report: Report, count: int, rows: int, folder: Path) -> None:
    """Kill phi2 bulk at random instants, resume it, and count the calls at the provider."""
    dice, killed, runs = random.Random(), 0, 0
    twice = counted = most = 0
    path = write_rows(folder / "in.jsonl", rows)
    with provider(delay=0.05) as url:
        settings = f'backend = "openai"\nbase_url = "{url}/v1"\nmodel = "phi-2"\nserver = "openai"'
        (folder / "phi2.toml").write_text(f"[targets.far]\n{settings}\n")
        while killed < count or not runs:
            runs += 1
            asked(url, "reset")
            out, resume = folder / f"out-{runs}", ()
            while True:
                command = [sys.executable, "-m", "phi2sdk.cli", "bulk", path, out, "-t", "far"]
                process = subprocess.Popen(
                    [*command, "--yes", *resume], cwd=folder, stderr=subprocess.PIPE, text=True
                )
                try:
                    wait = dice.uniform(0.2, 8.0) if killed < count else None
                    _, said = process.communicate(timeout=wait)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.communicate()
                    killed += 1
                else:
                    break
                resume = ("--resume",) if (out / "bulk.json").exists() else ()
            if process.returncode:
                raise RuntimeError(said)
            ids = [json.loads(line)["id"] for line in (out / "output.jsonl").open()]
            if ids != [f"row-{i}" for i in range(rows)]:
                raise RuntimeError("the ids of the output are not those of the input")
            calls = asked(url, "counts")["rows"].values()
            twice += sum(calls) - rows
            most = max(most, *calls)
            again = (json.loads(s).get("again", []) for s in (out / "journal.jsonl").open())
            counted += sum(map(len, again))
    report.row(what="kills", kills=killed, runs=runs, rows=runs * rows, most_calls_of_a_row=most)
    report.row(what="calls made twice", at_the_provider=twice, counted=counted)
    report.check("twice_at_the_provider_vs_counted", twice / max(counted, 1), "<=", 1.0)
    report.check("counted_per_kill", counted / killed, "<=", CONCURRENCY)


def main() -> int:
    made = parser(__doc__)
    made.add_argument("--rows", type=int)
    made.add_argument("--kills", type=int)
    made.add_argument("--cluster", action="store_true")
    made.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = made.parse_args()
    if args.measure:
        way, url, path = args.measure
        measure(way, url, Path(path))
        return 0
    report = Report("bulk", args, ["aiohttp"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.kills:
            kills(report, args.kills, args.rows or 3000, folder)
        elif args.cluster:
            report.versions |= peer_versions("ray", ["ray"])
            with provider(delay=0.1) as url:
                done = subprocess.run(
                    [peer_python("ray"), HERE / "bulk_cluster.py", url, folder],
                    stdout=subprocess.PIPE,
                    check=True,
                    env={**os.environ, "PYTHONPATH": str(HERE.parent)},
                )
            for row in map(json.loads, done.stdout.splitlines()):
                report.check(**row) if "bound" in row else report.row(**row)
        else:
            report.versions |= peer_versions("ray", ["ray"])
            rows = args.rows or (4000 if args.quick else 12_000)
            throughput(report, rows, 1 if args.quick else 3, folder)
            if not args.quick:
                flat_memory(report, 200_000, folder)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
