"""Serve honest and dishonest targets over the wire, and count the verdicts of ``phi2 compare``.

    python bench/identity.py --frauds --runs 2 --calls 100

Every target is an OpenAI-compatible emulator on loopback with the bundled checkpoint behind it. A
run is one comparison of all of them with new seeds, so that no two runs share an answer. A target
counts as rejected where its tests together reject at 5%, before the correction for the number of
targets.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench.common import Report
from phi2sdk.backends.engine import LocalModel
from phi2sdk.compare import IdentityCheck, Settings, compare
from phi2sdk.config.target import Target
from phi2sdk.demo.targets import demo_identity_workload
from phi2sdk.emulator import Emulator
from phi2sdk.emulator.engine import EOS_ID, EOS_TEXT, Decoding, Token
from phi2sdk.emulator.model_engine import ModelEngine
from phi2sdk.identity.score_calls import other_templates
from phi2sdk.measure.workload import Workload
from phi2sdk.report.schema import IdentityReport
from phi2sdk.secret import Secret

KEY = "bench-key"
LEVEL = 0.05
MAX_TOKENS = 64
HONEST = ("float32", "bfloat16")

_Change = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Fraud:
    """A way to serve the bundled checkpoint.

    Attributes:
        name: The target.
        what: What it serves, for a table.
        honest: Whether its model and sampling are the declared ones.
        cause: The finding or the candidate that must be named.
        quantize: Its weights.
        decoding: What it does with the request's sampling.
        text: What it does with a whole answer.
        cap: The most tokens that it returns.
        cached: Whether it answers repeated prompts from a cache.
        share: The share of calls that are treated in this way; the others are honest.
        template: The template in which it reads the prompts.
    """

    name: str
    what: str
    honest: bool
    cause: str
    quantize: str | None = None
    decoding: Mapping[str, float] = field(default_factory=dict)
    text: _Change | None = None
    cap: int | None = None
    cached: bool = False
    share: float = 1.0
    template: str | None = None


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?])\s", text, maxsplit=1)[0]


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
        "shorter",
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
    Fraud("int4", "weights in int4", False, "int4", quantize="int4"),
    Fraud("t_08", "temperature 0.8", False, "T=0.8", decoding={"temperature": 0.8}),
    Fraud("top_p_09", "top_p 0.9", False, "top_p=0.9", decoding={"top_p": 0.9}),
    Fraud("top_k_20", "top_k 20", False, "top_k=20", decoding={"top_k": 20}),
    Fraud("template_qa", "the qa prompt template", False, "template=qa", template="qa"),
    Fraud("route_20_int4", "20% of the calls to int4", False, "int4", quantize="int4", share=0.2),
    Fraud(
        "greedy_10", "10% of the calls greedy", False, "", decoding={"temperature": 0.0}, share=0.1
    ),
    Fraud(
        "repetition_11", "repetition penalty 1.1", False, "", decoding={"repetition_penalty": 1.1}
    ),
)


class FraudEngine:
    """An engine that answers as a :class:`Fraud` does.

    Args:
        fraud: How it answers.
        honest: The engine of the declared model.
        dishonest: The engine of the fraud's weights.
        seed: Decides which calls are treated, where that is a share.
    """

    def __init__(self, fraud: Fraud, honest: ModelEngine, dishonest: ModelEngine, seed: int):
        self._fraud = fraud
        self._honest, self._dishonest = honest, dishonest
        self._random = random.Random(seed)
        self._cache: dict[str, list[Token]] = {}
        self.model = honest.model
        self.context_length = honest.context_length

    def count(self, text: str) -> int:
        """The tokens of a text."""
        return self._honest.count(text)

    async def tokens(self, prompt: str, decoding: Decoding) -> AsyncIterator[Token]:
        """The tokens of an answer, after the fraud."""
        fraud = self._fraud
        if self._random.random() >= fraud.share:
            async for token in self._honest.tokens(prompt, decoding):
                yield token
            return
        if fraud.cached and prompt in self._cache:
            for token in self._cache[prompt]:
                yield token
            return
        asked = prompt
        if fraud.template is not None:
            asked = other_templates(prompt, "instruct")[f"template={fraud.template}"]
        changed = replace(decoding, **fraud.decoding)
        if fraud.cap is not None:
            changed = replace(changed, max_tokens=min(fraud.cap, decoding.max_tokens))
        told = [token async for token in self._dishonest.tokens(asked, changed)]
        if fraud.text is not None:
            whole = fraud.text("".join(token.text for token in told if not token.special))
            count = sum(not token.special for token in told) or 1
            told = [Token(0, whole if at == 0 else "", None) for at in range(count)]
        if len(told) < decoding.max_tokens and not (told and told[-1].special):
            told.append(Token(EOS_ID, EOS_TEXT, None, special=True))
        self._cache.setdefault(prompt, told)
        for token in told:
            yield token


def serve(frauds: Sequence[Fraud], seed: int, stack: ExitStack) -> list[Target]:
    """Start an emulator for each fraud; return the targets."""
    engines: dict[str | None, ModelEngine] = {}
    for quantize in {None, *(fraud.quantize for fraud in frauds)}:
        chosen = {"dtype": "float32"} if quantize is None else {"quantize": quantize}
        engines[quantize] = ModelEngine(LocalModel.load("demo", device="cpu", **chosen))
        stack.callback(engines[quantize].close)
    targets = []
    for fraud in frauds:
        engine = FraudEngine(fraud, engines[None], engines[fraud.quantize], seed)
        emulator = Emulator(engine, key=KEY, providers=["openai"])
        stack.enter_context(emulator.running())
        settings = {
            "base_url": f"{emulator.openai.url}/v1", "api_key": Secret(KEY), "model": engine.model,
        }  # fmt: skip
        targets.append(Target(fraud.name, "openai", settings))
    return targets


def one_run(frauds: Sequence[Fraud], calls: int, seed: int) -> Mapping[str, IdentityReport]:
    """Compare all targets once, and return the results of the identity tests."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = Settings(
            repetitions=1, warmup=0, max_tokens=MAX_TOKENS, calibrate=False, identity=calls,
            seed=seed,
        )  # fmt: skip
        asked = demo_identity_workload()
        report = asyncio.run(
            compare(
                Workload("one", asked.items[:1], "prompt", "instruct"),
                serve(frauds, seed, stack),
                out=folder / "run",
                settings=settings,
                identity_prompts=asked,
                identity=IdentityCheck("demo", honest=HONEST),
            )
        )
    failed = {name: one.left_out for name, one in report.identity.items() if one.left_out}
    if any("failed" in causes for causes in failed.values()):
        raise RuntimeError(f"requests failed, so that the figures are of other answers: {failed}")
    return report.identity


