"""Kill a run at random instants and resume it, until it is done; then kill the next one.

``python -m tests.measure.kill_and_resume [KILLS] [SEED]`` prints what it found. Each session is a
process of its own, forked from a clean one that has the imports done, and ended by SIGKILL, in
turn at a random place of its journal and after a random time.
"""

# ruff: noqa: T201
from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from phi2sdk.compare import Settings, compare
from phi2sdk.config import Target
from phi2sdk.emulator import Emulator, Schedule, ScriptedEngine
from phi2sdk.measure.folder import differences
from phi2sdk.measure.workload import Item, Workload
from phi2sdk.secret import Secret

PROMPTS, REPETITIONS = 40, 2
WORKLOAD = Workload("p.txt", tuple(Item(f"p{i}", f"Paragraph {i}.") for i in range(PROMPTS)))
SETTINGS = Settings(repetitions=REPETITIONS, warmup=1, max_tokens=16, calibrate=False)


@dataclass(frozen=True)
class Found:
    """The outcome of the killed runs."""

    kills: int
    kills_inside: int
    runs: int
    sessions: int
    records: int


class Nursery:
    """A process that forks sessions: ``start`` them, ``wait`` for them, kill them by their id."""

    def __init__(self, urls: dict[str, str], key: str) -> None:
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.measure.kill_and_resume",
                "nursery",
                json.dumps(urls),
                key,
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def start(self, out: Path) -> int:
        """Fork a session on a folder; its process id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{out}\n")
        return int(self._process.stdout.readline())

    def wait(self, seconds: float | None = None) -> int | None:
        """The session's exit status, negative for a signal; ``None`` while it runs."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], seconds)[0]:
            return None
        return int(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()


def nursery(urls: dict[str, str], key: str) -> None:
    """Fork a session for each line of standard input; print its id, then its exit status."""
    import phi2sdk.backends.azure
    import phi2sdk.backends.hf
    import phi2sdk.backends.openai  # noqa: F401

    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            asyncio.run(
                compare(
                    WORKLOAD,
                    targets(urls, key),
                    out=line.strip(),
                    settings=SETTINGS,
                    resume=Path(line.strip(), "run.json").exists(),
                )
            )
            os._exit(0)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def targets(urls: dict[str, str], key: str) -> list[Target]:
    secret, price = Secret(key), None
    return [
        Target("azure", "azure", {"endpoint": urls["azure"], "key": secret}, price),
        Target("hf", "hf", {"endpoint": urls["hf"], "token": secret}, price),
        Target("openai", "openai", {"base_url": f"{urls['openai']}/v1", "api_key": secret}, price),
    ]


def kill_and_resume(kills: int, seed: int) -> Found:
    """Kill ``kills`` sessions, and check every run that was finished in spite of it.

    Raises:
        AssertionError: A key is done twice or never, or a report differs in more than times.
    """
    chance = random.Random(seed)
    engine = ScriptedEngine(lambda prompt: f"The answer to {prompt[-24:-9]}")
    pace = Schedule(first=0.002)
    killed = inside = runs = sessions = records = 0
    with (
        Emulator(engine, schedule=pace, providers=["azure", "hf", "openai"]).running() as emulator,
        tempfile.TemporaryDirectory() as folder,
        ExitStack() as stack,
    ):
        urls = {name: getattr(emulator, name).url for name in ("azure", "hf", "openai")}

        sessions_of = stack.enter_context(Nursery(urls, emulator.key))
        whole = Path(folder) / "whole"
        sessions_of.start(whole)
        assert sessions_of.wait() == 0
        expected = without_times(whole)
        while killed < kills:
            out = Path(folder) / f"run{runs}"
            status: int | None = None
            while status != 0:
                pid = sessions_of.start(out)
                if killed >= kills:
                    status = sessions_of.wait()
                elif killed % 2:
                    status = sessions_of.wait(chance.uniform(0.0, 0.6))
                else:  # at a random place of the journal, however slow the machine is
                    size = _size(out) + chance.randrange(1, 40_000)
                    while (status := sessions_of.wait(0.001)) is None and _size(out) < size:
                        pass
                if status is None:
                    os.kill(pid, signal.SIGKILL)
                    status = sessions_of.wait()
                    killed += status == -signal.SIGKILL
                    inside += (out / "records.jsonl").exists() and status != 0
                assert status in (0, -signal.SIGKILL)
            runs += 1
            sessions += check(out)
            records += len(expected["answers"])
            assert not list(differences(expected, without_times(out)))
    return Found(killed, inside, runs, sessions, records)


def _size(out: Path) -> int:
    file = out / "records.jsonl"
    return file.stat().st_size if file.exists() else 0


def check(out: Path) -> int:
    """Every key has exactly one ``done``; returns how many sessions it took."""
    done: Counter[str] = Counter()
    sessions = 0
    for line in (out / "records.jsonl").read_bytes().splitlines():
        event = json.loads(line)
        sessions += event["event"] == "session"
        if event["event"] == "done":
            done[json.dumps(event["key"])] += 1
    greedy = [key for key in done if json.loads(key)[0] == "greedy"]
    assert len(greedy) == 3 * PROMPTS * REPETITIONS
    assert set(done.values()) == {1}
    return sessions


def without_times(out: Path) -> dict[str, Any]:
    """A run's answers and its report, less all that a clock had a part in."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    for name in ("started", "sessions", "lost", "seconds"):
        del report["run"][name]
    del report["validity"]
    report.pop("decision", None)  # it rests on latencies
    for target in report["targets"].values():
        for latency in target["latency"].values():
            for quantile in ("p50", "p90", "p95", "p99"):
                if latency is not None:
                    del latency[quantile]
        for name in ("tokens_per_second", "seconds", "longest_stall"):
            del target["throughput"][name]
        for name in ("first", "median"):
            del target["warmup"][name]
    for pair in report["pairs"].values():
        del pair["latency_ratio"]
    answers = {}
    for line in (out / "records.jsonl").read_bytes().splitlines():
        event = json.loads(line)
        if event["event"] == "done":
            answers[json.dumps(event["key"])] = (event["outcome"], event["text"])
    return {"report": report, "answers": dict(sorted(answers.items()))}


if __name__ == "__main__":
    if sys.argv[1:2] == ["nursery"]:
        nursery(json.loads(sys.argv[2]), sys.argv[3])
    else:
        arguments = [int(argument) for argument in sys.argv[1:]]
        print(kill_and_resume(*(arguments + [50, 1][len(arguments) :])))
