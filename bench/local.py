"""The local engine against ``transformers.generate``: same weights, same tokens, one run.

    python bench/local.py --quick        # the bundled checkpoint and hidden 512 x 8 layers
    python bench/local.py --json out.json   # and the true shape of Phi-2, with random weights

Rounds alternate, and ratios are medians of rounds. Nothing ends early: every request writes the
number of tokens that it was given, and only those are counted, never padding.
"""

from __future__ import annotations

import importlib
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from common import Report, median, parser

from phi2sdk.backends.engine import LocalModel
from phi2sdk.backends.engine.slots import Slots
from phi2sdk.sampling import Sampling

transformers: Any = importlib.import_module("transformers")
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()

CHECKPOINT = Path(__file__).resolve().parents[1] / "phi2sdk" / "demo" / "checkpoint"
Requests = list[tuple[list[int], int]]
"""Prompt and number of tokens to write, of each."""

MID = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 8, "vocab_size": 2048}
FULL = {"hidden_size": 2560, "intermediate_size": 10240, "num_hidden_layers": 32}


def main() -> int:
    args = parser(__doc__).parse_args()
    report = Report("local", args, ("torch", "transformers"))
    report.note(f"torch uses {torch.get_num_threads()} threads")
    tiny(report)
    mid(report)
    if args.quick:
        return report.finish()
    mid_alike(report)
    compiled(report)
    latency(report)
    full(report)
    gpu(report)
    reason = "this benchmark does not convert the weights to GGUF yet"
    report.check("tiny_b1_vs_llamacpp", None, ">=", 1.0, reason)
    return report.finish()


# --------------------------------------------------------------------------- what is compared


def tiny(report: Report) -> None:
    """The bundled checkpoint, one request, eager."""
    with models(CHECKPOINT, "float32", "cpu") as (ours, theirs):
        requests = [(prompt(ours, 60), 80)]
        ratios, rates = alternate(
            {
                "ours": lambda: sequentially(ours, requests),
                "generate": lambda: generate_each(theirs, requests),
            },
            rounds=7,
        )
    rows(report, "bundled checkpoint, float32, batch 1, tokens/s", rates)
    report.check("tiny_b1_eager_vs_generate", ratios["generate"], ">=", 1.5)


def compiled(report: Report) -> None:
    """The same, the one-token step compiled."""
    began = time.perf_counter()
    with models(CHECKPOINT, "float32", "cpu", compile=True) as (ours, theirs):
        requests = [(prompt(ours, 60), 80)]
        sequentially(ours, requests)
        report.row(what="compiling the one-token step, seconds", s=time.perf_counter() - began)
        ratios, rates = alternate(
            {
                "ours compiled": lambda: sequentially(ours, requests),
                "generate": lambda: generate_each(theirs, requests),
            },
            rounds=7,
        )
    rows(report, "bundled checkpoint, float32, batch 1, tokens/s", rates)
    report.check("tiny_b1_compiled_vs_generate", ratios["generate"], ">=", 2.5)


def mid(report: Report) -> None:
    """Hidden 512 x 8 layers, prompts of 5-300 tokens, answers of 8-100, over 16 slots."""
    requests = mixed(32 if report.quick else 48, (5, 300), (8, 100))
    some = requests[:: 4 if report.quick else 3]  # one by one takes long: every third
    with random_model(MID, "float32", "cpu") as (ours, theirs):
        ratios, rates = alternate(
            {
                "ours, 16 slots": lambda: batched(ours.slots(16), requests),
                "generate, padded batches of 16": lambda: generate_padded(theirs, requests, 16),
                "generate, one by one": lambda: generate_each(theirs, some),
            },
            rounds=1 if report.quick else 3,
        )
    rows(report, "hidden 512 x 8, 5-300 in, 8-100 out, tokens/s", rates)
    padded = ratios["generate, padded batches of 16"]
    report.check("mid_slots_vs_padded", padded, ">=", 2.0)
    report.check("mid_slots_vs_sequential", ratios["generate, one by one"], ">=", 2.5)


def mid_alike(report: Report) -> None:
    """The same model where lengths are alike and padding wastes little."""
    requests = mixed(48, (5, 60), (8, 200))
    with random_model(MID, "float32", "cpu") as (ours, theirs):
        ratios, rates = alternate(
            {
                "ours, 16 slots": lambda: batched(ours.slots(16), requests),
                "generate, padded batches of 16": lambda: generate_padded(theirs, requests, 16),
            },
            rounds=3,
        )
        for count in (1, 4, 16, 64):
            rate = batched(ours.slots(count), requests[:count] + requests[: max(0, count - 48)])
            report.row(what="hidden 512 x 8, arriving at once", requests=count, tokens_per_s=rate)
    rows(report, "hidden 512 x 8, 5-60 in, 8-200 out, tokens/s", rates)
    ratio = ratios["generate, padded batches of 16"]
    report.check("mid_alike_slots_vs_padded", ratio, ">=", 1.2)


