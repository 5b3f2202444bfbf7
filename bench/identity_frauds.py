"""Serve honest and dishonest targets over the wire, and count the verdicts of ``phi2 compare``.

    python bench/identity.py --frauds --runs 100 --jobs 2 --continue frauds.jsonl
    python bench/identity_docs.py frauds.jsonl

Every target is an OpenAI-compatible emulator on loopback. A run is one comparison of all of them
with new answers, so no two runs share an answer. Within a run, targets that change the same honest
answers (a cap, a cut, white space) change the same ones, which makes a run faster and leaves the
runs independent. The answers are sampled before they are served, in one batch for each set of
weights.

Each run is judged with its first 100 calls of each target and with all of them. Its results are
appended to the file as lines of JSON, and a later command with the same file adds the missing runs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import os
import random
import re
import resource
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from bench.common import machine
from bench.identity_authors import Author, divergence, load, make_weights, sample
from phi2sdk.backends.engine import LocalModel
from phi2sdk.compare import Settings, compare
from phi2sdk.config.target import Target
from phi2sdk.demo.targets import demo_identity_workload
from phi2sdk.emulator import Emulator
from phi2sdk.emulator.engine import EOS_ID, EOS_TEXT, Decoding, Token
from phi2sdk.identity.examine import examine_each
from phi2sdk.identity.weights import Weights
from phi2sdk.measure.folder import Run, RunFolder
from phi2sdk.measure.journal import Recorded
from phi2sdk.measure.records import Key
from phi2sdk.measure.schedule import sampled
from phi2sdk.measure.workload import Workload
from phi2sdk.sampling import Sampling
from phi2sdk.secret import Secret

KEY = "bench-key"
MAX_TOKENS = 64
CALLS = (100, 200)
"""The numbers of calls of each target with which a run is judged."""
FIRST = 1000
"""The seed of the first run."""
WIDTH = 16


HONEST_AUTHOR = Author()


@dataclass(frozen=True, slots=True)
class Fraud:
    """A way to serve the bundled checkpoint.

    Attributes:
        name: The target.
        what: What it serves, for a table.
        honest: Whether its model and sampling are the declared ones.
        cause: How the finding or the candidate that must be named begins; empty if there is none.
        author: Who writes its answers.
        text: What it does with a whole answer.
        cap: The maximum number of tokens that it returns.
        cached: Whether it answers repeated prompts from a cache.
        share: The share of calls that are treated in this way; the others are honest.
    """

    name: str
    what: str
    honest: bool
    cause: str
    author: Author = HONEST_AUTHOR
    text: Callable[[str], str] | None = None
    cap: int | None = None
    cached: bool = False
    share: float = 1.0


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]


def _sampled(**parameters: Any) -> Author:
    return Author(sampling=Sampling(**{"temperature": 1.0, **parameters}))


SYSTEM = "Use plain words.\n"
"""This sentence must not be one of the system prompts in the list of candidates."""

FRAUDS = (
    Fraud("honest", "the declared model", True, ""),
    Fraud("cap_40", "at most 40 tokens", True, "capped", cap=40),
    Fraud("cap_48", "at most 48 tokens", True, "capped", cap=48),
    Fraud(
        "first_sentence", "the first sentence only", True, "first-sentence", text=_first_sentence
    ),
    Fraud(
        "cut_75",
        "the first 75% of each answer",
        True,
        "cut",
        text=lambda text: text[: len(text) * 3 // 4],
    ),
    Fraud(
        "newline_to_space",
        "a space for each line break",
        True,
        "line-breaks",
        text=lambda text: text.replace("\n", " "),
    ),
    Fraud("cache", "a cached answer to each prompt", True, "repeats", cached=True),
    Fraud("t_08", "temperature 0.8", False, "T=0.8", _sampled(temperature=0.8)),
    Fraud("top_p_09", "top_p 0.9", False, "top_p=0.9", _sampled(top_p=0.9)),
    Fraud("top_k_20", "top_k 20", False, "top_k=20", _sampled(top_k=20)),
    Fraud("int4", "weights in int4", False, "int4", Author("int4")),
    Fraud("template_qa", "the qa prompt template", False, "template=qa", Author(template="qa")),
    Fraud("route_20_int4", "20% of the calls to int4", False, "", Author("int4"), share=0.2),
    Fraud("int3", "weights in int3, groups of 32", False, "int3", Author("int3")),
    Fraud("adam", "one step of Adam at 1e-3", False, "", Author("adam")),
    Fraud("system", "a hidden system sentence", False, "system", Author(system=SYSTEM)),
    Fraud(
        "repetition_11",
        "repetition penalty 1.1",
        False,
        "repetition",
        _sampled(repetition_penalty=1.1),
    ),
    Fraud("route_10", "10% of the calls to other weights", False, "", Author("other"), share=0.1),
    Fraud("greedy_10", "10% of the calls greedy", False, "", _sampled(temperature=0.0), share=0.1),
    Fraud("watermark", "a watermark, delta 1", False, "", Author(watermark=1.0)),
    Fraud("noise_15", "15% noise on the weights", False, "", Author("noise")),
)


# ----------------------------------------------------------------------- the answers


@dataclass(frozen=True, slots=True)
class Answer:
    """The tokens that a target sends: the text, the number of tokens, and whether it ends."""

    text: str
    count: int
    ended: bool


class QueueEngine:
    """An engine that answers with what was sampled before.

    Args:
        name: The name of the model in responses.
        answers: The answers to each prompt in their order, first those at temperature 0.
        model: Counts tokens.
    """

    def __init__(
        self, name: str, answers: Mapping[tuple[str, bool], list[Answer]], model: LocalModel
    ) -> None:
        self.model = name
        self.context_length = model.context_length
        self._answers = {key: iter(own) for key, own in answers.items()}
        self._codec = model

    def count(self, text: str) -> int:
        """Return the number of tokens of a text."""
        return len(self._codec.encode(text))

    async def tokens(self, prompt: str, decoding: Decoding) -> AsyncIterator[Token]:
        """Yield the tokens of the next answer; the first has all of its text."""
        answer = next(self._answers[prompt, decoding.temperature == 0])
        for at in range(answer.count):
            yield Token(0, answer.text if at == 0 else "", None)
        if answer.ended or answer.count < decoding.max_tokens:
            yield Token(EOS_ID, EOS_TEXT, None, special=True)


@dataclass(slots=True)
class Writer:
    """Samples the answers of all targets of a run, in one batch for each set of weights.

    Attributes:
        models: The models by the name of their weights.
        seed: The seed of the run.
    """

    models: Mapping[str, LocalModel]
    seed: int

    def write(
        self, frauds: Sequence[Fraud], keys: Mapping[str, Sequence[Key]], prompts: Mapping[str, str]
    ) -> dict[str, dict[tuple[str, bool], list[Answer]]]:
        """Return the answers of each target, by prompt and whether they are greedy.

        Args:
            frauds: The targets.
            keys: The calls of each target in the order of the run, with greedy ones.
            prompts: The prompts as they are sent, by id.
        """
        calls: dict[str, list[tuple[Key, Author, int]]] = {}
        for fraud in frauds:
            chance = random.Random(f"{self.seed}/{fraud.name}")
            calls[fraud.name] = [
                (key, *self._author(fraud, key, chance.random() < fraud.share))
                for key in keys[fraud.name]
            ]
        wanted = dict.fromkeys(
            (author, prompts[key.prompt], number)
            for own in calls.values()
            for key, author, number in own
        )
        written = self._sampled(list(wanted))
        answers = {}
        for fraud in frauds:
            own: dict[tuple[str, bool], list[Answer]] = {}
            for key, author, number in calls[fraud.name]:
                prompt = prompts[key.prompt]
                whole = written[author, prompt, number]
                treated = author == fraud.author or _greedy(fraud.author) == author
                sent = _changed(fraud, whole, self.models["float32"]) if treated else whole[0]
                own.setdefault((prompt, key.arm == "greedy"), []).append(sent)
            answers[fraud.name] = own
        return answers

    def _author(self, fraud: Fraud, key: Key, treated: bool) -> tuple[Author, int]:
        """Return who answers a call, and the number of the answer among those of its author."""
        author = fraud.author if treated else HONEST_AUTHOR
        if key.arm == "greedy":
            author = _greedy(author)
        return author, 0 if fraud.cached or author.sampling.greedy else key.repetition

    def _sampled(
        self, wanted: Sequence[tuple[Author, str, int]]
    ) -> dict[tuple[Author, str, int], tuple[Answer, list[int]]]:
        found = {}
        for place, (name, model) in enumerate(self.models.items()):
            own = [one for one in wanted if one[0].weights == name]
            asked = [(prompt, author) for author, prompt, _ in own]
            tokens = sample(model, asked, MAX_TOKENS, self.seed * 100 + place)
            for one, ids in zip(own, tokens, strict=True):
                ended = bool(ids) and ids[-1] in model.eos_ids
                kept = ids[:-1] if ended else ids
                found[one] = Answer(model.decode(kept), len(kept), ended), kept
        return found


def _greedy(author: Author) -> Author:
    return replace(author, sampling=replace(author.sampling, temperature=0.0))


def _changed(fraud: Fraud, whole: tuple[Answer, list[int]], model: LocalModel) -> Answer:
    answer, ids = whole
    if fraud.cap is not None and len(ids) > fraud.cap:
        return Answer(model.decode(ids[: fraud.cap]), fraud.cap, ended=True)
    return answer if fraud.text is None else replace(answer, text=fraud.text(answer.text))


# --------------------------------------------------------------------------- a run


def one_run(
    frauds: Sequence[Fraud], models: Mapping[str, LocalModel], calls: Sequence[int], seed: int
) -> list[dict[str, Any]]:
    """Compare all targets once; return a line for each target and number of calls."""
    took = {"begin": _seconds()}
    one, asked = demo_identity_workload(), demo_identity_workload()
    greedy = Workload("one", one.items[:1], "prompt", "instruct")
    prompts = {id: prompt.text for id, prompt in asked.prompts().items()}
    names = [fraud.name for fraud in frauds]
    lanes = sampled(names, list(prompts), max(calls), seed=seed)
    order = {lane.dues[0].key.target: [due.key for due in lane.dues] for lane in lanes}
    first = next(iter(greedy.prompts()))
    keys = {name: [Key("greedy", name, first, 0), *own] for name, own in order.items()}
    answers = Writer(models, seed).write(frauds, keys, prompts)
    took["sampling"] = _seconds()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            repetitions=1, warmup=0, max_tokens=MAX_TOKENS, calibrate=False,
            identity=max(calls), identity_concurrency=WIDTH, seed=seed,
        )  # fmt: skip
        asyncio.run(_served(Path(folder) / "run", names, answers, models, greedy, asked, settings))
        run = RunFolder(Path(folder) / "run").read()
    took["serving"] = _seconds()
    counts = sorted(calls, reverse=True)
    found = examine_each([_first(run, order, count) for count in counts], Weights(model="demo"))
    lines = [
        _line(name, count, one["targets"][name])
        for count, one in zip(counts, found, strict=True)
        for name in names
    ]
    took["tests"] = _seconds()
    failed = [line["target"] for line in lines if "failed" in line["left_out"]]
    if failed:
        raise RuntimeError(f"requests failed, so the figures are of other answers: {failed}")
    times = list(took.items())
    parts = {name: at - times[i][1] for i, (name, at) in enumerate(times[1:])}
    return [{"run": seed, **line} for line in lines] + [
        {"run": seed, "core_seconds": {n: round(value, 1) for n, value in parts.items()}}
    ]


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def _served(
    out: Path,
    names: Sequence[str],
    answers: Mapping[str, Mapping[tuple[str, bool], list[Answer]]],
    models: Mapping[str, LocalModel],
    greedy: Workload,
    asked: Workload,
    settings: Settings,
) -> None:
    async with AsyncExitStack() as stack:
        targets = []
        for name in names:
            engine = QueueEngine("demo", answers[name], models["float32"])
            emulator = Emulator(engine, key=KEY, providers=["openai"])
            await stack.enter_async_context(emulator)
            place = {
                "base_url": f"{emulator.openai.url}/v1", "api_key": Secret(KEY), "model": "demo",
            }  # fmt: skip
            targets.append(Target(name, "openai", place))
        await compare(greedy, targets, out=out, settings=settings, identity_prompts=asked)


def _first(run: Run, order: Mapping[str, Sequence[Key]], count: int) -> Run:
    """Return the run with the first calls of each target only."""
    kept = {key for keys in order.values() for key in keys[:count]}
    done = {
        key: record
        for key, record in run.recorded.done.items()
        if key.arm != "sampled" or key in kept
    }
    configuration = run.configuration
    identity = {**configuration["identity"], "calls": count}
    info = {"configuration": {**configuration, "identity": identity}}
    return Run(info, Recorded(done=done))


def _line(name: str, calls: int, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is kept of the results of a target."""
    evidence = {test: one["p"] for test, one in found.get("evidence", {}).items()}
    return {
        "target": name,
        "calls": calls,
        "verdict": found["verdict"],
        "p": found["p_target"],
        "p_by_test": evidence,
        "closest": found.get("closest"),
        "share": found.get("share"),
        "findings": {subject: one["kind"] for subject, one in found["findings"].items()},
        "power": found["power_by_candidate"],
        "left_out": found["left_out"],
    }


