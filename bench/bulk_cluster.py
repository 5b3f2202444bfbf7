"""The cluster of bench/bulk.py: three nodes of Ray on loopback, of which nodes and drivers fail.

    python bench/bulk_cluster.py URL FOLDER                     all scenarios, as lines of JSON
    python bench/bulk_cluster.py URL FOLDER --drive ADDRESS ... one driver, which may be killed

It runs with the Python of the environment of Ray.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
LOOPBACK = "127.0.0.1"
CONCURRENCY = 16
USD_PER_M = (1.0, 2.0)


def say(**figures: Any) -> None:
    print(json.dumps(figures), flush=True)


def check(name: str, value: float, op: str, bound: float) -> None:
    say(name=name, value=value, op=op, bound=bound)


# ------------------------------------------------------------------ the driver


def drive(url: str, address: str, path: Path, out: Path, options: dict[str, Any]) -> None:
    from bulk import target

    from phi2sdk import Sampling
    from phi2sdk.bulk import Question, bulk

    question = Question(sampling=Sampling(max_tokens=64))
    result = asyncio.run(bulk(path, out, target(url), question=question, ray=address, **options))
    say(answered=result.answered, again=result.again, stopped=result.stopped)


class Driver:
    """A driver in a process of its own."""

    def __init__(self, url: str, address: str, path: Path, out: Path, **options: Any) -> None:
        options = {"concurrency": CONCURRENCY, **options}
        command = [sys.executable, __file__, url, path, "--drive", address, out]
        self.process = subprocess.Popen(
            [*command, json.dumps(options)], stdout=subprocess.PIPE, text=True
        )

    def result(self) -> dict[str, Any]:
        said, _ = self.process.communicate(timeout=400)
        if self.process.returncode:
            raise RuntimeError("the driver failed")
        found: dict[str, Any] = json.loads(said.splitlines()[-1])
        return found


# ------------------------------------------------------------------ what is seen from outside


def placement(cluster: Any, port: int) -> list[dict[str, Any]]:
    """Return node, process and open connections to the provider of each sender."""
    import psutil

    found = []
    for number, node in enumerate(cluster.list_all_nodes()):
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        for process in raylet.children(recursive=True):
            try:
                links = [
                    c for c in process.net_connections("tcp") if c.raddr and c.raddr.port == port
                ]
            except psutil.Error:
                continue
            if links:
                found.append({"node": number, "pid": process.pid, "connections": len(links)})
    return found


def listening() -> list[str]:
    """Return the addresses other than loopback at which processes of Ray listen."""
    import psutil

    others = []
    for process in psutil.process_iter(["name", "cmdline"]):
        words = " ".join([process.info["name"], *(process.info["cmdline"] or [])[:1]])
        if "ray" in words or "gcs_server" in words:
            try:
                links = process.net_connections("tcp")
            except psutil.Error:
                continue
            ours = (c.laddr.ip for c in links if c.status == psutil.CONN_LISTEN)
            others += [ip for ip in ours if ip.removeprefix("::ffff:") not in (LOOPBACK, "::1")]
    return others


def usd(counts: dict[str, Any]) -> float:
    read, wrote = USD_PER_M
    return float(counts["prompt_tokens"] * read + counts["completion_tokens"] * wrote) / 1e6


def same_ids(out: Path, rows: int) -> bool:
    ids = [json.loads(line)["id"] for line in (out / "output.jsonl").open()]
    return ids == [f"row-{i}" for i in range(rows)]


def main(url: str, folder: Path) -> None:
    from bulk import asked, write_rows
    from ray.cluster_utils import Cluster

    port = int(url.rpartition(":")[2])
    node = {"num_cpus": 1, "node_ip_address": LOOPBACK, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    others = [cluster.add_node(**node) for _ in range(2)]

    def sent(count: int, seconds: float = 120) -> dict[str, Any]:
        """Wait until calls have arrived."""
        end = time.monotonic() + seconds
        while (counts := asked(url, "counts"))["calls"] < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{counts['calls']} of {count} calls")
            time.sleep(0.02)
        return counts

    # A node is killed during its calls, and another one joins, at 100 calls per second.
    rows = 2000
    path = write_rows(folder / "in.jsonl", rows)
    asked(url, "reset")
    driver = Driver(url, cluster.address, path, folder / "node", rate=100)
    sent(rows // 3)
    for address in listening():
        raise RuntimeError(f"Ray listens at {address}")
    before = placement(cluster, port)
    victim = next(number for number in (2, 1) if any(p["node"] == number for p in before))
    for place in before:
        say(what="placement", **place, killed=place["node"] == victim)
    calls = asked(url, "counts")
    in_flight = calls["calls"] - calls["answered"]
    cluster.remove_node(others[victim - 1], allow_graceful=False)
    others.append(cluster.add_node(**node))
    result = driver.result()
    after = asked(url, "counts")
    twice = after["calls"] - rows
    say(what="node killed", in_flight=in_flight, twice=twice, counted=result["again"])
    say(
        what="rate", calls=after["calls"], seconds=after["seconds"], busiest=after["busiest_second"]
    )
    check("node_ids_complete", same_ids(folder / "node", rows), ">=", 1)
    check("node_twice_vs_counted", twice / max(result["again"], 1), "<=", 1)
    check("node_counted_at_most_one_worker", result["again"], "<=", CONCURRENCY * 5 / 4)
    check("busiest_second_of_100_per_s", after["busiest_second"], "<=", 120)

    # The driver is killed twice, with a cap that suffices for a part of the rows only.
    asked(url, "reset")
    out, resume, cap = folder / "driver", False, 0.40
    for calls_before_kill in (200, 400):
        driver = Driver(url, cluster.address, path, out, rate=300, budget_usd=cap, resume=resume)
        sent(calls_before_kill)
        driver.process.send_signal(signal.SIGKILL)
        driver.process.wait()
        resume = True
    capped = Driver(url, cluster.address, path, out, budget_usd=cap, resume=True).result()
    spent = usd(asked(url, "counts"))
    say(what="cap", usd=cap, metered_usd=spent, answered=capped["answered"])
    check("metered_vs_cap", spent / cap, "<=", 1)
    result = Driver(url, cluster.address, path, out, budget_usd=100.0, resume=True).result()
    after = asked(url, "counts")
    twice = after["calls"] - rows
    say(what="driver killed twice", twice=twice, counted=result["again"])
    check("driver_ids_complete", same_ids(out, rows), ">=", 1)
    check("driver_twice_vs_counted", twice / max(result["again"], 1), "<=", 1)
    check("driver_counted_per_kill", result["again"] / 2, "<=", 3 * CONCURRENCY * 5 / 4)
    cluster.shutdown()


if __name__ == "__main__":
    url, place = sys.argv[1], Path(sys.argv[2])
    if sys.argv[3:4] == ["--drive"]:
        address, out, options = sys.argv[4:]
        drive(url, address, place, Path(out), json.loads(options))
    else:
        main(url, place)