def rejected(found: IdentityReport) -> bool:
    """Return whether the tests of one target together reject at 5%."""
    return found.p_target is not None and found.p_target <= LEVEL


def frauds(args: argparse.Namespace) -> int:
    """Run the comparisons, and print one row for each target."""
    report = Report("identity-frauds", args, ["torch", "numpy", "scipy"])
    chosen = [one for one in FRAUDS if not args.only or one.name in args.only]
    results: dict[str, list[IdentityReport]] = {fraud.name: [] for fraud in chosen}
    for run in range(args.runs):
        begun = time.perf_counter()
        for name, found in one_run(chosen, args.calls, 1000 + run).items():
            results[name].append(found)
        print(f"run {run + 1}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    for fraud in chosen:
        found = results[fraud.name]
        named = Counter(
            itertools.chain(
                (one.closest for one in found if one.closest and rejected(one)),
                (finding.kind for one in found for finding in one.findings.values()),
            )
        )
        report.row(
            target=fraud.name,
            what=fraud.what,
            calls=args.calls,
            runs=len(found),
            rejected=sum(map(rejected, found)) / len(found),
            cause_named=named[fraud.cause] / len(found) if fraud.cause else None,
            named=", ".join(f"{name} {count}" for name, count in named.most_common(4)),
        )
    report.note(
        f"{args.runs} runs are an example; a share of 0.95 needs 100 or more"
        if args.runs < 100
        else "shares of independent runs"
    )
    return report.finish()