# ------------------------------------------------------------------------- all runs


def divergences(
    frauds: Sequence[Fraud], models: Mapping[str, LocalModel]
) -> dict[str, float | None]:
    """Return the KL of each target in nats per token; ``None`` for a share of the calls."""
    prompts = [prompt.text for prompt in demo_identity_workload().prompts().values()] * 2
    found: dict[Author, float] = {}
    for author in {fraud.author for fraud in frauds if not fraud.honest}:
        model = models[author.weights]
        answers = sample(model, [(prompt, author) for prompt in prompts], MAX_TOKENS, 0)
        found[author] = divergence(author, model, models["float32"], prompts, answers)
    return {fraud.name: found.get(fraud.author, 0.0) for fraud in frauds}


def frauds(args: argparse.Namespace) -> int:
    """Add the missing runs to the file; return 0 when all are there."""
    file: Path = args.file
    chosen = [one for one in FRAUDS if not args.only or one.name in args.only]
    calls = tuple(args.calls or CALLS)
    complete = {line["run"] for line in read(file) if "core_seconds" in line}
    missing = [seed for seed in range(FIRST, FIRST + args.runs) if seed not in complete]
    if not missing:
        return 0
    names = sorted({"float32", *(fraud.author.weights for fraud in chosen)})
    with tempfile.TemporaryDirectory() as folder:
        make_weights(Path(folder), names)
        if not any("kl" in line for line in read(file)):
            models = {name: load(name, Path(folder)) for name in names}
            head = {
                "command": " ".join(["python", *sys.argv]),
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "machine": machine(),
            }
            append(file, [{**head, "kl": divergences(chosen, models)}])
        jobs = max(1, min(args.jobs, len(missing)))
        parts = [(chosen, calls, missing[at::jobs], Path(folder), file) for at in range(jobs)]
        if jobs == 1:
            _job(*parts[0])
            return 0
        context = multiprocessing.get_context("spawn")
        workers = [context.Process(target=_job, args=_plain(part)) for part in parts]
        for worker in workers:
            worker.start()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
        try:
            for worker in workers:
                worker.join()
        finally:
            for worker in workers:
                worker.terminate()
    return max(worker.exitcode or 0 for worker in workers)


