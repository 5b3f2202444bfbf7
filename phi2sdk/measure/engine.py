"""Check on a device that the answers of the local engine are right, and measure its speed.

The answers are those of the bundled model, compared with the same model in float32 on the CPU. The
speed is that of Phi-2's shape with random weights, so that nothing is downloaded.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING, Literal

from phi2sdk import demo
from phi2sdk.backends.engine import memory
from phi2sdk.measure.folder import machine, versions
from phi2sdk.sampling import Sampling

if TYPE_CHECKING:
    import torch

    from phi2sdk.backends.engine import LocalModel
    from phi2sdk.backends.engine.phi import Phi
    from phi2sdk.backends.engine.slots import Slots

__all__ = ["Agreement", "EngineCheck", "Speed", "check_engine"]

PROMPTS = 24
TOKENS = 32
BATCH = 16
ROUNDING = {"float32": 0.001, "float16": 0.04, "bfloat16": 0.3}
"""The largest effect of rounding on a log-probability, and on the gap between two, in nats by
dtype: on the bundled model, bfloat16 changes a gap by up to 0.28. float16 has three bits more."""
SECONDS = 8.0
"""The maximum duration of one measurement of a speed, after its first steps."""
STEPS = 200
LENGTH = 1024
"""Tokens of a slot while the speed is measured: a cache for 2,048 would not fit 64 times."""
PROMPT = 512
"""Tokens of the prompt that joins while another request is in decode."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """The number of answers that differ from those they are compared with.

    Attributes:
        answers: The number of answers.
        different: How many differ.
        ties: How many of these differ first where the float32 model hardly prefers one token, so
            that rounding decides.
    """

    answers: int
    different: int
    ties: int

    @property
    def ok(self) -> bool:
        """Return whether rounding explains every difference."""
        return self.different == self.ties


@dataclass(frozen=True, slots=True)
class Speed:
    """The speed of decoding at Phi-2's shape.

    Attributes:
        layers: The number of layers; fewer than Phi-2's 32 if memory does not suffice for them.
        read_gb_per_s: The memory bandwidth of the device, in 10^9 bytes/s.
        tokens_per_s: Tokens/s by the number of requests in flight.
        bandwidth_share: The share of the bandwidth that decoding one request uses for weights.
        gap_ms: The median time between two tokens of a request.
        join_gap_ms: The largest such time while a prompt of 512 tokens joins.
    """

    layers: int
    read_gb_per_s: float
    tokens_per_s: Mapping[int, float]
    bandwidth_share: float
    gap_ms: float
    join_gap_ms: float


@dataclass(frozen=True, slots=True)
class EngineCheck:
    """The result of a check.

    Attributes:
        device, dtype: What was checked.
        machine, versions: Where, and with which packages.
        logprob_difference: The largest difference of a log-probability from float32's on the CPU,
            along its greedy answers, in nats.
        greedy: Greedy answers, compared with float32 on the CPU.
        batched: Answers in a batch, greedy and sampled, compared with the same ones alone.
        speed: The speed.
        seconds: The duration of the check.
    """

    device: str
    dtype: str
    machine: Mapping[str, object]
    versions: Mapping[str, str]
    logprob_difference: float
    greedy: Agreement
    batched: Agreement
    speed: Speed
    seconds: float

    @property
    def ok(self) -> bool:
        """Return whether rounding explains all differences."""
        rounding = ROUNDING[self.dtype]
        return self.logprob_difference <= rounding and self.greedy.ok and self.batched.ok


def check_engine(
    device: Literal["auto", "cuda", "cpu", "mps"] = "auto",
    dtype: str = "auto",
    *,
    shape: memory.Shape = memory.PHI2,
    notice: Callable[[str], None] = lambda step: None,
) -> EngineCheck:
    """Check the engine, which takes one to two minutes.

    Args:
        device: The device; ``auto`` selects CUDA, else MPS, else the CPU.
        dtype: The dtype; ``auto`` selects the one that a target would have.
        shape: The shape whose speed is measured.
        notice: Receives a few words on each step.

    Raises:
        ConfigurationError: The device or the dtype does not exist.
        OutOfMemory: Two layers of the model do not fit.
    """
    from phi2sdk.backends.engine import LocalModel

    began = time.perf_counter()
    notice("loading the bundled model")
    reference = LocalModel.load(demo.checkpoint_path(), dtype="float32", device="cpu")
    tested = LocalModel.load(demo.checkpoint_path(), dtype=dtype, device=device)  # type: ignore[arg-type]
    where = tested.phi.device
    if dtype == "auto":
        free = memory.this_device().memory_bytes if where.type == "cuda" else memory.available_ram()
        gpu = where.type != "cpu"
        wanted = memory.choose_dtype(free, gpu=gpu, shape=shape)
        if wanted != tested.dtype:
            tested = LocalModel.load(demo.checkpoint_path(), dtype=wanted, device=device)  # type: ignore[arg-type]
    notice(f"comparing answers in {tested.dtype} on {tested.device}")
    difference, greedy, batched = agreement(reference, tested)
    notice("measuring the speed")
    speed = measure_speed(tested, shape, notice)
    return EngineCheck(
        device=device_name(where),
        dtype=tested.dtype,
        machine=machine(),
        versions=versions(),
        logprob_difference=difference,
        greedy=greedy,
        batched=batched,
        speed=speed,
        seconds=time.perf_counter() - began,
    )


def device_name(device: torch.device) -> str:
    """Return the name of a GPU, or the type of another device."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


