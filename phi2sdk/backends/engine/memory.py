"""How much memory a model needs, and how much a device has."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from phi2sdk.errors import ConfigurationError, OutOfMemory

__all__ = [
    "CONTEXTS",
    "DEVICES",
    "DTYPES",
    "DType",
    "ComputeDevice",
    "GB",
    "PHI2",
    "Plan",
    "Shape",
    "available_ram",
    "DTypeName",
    "HALVES",
    "PRECISIONS",
    "choose_dtype",
    "fits",
    "plan",
    "refuse_unless_fits",
    "table",
    "this_device",
]

CONTEXTS = (512, 1024, 2048)
PREFILL_TOKENS = 256
"""A prompt is read in chunks of at most so many tokens; their activations live at once."""

_MOST = 2**31 - 1
"""No size of a model is larger."""

INT4_GROUP = 64
"""So many int4 weights of a row share one scale."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Phi model that decide its memory; the default is Phi-2."""

    hidden: int = 2560
    intermediate: int = 10240
    layers: int = 32
    heads: int = 32
    kv_heads: int = 32
    vocab: int = 51200
    context_length: int = 2048
    tied_embeddings: bool = False

    @classmethod
    def of_config(cls, config: Mapping[str, Any]) -> Shape:
        """The shape in a model's ``config.json``.

        Raises:
            ConfigurationError: A size is missing or is none, or they do not go together.
        """
        heads = _size(config, "num_attention_heads")
        shape = cls(
            hidden=_size(config, "hidden_size"),
            intermediate=_size(config, "intermediate_size"),
            layers=_size(config, "num_hidden_layers"),
            heads=heads,
            kv_heads=_size(config, "num_key_value_heads", heads),
            vocab=_size(config, "vocab_size"),
            context_length=_size(config, "max_position_embeddings"),
            tied_embeddings=_flag(config, "tie_word_embeddings"),
        )
        for whole, part in ((shape.hidden, heads), (heads, shape.kv_heads)):
            if whole % part:
                raise ConfigurationError(
                    f"config.json: hidden_size {shape.hidden}, {heads} attention heads and "
                    f"{shape.kv_heads} key-value heads do not divide each other: is this a Phi "
                    "model's file?"
                )
        return shape

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def kv_width(self) -> int:
        """Width of the keys (or the values) of one token in one layer."""
        return self.kv_heads * self.head_dim

    @property
    def matrix_parameters(self) -> int:
        """Parameters in the layers' matrices: what quantisation makes smaller."""
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * self.kv_width
        return self.layers * (attention + 2 * self.hidden * self.intermediate)

    @property
    def matrix_rows(self) -> int:
        """Output rows of those matrices: each has a scale when quantised."""
        rows = 2 * self.hidden + 2 * self.kv_width + self.intermediate + self.hidden
        return self.layers * rows

    @property
    def other_parameters(self) -> int:
        """Embeddings, output head, norms and biases."""
        biases = 2 * self.hidden + 2 * self.kv_width + self.intermediate + self.hidden
        layers = self.layers * (biases + 2 * self.hidden)
        heads = self.vocab * self.hidden * (1 if self.tied_embeddings else 2) + self.vocab
        return layers + heads + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters (2,779,683,840 for Phi-2)."""
        return self.matrix_parameters + self.other_parameters


def _size(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MOST:
        known = "is missing" if value is None else f"must be a whole number from 1 to {_MOST}"
        raise ConfigurationError(f"config.json is not a Phi model's: {name} {known}")
    return value


def _flag(config: Mapping[str, Any], name: str) -> bool:
    value = config.get(name, False)
    if not isinstance(value, bool):
        raise ConfigurationError(f"config.json is not a Phi model's: {name} must be true or false")
    return value


PHI2 = Shape()


@dataclass(frozen=True, slots=True)
class DType:
    """How numbers are stored.

    Attributes:
        name: ``float32``, ``float16``, ``bfloat16``, ``int8`` or ``int4``.
        matrix_bytes: Bytes of one weight in the layers' matrices, scales not counted.
        bytes: Bytes of one number elsewhere: embeddings, cache, activations.
        group: Weights that share a scale; 0 for one scale a row, ``None`` for none.
    """

    name: str
    matrix_bytes: float
    bytes: int
    group: int | None = None


DTypeName = Literal["auto", "float32", "float16", "bfloat16"]
PRECISIONS = ("float32", "float16", "bfloat16")
"""The dtypes of a model that is not quantized."""
HALVES = ("float16", "bfloat16")
"""The dtypes of what stays unquantized in a quantized model."""
DTYPES: Mapping[str, DType] = {
    dtype.name: dtype
    for dtype in (
        DType("float32", 4, 4),
        DType("float16", 2, 2),
        DType("bfloat16", 2, 2),
        DType("int8", 1, 2, group=0),
        DType("int4", 0.5, 2, group=INT4_GROUP),
    )
}


_RUNTIME_BYTES = 500_000_000
"""What a CUDA context, its libraries and the allocator's slack take: about half a gigabyte, the
difference between 6.23 GB and the 6.7 GB that are published for float16."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a model needs to run.

    Attributes:
        dtype, context, batch: For what; ``context`` tokens in each of ``batch`` sequences.
        weights_bytes: The parameters, with scales where they are quantised.
        kv_bytes: Keys and values of all tokens.
        working_bytes: Activations and logits of a step that makes one token for each sequence.
        prefill_bytes: What reading a prompt needs besides, :data:`PREFILL_TOKENS` at a time.
        runtime_bytes: What a GPU's runtime takes; 0 on a CPU.
    """

    dtype: str
    context: int
    batch: int
    weights_bytes: int
    kv_bytes: int
    working_bytes: int
    prefill_bytes: int
    runtime_bytes: int = _RUNTIME_BYTES

    @property
    def total_bytes(self) -> int:
        """Weights, cache and working set: the figure that is usually published."""
        return self.weights_bytes + self.kv_bytes + self.working_bytes

    @property
    def total_gb(self) -> float:
        """The same in GB (1e9 bytes), to two decimals."""
        return round(self.total_bytes / GB, 2)

    @property
    def peak_bytes(self) -> int:
        """The most that is in use at any moment, the runtime included."""
        return self.total_bytes + self.prefill_bytes + self.runtime_bytes


def plan(
    dtype: str = "float16",
    *,
    context: int = 2048,
    batch: int = 1,
    shape: Shape = PHI2,
    runtime: bool = True,
) -> Plan:
    """The need of a model.

    Args:
        dtype: One of :data:`DTYPES`.
        context: Tokens of a sequence, prompt and answer together.
        batch: Sequences at once.
        shape: The model's sizes.
        runtime: Count a GPU's runtime in :attr:`Plan.peak_bytes`.

    Raises:
        ConfigurationError: There is no such dtype, or a size is below 1 or above the model's
            context.
    """
    kind = _dtype(dtype)
    if not 1 <= context <= shape.context_length:
        raise ConfigurationError(f"context {context} must be from 1 to {shape.context_length}")
    if batch < 1:
        raise ConfigurationError(f"batch {batch} must be at least 1")
    per_token = 2 * shape.hidden + shape.hidden + 2 * shape.kv_width + 2 * shape.intermediate
    step = batch * (per_token * kind.bytes + shape.vocab * (kind.bytes + 4))
    return Plan(
        dtype=dtype,
        context=context,
        batch=batch,
        weights_bytes=_weights_bytes(shape, kind),
        kv_bytes=2 * shape.layers * shape.kv_width * kind.bytes * context * batch,
        working_bytes=step,
        prefill_bytes=min(PREFILL_TOKENS, context) * per_token * kind.bytes,
        runtime_bytes=_RUNTIME_BYTES if runtime else 0,
    )


def fits(need: Plan, memory_bytes: int) -> bool:
    """Whether a plan's peak stays within ``memory_bytes``."""
    return need.peak_bytes <= memory_bytes


