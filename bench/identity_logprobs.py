"""Measure the size and the power of the test of log-probabilities that endpoints return.

    python bench/identity.py --logprobs --runs 200 --json logprobs.json
    python bench/identity_docs.py logprobs.json

Each run has :data:`TEXTS` new texts, sampled from the bundled checkpoint. In the first
:data:`WIRED` runs, an OpenAI-compatible emulator returns the log-probabilities of each endpoint
over loopback. In the others, the model behind the emulator computes them directly, several texts in
one pass.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle, islice

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812

from bench.common import Report
from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.phi import Linear, Matrix
from phi2sdk.backends.openai import OpenAIBackend
from phi2sdk.demo.targets import demo_identity_workload
from phi2sdk.emulator import Emulator, ModelEngine
from phi2sdk.identity.call_table import Floats
from phi2sdk.identity.control_samples import sample_texts
from phi2sdk.identity.logprob_tests import logprobs_test
from phi2sdk.identity.weights import Loader, Weights
from phi2sdk.sampling import Sampling
from phi2sdk.secret import Secret

TEXTS = 12
WIRED = 2
MAX_TOKENS = 64
LEVEL = 0.05
SIGNS = 1_999
KEY = "bench-key"
HONEST = ("bfloat16",)
CANDIDATES = (("int8", "float16"), ("int4", "auto"), ("int3", "auto"))
E4M3_MOST = 448.0

_Pair = tuple[list[int], list[int]]
_Change = Callable[[Matrix], Linear]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint that returns log-probabilities.

    Attributes:
        name: What it serves.
        honest: Whether that is the declared model.
        weights: The precision or the quantization.
        dtype: The dtype of a quantized model.
        change: What it does with each matrix of the layers.
        digits: The number of decimals of its log-probabilities.
        named: The candidate that must be named.
    """

    name: str
    honest: bool
    weights: str
    dtype: str = "auto"
    change: _Change | None = None
    digits: int | None = None
    named: str | None = None


@dataclass(frozen=True, slots=True)
class InTwoParts:
    """A matrix whose sums are rounded after each half, as in a kernel with shorter sums."""

    matrix: Matrix

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        half = x.shape[1] // 2
        weight = self.matrix.weight
        first, second = (
            F.linear(x[:, :half], weight[:, :half]),
            F.linear(x[:, half:], weight[:, half:]),
        )
        return first + second + self.matrix.bias


def fp8(matrix: Matrix) -> Matrix:
    """Return a matrix whose weights were rounded to e4m3, with one scale per row."""
    scale = matrix.weight.float().abs().amax(1, keepdim=True) / E4M3_MOST
    rounded = (matrix.weight.float() / scale).to(torch.float8_e4m3fn).float() * scale
    return Matrix(rounded.to(matrix.weight.dtype), matrix.bias)


@dataclass(frozen=True, slots=True)
class Fp8Inputs:
    """A matrix in e4m3 whose inputs are rounded to e4m3, too, with one scale per token."""

    matrix: Matrix

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        scale = x.float().abs().amax(1, keepdim=True).clamp_min(1e-6) / E4M3_MOST
        rounded = (x.float() / scale).to(torch.float8_e4m3fn).float() * scale
        return self.matrix(rounded.to(x.dtype))


ENDPOINTS = (
    Endpoint("float32", True, "float32"),
    Endpoint("float16", True, "float16"),
    Endpoint("bfloat16", True, "bfloat16"),
    Endpoint("bfloat16, 2 decimals", True, "bfloat16", digits=2),
    Endpoint("bfloat16, sums in two parts", True, "bfloat16", change=InTwoParts),
    Endpoint("fp8 (e4m3) weights", False, "bfloat16", change=fp8),
    Endpoint(
        "fp8 (e4m3) weights and inputs", False, "bfloat16", change=lambda m: Fp8Inputs(fp8(m))
    ),
    Endpoint("int8, in bfloat16", False, "int8", named="int8"),
    Endpoint("int8, in float16", False, "int8", dtype="float16", named="int8"),
    Endpoint("int4, in bfloat16", False, "int4", named="int4"),
)


def served(loader: Loader, endpoint: Endpoint) -> LocalModel:
    """Load the model of an endpoint."""
    model = loader.load(endpoint.weights, dtype=endpoint.dtype)
    if endpoint.change is not None:
        loader.free()  # the changed model is not the loader's
        change = endpoint.change
        model.phi.blocks[:] = [
            replace(block, wide=change(block.wide), narrow=change(block.narrow))
            for block in model.phi.blocks
        ]
    return model