# ------------------------------------------------------------------------- answers


def agreement(reference: LocalModel, tested: LocalModel) -> tuple[float, Agreement, Agreement]:
    """Compare log-probabilities and greedy answers with the reference's, and a batch with alone."""
    prompts = [reference.encode(_prompt(at)) for at in range(PROMPTS)]
    greedy = [(prompt, Sampling(max_tokens=TOKENS)) for prompt in prompts]
    mixed = [
        (prompt, Sampling(max_tokens=TOKENS, temperature=float(at % 2), seed=at))
        for at, prompt in enumerate(prompts)
    ]
    expected = answers(reference.slots(BATCH, length=LENGTH), greedy)
    alone = [answers(tested.slots(1, length=LENGTH), [one])[0] for one in mixed]
    together = answers(tested.slots(BATCH, length=LENGTH), mixed)
    found = answers(tested.slots(1, length=LENGTH), greedy)
    tie = ROUNDING[tested.dtype]
    return (
        _difference(reference, tested, list(zip(prompts, expected, strict=True))),
        _agreement(reference, greedy, expected, found, tie),
        _agreement(reference, mixed, alone, together, tie),
    )


def _prompt(at: int) -> str:
    subjects = ("rivers", "glass", "bread", "maps", "clocks", "birds", "salt", "wind")
    asked = ("Write a paragraph about", "What is known about", "Explain to a child the word")
    return f"Instruct: {asked[at // len(subjects)]} {subjects[at % len(subjects)]}.\nOutput:"


Request = tuple[Sequence[int], Sampling]


def answers(slots: Slots, requests: Sequence[Request]) -> list[list[int]]:
    """Return the tokens of each request, of which as many run together as there are slots."""
    found: list[list[int]] = [[] for _ in requests]
    places: dict[int, int] = {}
    kept = []  # rows, so that no two have the same id
    waiting = list(enumerate(requests))
    while waiting or slots.rows:
        while waiting and slots.free:
            at, (prompt, sampling) = waiting.pop(0)
            kept.append(slots.join(prompt, sampling))
            places[id(kept[-1])] = at
        for token in slots.step():
            at = places[id(token.row)]
            found[at].append(token.id)
            if len(found[at]) == requests[at][1].max_tokens:
                slots.leave(token.row)
    return found


def _difference(
    reference: LocalModel, tested: LocalModel, texts: Sequence[tuple[list[int], list[int]]]
) -> float:
    pairs = zip(reference.score_many(texts), tested.score_many(texts), strict=True)
    return max(
        abs(a - b) for one, other in pairs for a, b in zip(one.logprob, other.logprob, strict=True)
    )


def _agreement(
    reference: LocalModel,
    requests: Sequence[Request],
    expected: Sequence[Sequence[int]],
    found: Sequence[Sequence[int]],
    tie: float,
) -> Agreement:
    parted = [(r, a, b) for r, a, b in zip(requests, expected, found, strict=True) if a != b]
    ties = sum(_gap(reference, *one) <= tie for one in parted)
    return Agreement(len(requests), len(parted), ties)


def _gap(reference: LocalModel, request: Request, a: Sequence[int], b: Sequence[int]) -> float:
    """Return how far two answers' first different tokens are apart, in nats.

    Greedy tokens are compared by their logits, and sampled ones by their logits with the noise of
    the sampler, whose largest sum decides.
    """
    import torch

    from phi2sdk.backends.engine.sampler import gumbel
    from phi2sdk.backends.engine.scoring import packed_hidden

    prompt, sampling = request
    same = len(list(takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=True))))
    with torch.inference_mode():
        hidden = packed_hidden(reference.phi, [(prompt, a[: same + 1])])
        logits = reference.phi.logits(hidden[-1:])
        if not sampling.greedy:
            logits = logits / sampling.temperature + gumbel([(sampling.seed or 0, same)], logits)
    return abs(float(logits[0, a[same]] - logits[0, b[same]]))


# --------------------------------------------------------------------------- speed


def measure_speed(model: LocalModel, shape: memory.Shape, notice: Callable[[str], None]) -> Speed:
    """Measure decoding with random weights in the dtype and on the device of a model."""
    from phi2sdk.backends.engine import LocalModel, files

    device = model.phi.device
    shape = _fitting(shape, model)
    notice(f"making random weights of {shape.layers} layers")
    phi = random_phi(shape, model.phi)
    large = LocalModel(files.find_model(demo.checkpoint_path()), phi)
    bandwidth = read_bandwidth(device)
    rates: dict[int, float] = {}
    for count in (1, 16, 64):
        notice(f"decoding {count} requests")
        slots = large.slots(count, length=min(LENGTH, shape.context_length))
        if slots.cache.slots == count:
            rates[count] = decode_rate(slots, count)
        del slots
    notice("a prompt joins")
    gap, join_gap = join_gaps(large.slots(2, length=min(LENGTH, shape.context_length)))
    return Speed(
        layers=shape.layers,
        read_gb_per_s=bandwidth / 1e9,
        tokens_per_s=rates,
        bandwidth_share=rates[1] * bytes_per_token(phi) / bandwidth,
        gap_ms=1e3 * gap,
        join_gap_ms=1e3 * join_gap,
    )


