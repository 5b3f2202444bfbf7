"""Measure the duration of the identity tests, and compare our MMD test with the published package.

The package is model-equality-testing, of the authors of "Model Equality Testing: Which Model Is
This API Serving?" (Gao, Liang, Guestrin 2024), in an environment of its own. Both get the same
answers, sampled from the bundled model, one thread, and the same number of permutations.

``--simulate`` measures false alarms and power by simulation instead: see identity_simulations.py.
``--frauds`` measures them on honest and dishonest targets: see identity_frauds.py.
``--logprobs`` measures them for log-probabilities that endpoints return: see identity_logprobs.py.
``--honest`` measures false alarms on honest targets: see identity_honest.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.common import Report, median, parser, peer_python, peer_versions, prefer_this_process
from phi2sdk.backends.engine import LocalModel
from phi2sdk.demo import checkpoint_path
from phi2sdk.identity.control_samples import CONTROL, sample_texts
from phi2sdk.identity.examine import examine
from phi2sdk.identity.weights import Weights
from phi2sdk.measure.folder import Run
from phi2sdk.measure.journal import Recorded
from phi2sdk.measure.records import Key, Record
from phi2sdk.sampling import Sampling

PEER = "model-equality-testing"
PERMUTATIONS = 999
ROUNDS = 3
SUBJECTS = ("tides", "glass", "bread", "rivers", "maps", "clocks", "birds", "salt", "wind", "trade")


def prompts(count: int) -> list[str]:
    """Open-ended questions."""
    asked = [f"Instruct: Write a paragraph about {subject}.\nOutput:" for subject in SUBJECTS]
    return [f"{asked[i % len(asked)]}{' ' * (i // len(asked))}" for i in range(count)]


def answers(model: LocalModel, count: int, each: int, seed: int) -> dict[str, list[str]]:
    """``each`` answers to each of ``count`` prompts."""
    asked = prompts(count)
    sampling = Sampling(max_tokens=24, temperature=1.0)
    texts = sample_texts(model, [p for p in asked for _ in range(each)], sampling, seed=seed)
    return {prompt: texts[i * each : (i + 1) * each] for i, prompt in enumerate(asked)}


class Worker:
    """One side of the comparison, in a process of its own."""

    def __init__(self, stack: ExitStack, python: str, side: str, answers: Path) -> None:
        root = Path(__file__).resolve().parent
        one = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._process = stack.enter_context(
            subprocess.Popen(
                [python, root / "identity_mmd.py", side, answers],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                env={**os.environ, **one, "PYTHONPATH": str(root.parent) if side == "ours" else ""},
            )
        )
        stack.callback(self._process.kill)

    def test(self) -> dict[str, float]:
        """One test: its statistic, p and seconds."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(PERMUTATIONS, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker ended with status {self._process.wait()}")
        found: dict[str, float] = json.loads(line)
        return found


def mmd(report: Report, model: LocalModel) -> None:
    """Seconds of one test at b = 999, and how far the statistics are apart."""
    sizes = [(50, 2)] if report.quick else [(50, 2), (100, 2), (20, 10)]
    try:
        python = str(peer_python(PEER))
        report.versions |= peer_versions(PEER, [PEER, "torch"])
    except (RuntimeError, subprocess.CalledProcessError) as error:
        report.check("mmd_vs_package", None, ">=", 100, reason=str(error))
        report.check("mmd_statistic_error", None, "<=", 1e-12, reason=str(error))
        return
    ratios, errors = [], []
    for count, each in sizes:
        sides = [answers(model, count, each, seed) for seed in (1, 2)]
        with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
            file = Path(folder) / "answers.json"
            file.write_text(json.dumps(sides), encoding="utf-8")
            own = Worker(stack, sys.executable, "ours", file)
            peer = Worker(stack, python, "package", file)
            rounds = [(own.test(), peer.test()) for _ in range(ROUNDS)]
        ratio = median(theirs["seconds"] / mine["seconds"] for mine, theirs in rounds)
        error = max(abs(theirs["statistic"] - mine["statistic"]) for mine, theirs in rounds)
        ratios.append(ratio)
        errors.append(error)
        report.row(
            what=f"MMD, {count} prompts x {each} answers a side",
            permutations=PERMUTATIONS,
            ours_s=median(mine["seconds"] for mine, _ in rounds),
            package_s=median(theirs["seconds"] for _, theirs in rounds),
            times_faster=ratio,
            statistic_error=error,
        )
    report.check("mmd_vs_package", min(ratios), ">=", 100)
    report.check("mmd_statistic_error", max(errors), "<=", 1e-12)
    report.note(
        "the package permutes labels across prompts, ours within each prompt: the statistics of "
        "the same labels are equal, the p-values are not"
    )