def _plain(part: Any) -> Any:
    """Return the arguments of a job with the names of the targets, which can be pickled."""
    chosen, *rest = part
    return ([fraud.name for fraud in chosen], *rest)


def _job(
    chosen: Sequence[Fraud | str], calls: Sequence[int], seeds: Sequence[int], folder: Path,
    file: Path,
) -> None:  # fmt: skip
    """Make some of the runs, on one thread."""
    torch.set_num_threads(1)
    known = {fraud.name: fraud for fraud in FRAUDS}
    own = [known[one] if isinstance(one, str) else one for one in chosen]
    models = {
        name: load(name, folder)
        for name in sorted({"float32", *(fraud.author.weights for fraud in own)})
    }
    for seed in seeds:
        begun = time.perf_counter()
        lines = one_run(own, models, calls, seed)
        append(file, lines)
        parts = lines[-1]["core_seconds"]
        print(
            f"run {seed}: {time.perf_counter() - begun:.0f} s, {sum(parts.values()):.0f} core-"
            f"seconds {parts}",
            file=sys.stderr,
            flush=True,
        )


def append(file: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    """Add the lines in one write, so that a run is in the file completely or not at all."""
    data = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
    before = file.read_bytes() if file.exists() else b""
    if before and not before.endswith(b"\n"):
        data = b"\n" + data  # after a line that was cut by an interruption
    place = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(place, data)
    finally:
        os.close(place)


def read(file: Path) -> list[dict[str, Any]]:
    """Return the lines of a file of results; a line that was cut by an interruption is left out."""
    found = []
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
    return found


def named(fraud: Fraud, line: Mapping[str, Any]) -> bool:
    """Return whether the cause of a target was named."""
    said = [*line["findings"].values(), line["closest"] or ""]
    return any(one.startswith(fraud.cause) for one in said)


def share(hits: int, runs: int) -> tuple[float, float, float]:
    """Return a share with its 95% binomial interval (Clopper and Pearson)."""
    from scipy import stats

    low = stats.beta.ppf(0.025, hits, runs - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, runs - hits) if hits < runs else 1.0
    return hits / runs if runs else math.nan, float(low), float(high)
