"""Compare the local engine with ``transformers.generate`` and others on the same weights.

    python bench/local.py --quick           # the bundled checkpoint and hidden 512 x 8 layers
    python bench/local.py --json local.json # also compiled, llama.cpp, the full shape of Phi-2
    python bench/local_docs.py local.json   # write figures and plot to docs/

Rounds alternate, and ratios are medians over the rounds. No answer ends early: every request
generates its number of tokens, and only these tokens are counted, without padding. Each peer runs
on one torch thread or on all, whichever is faster at the moment. The engine chooses automatically.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from common import Report, median, parser, peer_versions, percentile
from local_models import (
    CHECKPOINT,
    MID,
    Requests,
    full_pair,
    mixed,
    models,
    prompt,
    random_model,
)
from local_ways import (
    alternate,
    arriving,
    batched,
    continuous,
    generate_each,
    generate_padded,
    llamacpp,
    poisson,
    rows,
    sequentially,
    suited,
    warm,
)

from phi2sdk.backends.engine import LocalModel
from phi2sdk.measure.engine import bytes_per_token, decode_rate, join_gaps, read_bandwidth
from phi2sdk.sampling import Sampling


def main() -> int:
    args = parser(__doc__).parse_args()
    report = Report("local", args, ("torch", "transformers"))
    report.note(f"torch has {torch.get_num_threads()} threads")
    quick = (tiny, mid)
    rest = (mid_alike, mid_arriving, compiled, against_llamacpp, latency, full, gpu)
    for measure in quick if args.quick else quick + rest:
        began = time.perf_counter()
        measure(report)
        print(f"{measure.__name__}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return report.finish()


def tiny(report: Report) -> None:
    """Measure one request to the bundled checkpoint with the eager step."""
    with models(CHECKPOINT, "float32", "cpu") as (ours, theirs):
        requests = [(prompt(ours, 60), 80)]
        ratios, rates = alternate(
            {
                "ours": lambda: sequentially(ours, requests),
                "transformers.generate": one_by_one(theirs, requests),
            },
            rounds=7,
        )
    rows(report, "bundled checkpoint, float32, batch 1", rates)
    report.check("tiny_b1_eager_vs_generate", ratios["transformers.generate"], ">=", 1.5)


def compiled(report: Report) -> None:
    """Measure one request to the bundled checkpoint with the compiled step."""
    began = time.perf_counter()
    with models(CHECKPOINT, "float32", "cpu", compile=True) as (ours, theirs):
        requests = [(prompt(ours, 60), 80)]
        sequentially(ours, requests)
        report.row(what="load and compile the one-token step", s=time.perf_counter() - began)
        eager = LocalModel.load(CHECKPOINT, dtype="float32", device="cpu")
        greedy = Sampling(max_tokens=80)
        same = [[step.id for step in model.tokens("Bob:", greedy)] for model in (ours, eager)]
        if same[0] != same[1]:
            raise AssertionError("the compiled step and the eager step generate different tokens")
        ratios, rates = alternate(
            {
                "ours, compiled": lambda: sequentially(ours, requests),
                "transformers.generate": one_by_one(theirs, requests),
            },
            rounds=9,
        )
    rows(report, "bundled checkpoint, float32, batch 1", rates)
    report.check("tiny_b1_compiled_vs_generate", ratios["transformers.generate"], ">=", 2.5)


def against_llamacpp(report: Report) -> None:
    """Measure the same request in llama.cpp, on the same weights as GGUF, both in float32."""
    name, bound = "tiny_b1_vs_llamacpp", 1.0
    try:
        with (
            models(CHECKPOINT, "float32", "cpu") as (ours, _),
            llamacpp(1) as one,
            llamacpp(torch.get_num_threads()) as every,
        ):
            requests = [(prompt(ours, 60), 80)]
            ratios, rates = alternate(
                {
                    "ours": lambda: sequentially(ours, requests),
                    "llama.cpp, one thread": lambda: one(requests),
                    "llama.cpp, all threads": lambda: every(requests),
                },
                rounds=7,
            )
        report.versions |= peer_versions("xllamacpp", ("xllamacpp", "gguf"))
    except (RuntimeError, OSError, ValueError) as error:
        report.check(name, None, ">=", bound, str(error))
        return
    rows(report, "bundled checkpoint, float32, batch 1, beside llama.cpp", rates)
    report.check(name, min(ratios.values()), ">=", bound)


def mid(report: Report) -> None:
    """Measure hidden 512 x 8 layers, prompts of 5-300 tokens, answers of 8-100, 16 slots."""
    requests = mixed(32 if report.quick else 48, (5, 300), (8, 100))
    some = requests[:: 4 if report.quick else 3]  # sequential requests take long, so only a part
    with random_model(MID, "float32", "cpu") as (ours, theirs):
        slots = warm(ours.slots(16))
        ratios, rates = alternate(
            {
                "ours, 16 slots": lambda: batched(slots, requests),
                "transformers.generate, padded batches of 16": padded(theirs, requests),
                "transformers.generate, one by one": one_by_one(theirs, some),
            },
            rounds=1 if report.quick else 3,
        )
    rows(report, "hidden 512 x 8, float32, 5-300 in, 8-100 out", rates)
    ratio = ratios["transformers.generate, padded batches of 16"]
    report.check("mid_slots_vs_padded", ratio, ">=", 2.0)
    ratio = ratios["transformers.generate, one by one"]
    report.check("mid_slots_vs_sequential", ratio, ">=", 2.5)


def mid_alike(report: Report) -> None:
    """Measure the same model with requests of similar lengths, which need little padding."""
    requests = mixed(32, (5, 60), (8, 200))
    with random_model(MID, "float32", "cpu") as (ours, theirs):
        slots = warm(ours.slots(16))
        ratios, rates = alternate(
            {
                "ours, 16 slots": lambda: batched(slots, requests),
                "transformers.generate, padded batches of 16": padded(theirs, requests),
            },
            rounds=3,
        )
        rows(report, "hidden 512 x 8, float32, 5-60 in, 8-200 out", rates)
        for count in (1, 4, 16, 64):
            rate = batched(warm(ours.slots(count)), (requests * 2)[:count])
            report.row(what="hidden 512 x 8, arriving at once", requests=count, tokens_per_s=rate)
    ratio = ratios["transformers.generate, padded batches of 16"]
    report.check("mid_alike_slots_vs_padded", ratio, ">=", 1.2)


def mid_arriving(report: Report) -> None:
    """Compare continuous batching with that of transformers: all at once, and Poisson arrivals."""
    requests = mixed(32, (5, 300), (8, 100))
    some = requests[:8]
    name = "transformers, continuous batching"
    with random_model(MID, "float32", "cpu") as (ours, theirs):
        slots = warm(ours.slots(16))
        at_once, rates = alternate(
            {
                "ours, 16 slots": lambda: batched(slots, requests),
                name: suited(
                    lambda: continuous(theirs, some, 16),
                    lambda: continuous(theirs, requests, 16)[0],
                ),
            },
            rounds=3,
        )
        rows(report, "hidden 512 x 8, float32, 32 at once", rates)
        report.check("mid_slots_vs_continuous", at_once[name], ">=", 1.0)
        tokens = sum(count for _, count in requests) / len(requests)
        rate = 0.7 * median(rates["ours, 16 slots"]) / tokens
        arrivals = poisson(len(requests), rate)
        took: dict[str, list[float]] = {"ours, 16 slots": [], name: []}

        def run(who: str, way: Callable[[], tuple[float, list[float]]]) -> float:
            per_second, seconds = way()
            took[who] += seconds
            return per_second

        _, rates = alternate(
            {
                "ours, 16 slots": lambda: run(
                    "ours, 16 slots", lambda: arriving(slots, requests, arrivals)
                ),
                name: suited(
                    lambda: continuous(theirs, some, 16),
                    lambda: run(name, lambda: continuous(theirs, requests, 16, arrivals)),
                ),
            },
            rounds=2,
        )
        for who, seconds in took.items():
            report.row(
                what=f"hidden 512 x 8, float32, 32 with Poisson arrivals, {rate:.1f}/s",
                who=who,
                tokens_per_s=median(rates[who]),
                end_p50_s=median(seconds),
                end_p90_s=percentile(seconds, 0.9),
            )


def latency(report: Report) -> None:
    """Measure the time to first token by length of the prompt."""
    with models(CHECKPOINT, "float32", "cpu") as (ours, theirs):
        for length in (16, 128, 512, 1500):
            request = [(prompt(ours, length), 1)]
            _, rates = alternate(
                {
                    "ours": lambda request=request: sequentially(ours, request),
                    "generate": one_by_one(theirs, request),
                },
                rounds=5,
            )
            figures = {f"{name}_ms": 1000 / median(rate) for name, rate in rates.items()}
            report.row(what="bundled checkpoint, TTFT", prompt_tokens=length, **figures)


def full(report: Report) -> None:
    """Measure one request to the full shape of Phi-2 with random weights in bfloat16."""
    ours, theirs = full_pair("bfloat16", "cpu")
    requests = [(list(range(100, 132)), 12)]
    ratios, rates = alternate(
        {
            "ours": lambda: sequentially(ours, requests),
            "transformers.generate": lambda: generate_each(theirs, requests),
        },
        rounds=3,
    )
    cpu = torch.device("cpu")
    shares, decoding = [], []
    for _ in range(3):
        bandwidth = read_bandwidth(cpu)
        decoding.append(decode_rate(ours.slots(1), 1, steps=8))
        shares.append(decoding[-1] * bytes_per_token(ours.phi) / bandwidth)
    rows(report, "Phi-2's shape, bfloat16, batch 1", rates)
    report.row(
        what="Phi-2's shape, bfloat16, decoding",
        tokens_per_s=median(decoding),
        gb_per_s=median(decoding) * bytes_per_token(ours.phi) / 1e9,
        share_of_read_bandwidth=median(shares),
    )
    report.check("full_b1_vs_generate", ratios["transformers.generate"], ">=", 1.0)
    report.check("full_b1_bandwidth_share", median(shares), ">=", 0.6)


def gpu(report: Report) -> None:
    """Measure the full shape of Phi-2 in float16 on a CUDA device."""
    bounds = {
        "gpu_b1_bandwidth_share": (">=", 0.8),
        "gpu_b1_vs_generate": (">=", 8.0),
        "gpu_slots64_vs_b1": (">=", 20.0),
        "gpu_join_gap_vs_median": ("<=", 3.0),
    }
    if not torch.cuda.is_available():
        for name, (op, bound) in bounds.items():
            report.check(name, None, op, bound, "this machine has no CUDA device")  # type: ignore[arg-type]
        return
    cuda = torch.device("cuda")
    ours, theirs = full_pair("float16", "cuda")
    generate_each(theirs, [(list(range(100, 132)), 10)])
    one = decode_rate(ours.slots(1), 1, steps=200)
    default = generate_each(theirs, [(list(range(100, 132)), 100)])
    many = batched(warm(ours.slots(64)), [(list(range(100, 228)), 128)] * 64)
    usual, largest = join_gaps(ours.slots(8), prompt=1500)
    found = {
        "gpu_b1_bandwidth_share": one * bytes_per_token(ours.phi) / read_bandwidth(cuda),
        "gpu_b1_vs_generate": one / default,
        "gpu_slots64_vs_b1": many / one,
        "gpu_join_gap_vs_median": largest / usual,
    }
    for name, (op, bound) in bounds.items():
        report.check(name, found[name], op, bound)  # type: ignore[arg-type]


def one_by_one(model: Any, requests: Requests) -> Callable[[], float]:
    """Return a function that runs ``generate`` on each request, with the faster thread count."""
    ids, count = requests[0]
    trial = [(ids, min(count, 20))]
    return suited(lambda: generate_each(model, trial), lambda: generate_each(model, requests))


def padded(model: Any, requests: Requests) -> Callable[[], float]:
    """Return a function that runs ``generate`` on padded batches of 16, likewise."""
    trial = [(ids, 4) for ids, _ in requests[:16]]
    return suited(
        lambda: generate_padded(model, trial, 16), lambda: generate_padded(model, requests, 16)
    )


if __name__ == "__main__":
    sys.exit(main())