def table(
    *,
    dtypes: Sequence[str] = tuple(DTYPES),
    contexts: Sequence[int] = CONTEXTS,
    batch: int = 1,
    shape: Shape = PHI2,
) -> list[tuple[Plan, tuple[str, ...]]]:
    """Each dtype at each context, with the names of the :data:`DEVICES` on which it fits."""
    plans = [
        plan(dtype, context=context, batch=batch, shape=shape)
        for dtype in dtypes
        for context in contexts
    ]
    return [
        (need, tuple(d.name for d in DEVICES.values() if fits(need, d.memory_bytes)))
        for need in plans
    ]


def choose_dtype(
    memory_bytes: int,
    *,
    gpu: bool,
    shape: Shape = PHI2,
    context: int | None = None,
    batch: int = 1,
) -> str:
    """The dtype for ``auto``: float16 on a GPU; on a CPU float32, or bfloat16 if only that fits.

    A CPU computes float32 fastest and exactly; a GPU reads half the bytes a token in float16,
    the dtype in which Phi-2's weights are published.

    Raises:
        OutOfMemory: Neither fits.
    """
    context = context or shape.context_length
    candidates = ("float16",) if gpu else ("float32", "bfloat16")
    for dtype in candidates:
        if fits(plan(dtype, context=context, batch=batch, shape=shape, runtime=gpu), memory_bytes):
            return dtype
    need = plan(candidates[-1], context=context, batch=batch, shape=shape, runtime=gpu)
    raise _out_of_memory(need, memory_bytes, shape)