TARGETS = {
    "local_float32": ({"dtype": "float32"}, 1.0),
    "local_bfloat16": ({"dtype": "bfloat16"}, 1.0),
    "hosted": ({"dtype": "float32"}, 1.0),
    "rounded": ({"quantize": "int4"}, 1.0),
    "colder": ({"dtype": "float32"}, 0.8),
}
EACH = 2
ASKED = 100
LONG = 64


def answered() -> Run:
    """A run: 100 prompts, each answered twice by five targets; as examined after a comparison."""
    asked = {f"p{at}": text for at, text in enumerate(prompts(ASKED))}
    recorded = Recorded()
    for seed, (name, (weights, temperature)) in enumerate(TARGETS.items()):
        model = LocalModel.load(checkpoint_path(), device="cpu", **weights)
        sampling = Sampling(max_tokens=LONG, temperature=temperature)
        keys = [Key("sampled", name, id, at) for id in asked for at in range(EACH)]
        texts = sample_texts(model, [asked[key.prompt] for key in keys], sampling, seed=seed)
        for key, text in zip(keys, texts, strict=True):
            recorded.done[key] = Record(
                key, 1, "ok" if text.strip() else "empty", 0, 1, text=text, raw=text
            )
    described = {
        name: {"backend": "openai", "settings": {}, "price": None, "simulated": True}
        for name in TARGETS
    }
    configuration = {
        "targets": described,
        "prompts": asked,
        "format": "instruct",
        "max_tokens": LONG,
        "seed": 0,
        "reference": "local_float32",
        "identity": {"calls": ASKED * EACH, "prompts": None, "format": "instruct"},
    }
    return Run({"configuration": configuration}, recorded)


def seconds(report: Report) -> None:
    """Measure the time from the recorded answers to all verdicts."""
    run = answered()
    begun, cpu = time.perf_counter(), time.process_time()
    document = examine(run, Weights(model="demo", device="cpu"))
    taken, worked = time.perf_counter() - begun, time.process_time() - cpu
    for name, found in document["targets"].items():
        report.row(
            target=name,
            calls=found["used"],
            tokens=found["tokens"],
            verdict=found["verdict"],
            p=found["p_target"],
            closest=found["closest"],
        )
    report.row(
        what=f"identity section, {ASKED} prompts x {EACH} x {len(TARGETS)} targets, {LONG} tokens",
        seconds=taken,
        cpu_seconds=worked,
        control_calls=CONTROL * ASKED * EACH * len(document["calibration"]["honest"]),
    )
    report.check("seconds_100x2x5", taken, "<=", 30)


def main() -> int:
    """Measure."""
    made = parser(__doc__)
    made.add_argument(
        "--simulate", action="store_true", help="false alarms and power by simulation"
    )
    made.add_argument("--pools", type=Path, help="pools of bench/identity_pools.py for --simulate")
    made.add_argument("--other", type=Path, help="a checkpoint of another training seed")
    made.add_argument(
        "--part",
        action="append",
        choices=["divergence", "temperature", "size", "power", "large"],
        help="part of the simulations; repeatable, all by default",
    )
    made.add_argument("--frauds", action="store_true", help="verdicts on planted targets")
    made.add_argument(
        "--logprobs",
        action="store_true",
        help="verdicts on log-probabilities that endpoints return",
    )
    made.add_argument(
        "--runs", type=int, default=2, help="number of comparisons of --frauds or --logprobs"
    )
    made.add_argument("--jobs", type=int, default=1, help="number of processes of --frauds")
    made.add_argument(
        "--calls",
        type=int,
        action="append",
        help="number of calls with which --frauds judges each target; repeatable",
    )
    made.add_argument(
        "--continue",
        type=Path,
        dest="file",
        default=Path("frauds.jsonl"),
        metavar="FILE",
        help="file of the results of --frauds, to which the missing runs are added",
    )
    made.add_argument(
        "--honest",
        type=Path,
        metavar="POOLS",
        help="false alarms on honest targets, from pools in this folder (made if missing)",
    )
    made.add_argument("--only", action="append", help="only this target of --frauds; repeatable")
    args: Any = made.parse_args()
    if args.frauds:
        from bench.identity_frauds import frauds

        return frauds(args)
    if args.logprobs:
        from bench.identity_logprobs import logprobs

        return logprobs(args)
    if args.honest:
        from bench.identity_honest import honest

        return honest(args)
    if args.simulate:
        from bench.identity_simulations import simulate

        return simulate(args)
    prefer_this_process()
    report = Report("identity", args, ["torch", "numpy", "scipy"])
    model = LocalModel.load(checkpoint_path(), dtype="float32", device="cpu")
    mmd(report, model)
    seconds(report)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