def _fitting(shape: memory.Shape, model: LocalModel) -> memory.Shape:
    """Return the shape with as many layers as fit into nine tenths of the free memory."""
    on_gpu = model.phi.device.type == "cuda"
    free = memory.this_device().memory_bytes if on_gpu else memory.available_ram()
    for layers in range(shape.layers, 2, -2):
        fewer = replace(shape, layers=layers)
        need = memory.plan(model.dtype, shape=fewer, context=LENGTH, batch=16, runtime=False)
        if need.peak_bytes <= 0.9 * free:
            return fewer
    return replace(shape, layers=2)


def random_phi(shape: memory.Shape, like: Phi) -> Phi:
    """Return a model of a shape with random weights, which repeat, so that they are made fast.

    Args:
        shape: The shape.
        like: A model with the same dtype, device and other settings.
    """
    import torch

    from phi2sdk.backends.engine.phi import Block, Matrix, Norm, Phi

    noise = (torch.randn(2**22) * 0.02).to(like.dtype).to(like.device)
    d, inner, seen = shape.hidden, shape.intermediate, shape.heads * shape.head_dim

    def new(*size: int) -> torch.Tensor:
        made = torch.empty(size, dtype=like.dtype, device=like.device)
        for part in made.view(-1).split(len(noise)):  # type: ignore[no-untyped-call]
            part.copy_(noise[: len(part)])
        return made

    def matrix(rows: int, columns: int) -> Matrix:
        return Matrix(new(rows, columns), new(rows))

    def norm() -> Norm:
        return Norm(torch.ones_like(noise[:d]), new(d), like.config.norm_eps)

    wide = seen + 2 * shape.kv_width + inner
    blocks = [Block(norm(), matrix(wide, d), matrix(d, seen + inner)) for _ in range(shape.layers)]
    rotary = min(like.config.rotary_dims, shape.head_dim)
    config = replace(like.config, shape=shape, rotary_dims=rotary)
    return Phi(config, new(shape.vocab, d), blocks, norm(), matrix(shape.vocab, d))


def bytes_per_token(phi: Phi) -> int:
    """Return the bytes that a decode step reads: all weights without the embedding."""
    shape = phi.config.shape
    return (shape.matrix_parameters + shape.vocab * shape.hidden) * phi.dtype.itemsize


def read_bandwidth(device: torch.device) -> float:
    """Return bytes/s of reading half a gigabyte on a CPU, or of copying it on another device."""
    import torch

    block = torch.ones(2**27, dtype=torch.float32, device=device)
    if device.type == "cpu":
        return statistics.median(block.nbytes / _timed(block.sum) for _ in range(9))
    other = torch.empty_like(block)

    def copy() -> None:
        other.copy_(block)
        other[-1].item()  # waits for the device

    return statistics.median(2 * block.nbytes / _timed(copy) for _ in range(9))


def decode_rate(slots: Slots, count: int, *, steps: int = STEPS) -> float:
    """Return the tokens/s of decoding several requests, without the time of their prompts."""
    slots.warm_up()
    for _ in range(count):
        slots.join([100, 101, 102, 103], Sampling(max_tokens=LENGTH))
    for _ in range(3):
        slots.step()
    done, began = 0, time.perf_counter()
    while done < steps and time.perf_counter() - began < SECONDS:
        slots.step()
        done += 1
    return count * done / (time.perf_counter() - began)


def join_gaps(slots: Slots, *, prompt: int = PROMPT, rounds: int = 20) -> tuple[float, float]:
    """Return the median time between two tokens of a request, and the largest while one joins.

    The second is the median over several rounds, which end after :data:`SECONDS`.
    """
    slots.warm_up()
    slots.join([1, 2, 3], Sampling(max_tokens=LENGTH))
    for _ in range(3):
        slots.step()
    usual: list[float] = []
    largest: list[float] = []
    began = time.perf_counter()
    while len(largest) < rounds and (not largest or time.perf_counter() - began < SECONDS):
        usual += [_timed(slots.step) for _ in range(10)]
        joining = slots.join(list(range(100, 100 + prompt)), Sampling(max_tokens=1))
        gaps = []
        while joining.live:
            before = time.perf_counter()
            if any(token.row is joining for token in slots.step()):
                slots.leave(joining)
            gaps.append(time.perf_counter() - before)
        largest.append(max(gaps))
    return statistics.median(usual), statistics.median(largest)


def _timed(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return time.perf_counter() - began