def refuse_unless_fits(need: Plan, memory_bytes: int, *, shape: Shape = PHI2) -> None:
    """Check a plan before a byte is loaded.

    Raises:
        OutOfMemory: It does not fit; the message has the numbers, and what would fit.
    """
    if not fits(need, memory_bytes):
        raise _out_of_memory(need, memory_bytes, shape)


def _weights_bytes(shape: Shape, kind: DType) -> int:
    scales = 0
    if kind.group is not None:
        per_row = shape.matrix_rows if kind.group == 0 else shape.matrix_parameters // kind.group
        scales = per_row * 2
    matrices = round(shape.matrix_parameters * kind.matrix_bytes)
    return matrices + scales + shape.other_parameters * kind.bytes


def _out_of_memory(need: Plan, memory_bytes: int, shape: Shape) -> OutOfMemory:
    def smaller(dtype: str, batch: int) -> Plan:
        runtime = need.runtime_bytes > 0
        return plan(dtype, context=need.context, batch=batch, shape=shape, runtime=runtime)

    remedy = next(
        (
            f"dtype {dtype} with batch {batch} would fit"
            for batch in dict.fromkeys((need.batch, 1))
            for dtype in ("float16", "bfloat16", "int8", "int4")
            if fits(smaller(dtype, batch), memory_bytes)
        ),
        "nothing of this model would fit here",
    )
    return OutOfMemory(
        f"{need.dtype} with {need.context} tokens and batch {need.batch} needs "
        f"{need.peak_bytes / GB:.2f} GB (weights {need.weights_bytes / GB:.2f}, KV cache "
        f"{need.kv_bytes / GB:.2f}, the rest working memory), and "
        f"{memory_bytes / GB:.2f} GB are free: {remedy}"
    )


def _dtype(name: str) -> DType:
    try:
        return DTYPES[name]
    except KeyError:
        known = ", ".join(DTYPES)
        raise ConfigurationError(f"there is no dtype {name!r}: use one of {known}") from None


GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ComputeDevice:
    """A GPU; memory in bytes as its maker counts it (1 GB is 1e9)."""

    name: str
    memory_bytes: int


DEVICES: Mapping[str, ComputeDevice] = {
    name: ComputeDevice(name, gb * GB)
    for name, gb in (
        ("T4", 16),
        ("L4", 24),
        ("A10G", 24),
        ("A100", 80),
        ("H100", 80),
        ("H200", 141),
    )
}


def this_device(name: str = "auto") -> ComputeDevice:
    """The device of this machine, with the bytes that are free on it: its GPU, if torch sees one.

    Raises:
        ConfigurationError: ``name`` is not ``auto``, ``cuda`` or ``cpu``, or there is no GPU.
    """
    if name not in ("auto", "cuda", "cpu"):
        raise ConfigurationError(f"device={name!r}: use auto, cuda or cpu")
    if name != "cpu" and importlib.util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return ComputeDevice(torch.cuda.get_device_name(), torch.cuda.mem_get_info()[0])
    if name == "cuda":
        raise ConfigurationError("torch finds no CUDA device here")
    return ComputeDevice("CPU", available_ram())


def available_ram() -> int:
    """Bytes of main memory that a new allocation may take on this machine.

    Reads ``MemAvailable``, the limit of the control group, and where neither is known the
    size of the physical memory.
    """
    free = _meminfo_available()
    limit = _cgroup_headroom()
    known = [value for value in (free, limit) if value is not None]
    if known:
        return min(known)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _meminfo_available() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    for line in text.splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _cgroup_headroom() -> int | None:
    root = Path("/sys/fs/cgroup")
    try:
        limit = (root / "memory.max").read_text(encoding="ascii").strip()
        used = int((root / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (root / "memory.stat").read_text("ascii").splitlines())
    except (OSError, ValueError):
        return None
    used -= int(stat.get("inactive_file", 0))  # page cache, given back on demand
    return max(0, int(limit) - used) if limit.isdigit() else None