def latency(report: Report) -> None:
    """Time to the first token by length of the prompt."""
    with models(CHECKPOINT, "float32", "cpu") as (ours, theirs):
        for length in (16, 128, 512, 1500):
            request = [(prompt(ours, length), 1)]
            _, rates = alternate(
                {
                    "ours": lambda request=request: sequentially(ours, request),
                    "generate": lambda request=request: generate_each(theirs, request),
                },
                rounds=5,
            )
            figures = {f"{name}_ms": 1000 / median(rate) for name, rate in rates.items()}
            report.row(what="bundled checkpoint, TTFT", prompt_tokens=length, **figures)


def full(report: Report) -> None:
    """The true shape with random weights, bfloat16, one request."""
    with random_model(FULL, "bfloat16", "cpu") as (ours, theirs):
        requests = [(list(range(100, 132)), 12)]
        ratios, rates = alternate(
            {
                "ours": lambda: sequentially(ours, requests),
                "generate": lambda: generate_each(theirs, requests),
            },
            rounds=3,
        )
        rate = decode_rate(ours, 1, tokens=12)
        share = rate * bytes_per_token(ours) / read_bandwidth(torch.device("cpu"))
    rows(report, "Phi-2's shape, bfloat16, batch 1, tokens/s", rates)
    report.row(what="Phi-2's shape, decoding", tokens_per_s=rate, share_of_bandwidth=share)
    report.check("full_b1_vs_generate", ratios["generate"], ">=", 1.0)
    report.check("full_b1_bandwidth_share", share, ">=", 0.6)


def gpu(report: Report) -> None:
    """The true shape in float16 on a CUDA device."""
    bounds = {
        "gpu_b1_bandwidth_share": (">=", 0.8),
        "gpu_b1_vs_generate": (">=", 8.0),
        "gpu_slots64_vs_b1": (">=", 20.0),
        "gpu_join_gap_vs_median": ("<=", 3.0),
    }
    if not torch.cuda.is_available():
        for name, (op, bound) in bounds.items():
            report.check(name, None, op, bound, "no CUDA device here")  # type: ignore[arg-type]
        return
    with random_model(FULL, "float16", "cuda") as (ours, theirs):
        one = decode_rate(ours, 1, tokens=200)
        default = generate_each(theirs, [(list(range(100, 132)), 100)])
        many = batched(warm(ours.slots(64)), [(list(range(100, 228)), 128)] * 64)
        found = {
            "gpu_b1_bandwidth_share": one
            * bytes_per_token(ours)
            / read_bandwidth(torch.device("cuda")),
            "gpu_b1_vs_generate": one / default,
            "gpu_slots64_vs_b1": many / one,
            "gpu_join_gap_vs_median": join_gap(warm(ours.slots(8))),
        }
    for name, (op, bound) in bounds.items():
        report.check(name, found[name], op, bound)  # type: ignore[arg-type]


# --------------------------------------------------------------------------- ways to run


def batched(slots: Slots, requests: Requests) -> float:
    """Tokens a second of all requests, there at once, in slots."""
    waiting, left = list(requests), {}
    began = time.perf_counter()
    while waiting or left:
        while waiting and slots.free:
            ids, count = waiting.pop(0)
            left[slots.join(ids, Sampling(max_tokens=count))] = count
        for token in slots.step():
            left[token.row] -= 1
            if not left[token.row]:
                slots.leave(token.row)
                del left[token.row]
    return sum(count for _, count in requests) / (time.perf_counter() - began)


def sequentially(model: LocalModel, requests: Requests) -> float:
    """Tokens a second of requests one by one."""
    if not model._spare:
        model._spare.append(model.slots(1))
    return batched(model._spare[0], requests)


def generate_each(model: Any, requests: Requests) -> float:
    """``transformers.generate``, as it is, one by one."""
    began = time.perf_counter()
    for ids, count in requests:
        text = torch.tensor([ids], device=model.device)
        generate(model, text, torch.ones_like(text), count)
    return sum(count for _, count in requests) / (time.perf_counter() - began)


def generate_padded(model: Any, requests: Requests, size: int) -> float:
    """``transformers.generate`` on batches, padded on the left, each as long as its longest."""
    began = time.perf_counter()
    for at in range(0, len(requests), size):
        batch = requests[at : at + size]
        longest = max(len(ids) for ids, _ in batch)
        text = torch.tensor([[0] * (longest - len(ids)) + ids for ids, _ in batch])
        mask = torch.tensor([[0] * (longest - len(ids)) + [1] * len(ids) for ids, _ in batch])
        generate(model, text, mask, max(count for _, count in batch))
    return sum(count for _, count in requests) / (time.perf_counter() - began)


def generate(model: Any, ids: torch.Tensor, mask: torch.Tensor, count: int) -> None:
    model.generate(
        ids,
        attention_mask=mask,
        min_new_tokens=count,
        max_new_tokens=count,
        do_sample=False,
        pad_token_id=0,
    )
    if model.device.type == "cuda":
        torch.cuda.synchronize()


