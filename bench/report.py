"""Measure the time and memory of the report of a run with 100,000 requests.

The benchmark writes a journal in the same way as a run: 4 targets, 500 prompts x 50, streams of 20
chunks, some failures. A new process then reads it, computes the report and writes every file.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from array import array
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.common import Report, median, parser
from phi2sdk.completion import Attempt, Count, Usage
from phi2sdk.measure.folder import RunFolder
from phi2sdk.measure.records import Key, Record

TARGETS, PROMPTS, REPETITIONS, CHUNKS = 4, 500, 50, 20
MS = 1_000_000
MEASURED = """
import json, resource, sys, time
before = time.perf_counter()
from phi2sdk.compare import report_of
from phi2sdk.measure.folder import RunFolder
from phi2sdk.measure.tokens import estimating_tokenizer
imported, cpu = time.perf_counter(), time.process_time()
report = report_of(RunFolder(sys.argv[1]), estimating_tokenizer())
print(json.dumps({
    "requests": report.run.recorded,
    "seconds": time.perf_counter() - imported,
    "cpu_seconds": time.process_time() - cpu,
    "import_seconds": imported - before,
    "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
}))
"""


def write_run(folder: Path, repetitions: int) -> None:
    """Write a run with answers of 40 words, of which a few differ between the targets."""
    chance = random.Random(0)
    words = ["tides", "follow", "the", "moon", "and", "sun", "helps", "rise", "twice", "a", "month"]
    prompts = {f"p{i}": " ".join(chance.choices(words, k=80)) for i in range(PROMPTS)}
    names = [f"target_{i}" for i in range(TARGETS)]
    part = {"model": "hourly", "usd": 1.0, "source": "bench", "date": "2026-11-01"}
    price = {"parts": [part]}
    info: dict[str, Any] = {
        "started": "2026-11-20T12:00:00+00:00",
        "versions": {"phi2sdk": "0"},
        "machine": {},
        "configuration": {
            "demo": False,
            "task": "summarize",
            "format": "instruct",
            "template": "summarize/1",
            "input": "input.txt",
            "prompts": prompts,
            "targets": {
                name: {"backend": "openai", "settings": {}, "price": price, "simulated": False}
                for name in names
            },
            "reference": names[0],
            "load": {"kind": "closed", "concurrency": 8, "rate": None},
            "repetitions": repetitions,
            "warmup": 0,
            "seed": 0,
            "max_tokens": 64,
            "timeout": 60.0,
            "tokenizer": "estimate",
        },
    }
    journal, _ = RunFolder(folder).open(info, resume=False)
    with journal:
        journal.begin("2026-11-20T12:00:00+00:00")
        now = 0
        for repetition in range(repetitions):
            for prompt in prompts:
                for number, name in enumerate(names):
                    now += MS
                    record = _record(Key("greedy", name, prompt, repetition), now, chance, number)
                    journal.intent(record.key)
                    journal.attempt(record.key, 1, record.attempts[0], 0)
                    journal.done(record)


def _record(key: Key, send_ns: int, chance: random.Random, number: int) -> Record:
    gap = int((4 + number) * MS * chance.uniform(0.8, 1.2))
    times = [send_ns + 50 * MS + i * gap for i in range(CHUNKS)]
    failed = chance.random() < 0.002
    variant = chance.randrange(3) if number else 0
    text = f"the answer to {key.prompt} is that tides follow the moon, variant {variant} " * 2
    attempt = Attempt(key.target, send_ns, times[-1], "Overloaded" if failed else None)
    if failed:
        return Record(
            key, 1, "error", send_ns, times[-1], send_ns, error="Overloaded", attempts=(attempt,)
        )
    return Record(
        key,
        1,
        "ok",
        send_ns,
        times[-1],
        send_ns,
        times[0],
        times[-1],
        streamed=True,
        chunk_ns=array("q", times),
        chunk_chars=array("q", [len(text) // CHUNKS] * CHUNKS),
        attempts=(attempt,),
        text=text.strip(),
        raw=text,
        usage=Usage(Count(90), Count(CHUNKS)),
        finish_reason="stop",
        model="phi-2",
        request_id=f"{chance.getrandbits(64):016x}",
        route="/v1/completions",
    )


def main() -> int:
    """Run the benchmark, and return 0 if every check holds."""
    args = parser(__doc__).parse_args()
    report = Report("report", args, ["phi2sdk", "numpy", "scipy"])
    found = []
    with tempfile.TemporaryDirectory() as folder:
        write_run(Path(folder), 10 if args.quick else REPETITIONS)
        for _ in range(1 if args.quick else 3):
            command = [sys.executable, "-c", MEASURED, folder]
            made = subprocess.run(command, capture_output=True, text=True, check=True)
            found.append(json.loads(made.stdout))
        size = (Path(folder) / "records.jsonl").stat().st_size / 2**20
    row = {key: median(one[key] for one in found) for key in found[0]}
    report.row(**row, journal_mib=size)
    report.check("report_seconds", row["seconds"], "<=", 10.0)
    report.check("report_peak_mib", row["peak_mib"], "<=", 500.0)
    report.note(
        "medians over new processes; the time is from reading the folder to the last file, without "
        "imports"
    )
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