def texts_of(model: LocalModel, runs: int, seed: int) -> list[_Pair]:
    """Return the tokens of prompt and answer of each text; all answers have a token at least."""
    prompts = [prompt.text for prompt in demo_identity_workload().prompts().values()]
    found: list[_Pair] = []
    while len(found) < runs * TEXTS:
        asked = list(islice(cycle(prompts), runs * TEXTS - len(found)))
        sampling = Sampling(max_tokens=MAX_TOKENS, temperature=1.0)
        for prompt, text in zip(
            asked, sample_texts(model, asked, sampling, seed=seed), strict=True
        ):
            before, whole = model.encode(prompt), model.encode(prompt + text)
            if len(whole) > len(before) and whole[: len(before)] == before:
                found.append((before, whole[len(before) :]))
        seed += 1
    return found


def direct(model: LocalModel, pairs: Sequence[_Pair]) -> list[Floats]:
    """Return the log-probabilities of the tokens of each answer."""
    return [np.array(score.logprob) for score in model.score_many(pairs)]


async def over_the_wire(model: LocalModel, pairs: Sequence[_Pair]) -> list[Floats]:
    """Return the same as an emulator returns it to the client."""
    engine = ModelEngine(model)
    found = []
    try:
        with Emulator(engine, key=KEY, providers=["openai"]).running() as emulator:
            url = f"{emulator.openai.url}/v1"
            backend = OpenAIBackend(base_url=url, api_key=Secret(KEY), model=engine.model)
            for before, after in pairs:
                tokens = await backend.prompt_logprobs(model.decode([*before, *after]))
                if len(tokens) != len(before) + len(after):
                    raise RuntimeError("the emulator splits a text into other tokens")
                found.append(np.array([token.logprob for token in tokens[len(before) :]]))
            await backend.close()
    finally:
        engine.close()
    return found


def _runs(values: Sequence[Floats], reference: Sequence[Floats]) -> Iterator[Floats]:
    """The differences from the reference in each run."""
    for at in range(0, len(values), TEXTS):
        own = zip(values[at : at + TEXTS], reference[at : at + TEXTS], strict=True)
        yield np.concatenate([one - beside for one, beside in own])


def logprobs(args: argparse.Namespace) -> int:
    """Test every endpoint in all runs, and print one row for each."""
    report = Report("identity-logprobs", args, ["torch", "numpy"])
    loader = Loader(Weights(model="demo", device="cpu"))
    model = loader.load("float32")
    pairs = texts_of(model, args.runs, seed=4000)
    reference = direct(model, pairs)
    known = {("float32", "auto"): reference}  # by weights that no endpoint changes
    for key in (*((name, "auto") for name in HONEST), *CANDIDATES):
        known[key] = direct(loader.load(key[0], dtype=key[1]), pairs)
    honest = {name: list(_runs(known[name, "auto"], reference)) for name in HONEST}
    held = {name: list(_runs(known[name, dtype], reference)) for name, dtype in CANDIDATES}
    answers = [
        np.repeat(np.arange(TEXTS), [len(text) for _, text in pairs[at : at + TEXTS]])
        for at in range(0, len(pairs), TEXTS)
    ]
    for endpoint in ENDPOINTS:
        begun = time.perf_counter()
        model = served(loader, endpoint)
        wired = asyncio.run(over_the_wire(model, pairs[: WIRED * TEXTS]))
        own = known.get((endpoint.weights, endpoint.dtype)) if endpoint.change is None else None
        values = [*wired, *(own or direct(model, pairs))[WIRED * TEXTS :]]
        if endpoint.digits is not None:
            values = [np.round(one, endpoint.digits) for one in values]
        differences = list(_runs(values, reference))
        found = [
            logprobs_test(
                one,
                answers[run],
                {name: rows[run] for name, rows in honest.items()},
                {name: rows[run] for name, rows in held.items()},
                alpha=LEVEL,
                permutations=SIGNS,
                seed=run,
            )
            for run, one in enumerate(differences)
        ]
        tested = [one for one in found if one is not None]
        verdicts = Counter(one.verdict for one in tested)
        report.row(
            endpoint=endpoint.name,
            honest=endpoint.honest,
            runs=len(tested),
            tokens=sum(map(len, differences)) / len(differences),
            kl=float(np.mean(np.concatenate(differences) ** 2)) / 2,
            different=verdicts["different"] / len(tested),
            consistent=verdicts["consistent"] / len(tested),
            named=None
            if endpoint.named is None
            else sum(one.named == endpoint.named for one in tested) / len(tested),
            misnamed=sum(one.named not in (None, endpoint.named) for one in tested) / len(tested),
            size=float(np.median([one.size for one in tested])),
            int8_share=float(np.median([one.shares["int8"] for one in tested])),
        )
        print(f"{endpoint.name}: {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    report.note(
        f"{WIRED} of {args.runs} runs over the wire, {TEXTS} texts in each, level {LEVEL}, "
        f"{SIGNS} random signs"
    )
    return report.finish()