def decode_rate(model: LocalModel, count: int, *, tokens: int) -> float:
    """Tokens a second of decoding alone, after the prompt."""
    slots = warm(model.slots(count))
    rows_ = [
        slots.join(list(range(100, 132)), Sampling(max_tokens=2 * tokens)) for _ in range(count)
    ]
    for _ in range(3):
        slots.step()
    began = time.perf_counter()
    for _ in range(tokens):
        slots.step()
    seconds = time.perf_counter() - began
    for row in rows_:
        slots.leave(row)
    return count * tokens / seconds


def join_gap(slots: Slots) -> float:
    """Largest gap between two tokens of a stream while 1,500 tokens join, over the median gap."""
    slots.join([1, 2, 3], Sampling(max_tokens=1900))
    usual, largest = [], []
    for _ in range(20):
        usual += [timed(slots.step) for _ in range(20)]
        joining = slots.join(list(range(100, 1600)), Sampling(max_tokens=1))
        gaps = []
        while joining.live:
            began = time.perf_counter()
            if any(token.row is joining for token in slots.step()):
                slots.leave(joining)
            gaps.append(time.perf_counter() - began)
        largest.append(max(gaps))
    return median(largest) / median(usual)


def timed(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began


def warm(slots: Slots) -> Slots:
    slots.warm_up()
    return slots


# --------------------------------------------------------------------------- models, figures


@contextmanager
def models(
    folder: Path, dtype: str, device: str, *, compile: bool = False
) -> Iterator[tuple[LocalModel, Any]]:
    """The same weights here and in transformers."""
    ours = LocalModel.load(folder, dtype=dtype, device=device, compile=compile)  # type: ignore[arg-type]
    theirs = transformers.PhiForCausalLM.from_pretrained(
        folder, dtype=getattr(torch, dtype), attn_implementation="sdpa"
    )
    yield ours, theirs.to(device).eval()


@contextmanager
def random_model(
    shape: dict[str, int], dtype: str, device: str
) -> Iterator[tuple[LocalModel, Any]]:
    """Random weights of a shape."""
    heads = 32 if shape["hidden_size"] == 2560 else 8
    config = transformers.PhiConfig(
        **({"vocab_size": 51200, "num_attention_heads": heads} | shape),
        max_position_embeddings=2048,
        partial_rotary_factor=0.4 if heads == 32 else 0.5,
    )
    folder = Path(tempfile.mkdtemp(prefix="phi2-bench-"))
    try:
        torch.manual_seed(0)
        before = torch.get_default_dtype()
        torch.set_default_dtype(getattr(torch, dtype))
        try:
            transformers.PhiForCausalLM(config).save_pretrained(folder)
        finally:
            torch.set_default_dtype(before)
        shutil.copy(CHECKPOINT / "tokenizer.json", folder)
        with models(folder, dtype, device) as pair:
            yield pair
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def alternate(
    ways: dict[str, Callable[[], float]], rounds: int
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Rates of each way, rounds in turn; the first's median ratio to each other one."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    if rounds > 1:
        for run in ways.values():
            run()  # the first time allocates and chooses
    for _ in range(rounds):
        for name, run in ways.items():
            rates[name].append(run())
    first, *others = rates
    pairs = {name: zip(rates[first], rates[name], strict=True) for name in others}
    return {name: median(a / b for a, b in pair) for name, pair in pairs.items()}, rates


def rows(report: Report, what: str, rates: dict[str, list[float]]) -> None:
    for name, measured in rates.items():
        report.row(
            what=what,
            who=name,
            median=median(measured),
            least=min(measured),
            most=max(measured),
            rounds=len(measured),
        )


def mixed(count: int, inputs: tuple[int, int], outputs: tuple[int, int]) -> Requests:
    rng = random.Random(0)
    return [
        ([rng.randrange(1, 2000) for _ in range(rng.randint(*inputs))], rng.randint(*outputs))
        for _ in range(count)
    ]


def prompt(model: LocalModel, length: int) -> list[int]:
    text = "Instruct: Write a paragraph about rivers and the towns beside them.\nOutput:"
    return (model.encode(text) * length)[:length]


def bytes_per_token(model: LocalModel) -> int:
    """What a step reads: all weights but the embedding, of which it reads one row."""
    shape = model.phi.config.shape
    head = shape.vocab * shape.hidden
    return (shape.matrix_parameters + head) * model.phi.dtype.itemsize


def read_bandwidth(device: torch.device) -> float:
    """Bytes a second: reading half a gigabyte on a CPU, copying it on a GPU (read and write)."""
    block = torch.ones(2**27, dtype=torch.float32, device=device)
    if device.type == "cpu":
        return median(block.nbytes / timed(block.sum) for _ in range(9))
    other = torch.empty_like(block)

    def copy() -> None:
        other.copy_(block)
        torch.cuda.synchronize()

    return median(2 * block.nbytes / timed(copy) for _ in range(9))


if __name__ == "__main__":
    sys.exit(main())
