"""Estimate the memory that a model needs, and find the memory that a device has."""

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
"""Maximum number of prompt tokens in one pass, whose activations are in memory together."""

_MOST = 2**31 - 1
"""The largest value of a size in ``config.json``."""

INT4_GROUP = 64
"""Number of int4 weights of a row that share one scale."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a Phi model that determine its memory; the defaults are those of Phi-2."""

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
        """Return the shape given by a model's ``config.json``.

        Raises:
            ConfigurationError: A size is missing, is not a valid size, or contradicts another.
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
                    f"{shape.kv_heads} key-value heads do not divide each other, so this is not "
                    "the file of a Phi model. Download the model again"
                )
        return shape

    @property
    def head_dim(self) -> int:
        """Return the width of one attention head."""
        return self.hidden // self.heads

    @property
    def kv_width(self) -> int:
        """Return the width of the keys (or the values) of one token in one layer."""
        return self.kv_heads * self.head_dim

    @property
    def matrix_parameters(self) -> int:
        """Return the number of parameters in the layers' matrices, which can be quantized."""
        attention = 2 * self.hidden * self.hidden + 2 * self.hidden * self.kv_width
        return self.layers * (attention + 2 * self.hidden * self.intermediate)

    @property
    def matrix_rows(self) -> int:
        """Return the number of output rows of these matrices; each row has a scale in int8."""
        rows = 2 * self.hidden + 2 * self.kv_width + self.intermediate + self.hidden
        return self.layers * rows

    @property
    def other_parameters(self) -> int:
        """Return the number of parameters in embeddings, output head, norms and biases."""
        biases = 2 * self.hidden + 2 * self.kv_width + self.intermediate + self.hidden
        layers = self.layers * (biases + 2 * self.hidden)
        heads = self.vocab * self.hidden * (1 if self.tied_embeddings else 2) + self.vocab
        return layers + heads + 2 * self.hidden

    @property
    def parameters(self) -> int:
        """Return the number of all parameters (2,779,683,840 for Phi-2)."""
        return self.matrix_parameters + self.other_parameters


def _size(config: Mapping[str, Any], name: str, default: int | None = None) -> int:
    value = config.get(name)
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value <= _MOST:
        known = "is missing" if value is None else f"must be an integer from 1 to {_MOST}"
        raise ConfigurationError(
            f"config.json is not that of a Phi model: {name} {known}. Download the model again"
        )
    return value


def _flag(config: Mapping[str, Any], name: str) -> bool:
    value = config.get(name, False)
    if not isinstance(value, bool):
        raise ConfigurationError(
            f"config.json is not that of a Phi model: {name} must be true or false. "
            "Download the model again"
        )
    return value


PHI2 = Shape()


@dataclass(frozen=True, slots=True)
class DType:
    """A number format of the weights.

    Attributes:
        name: ``float32``, ``float16``, ``bfloat16``, ``int8`` or ``int4``.
        matrix_bytes: Bytes per weight in the layers' matrices, without scales.
        bytes: Bytes per number in embeddings, cache and activations.
        group: Number of weights that share a scale; 0 for one scale per row, ``None`` for no scale.
    """

    name: str
    matrix_bytes: float
    bytes: int
    group: int | None = None


DTypeName = Literal["auto", "float32", "float16", "bfloat16"]
PRECISIONS = ("float32", "float16", "bfloat16")
"""The dtypes of a model that is not quantized."""
HALVES = ("float16", "bfloat16")
"""The dtypes of the parameters that a quantized model does not quantize."""
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
"""Memory of a CUDA context, its libraries and unused allocator blocks: about half a gigabyte, the
difference between 6.23 GB and the 6.7 GB that are published for float16."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The memory that a model needs to run.

    Attributes:
        dtype: Number format of the weights.
        context: Number of tokens in each sequence.
        batch: Number of sequences.
        weights_bytes: Parameters, including the scales of quantized weights.
        kv_bytes: Keys and values of all tokens.
        working_bytes: Activations and logits of a decode step of all sequences.
        prefill_bytes: Additional activations of prefill, for :data:`PREFILL_TOKENS` tokens.
        runtime_bytes: Memory of the GPU runtime; 0 on a CPU.
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
        """Return the bytes of weights, cache and working set, the figure usually published."""
        return self.weights_bytes + self.kv_bytes + self.working_bytes

    @property
    def total_gb(self) -> float:
        """Return :attr:`total_bytes` in GB (1e9 bytes), rounded to two decimals."""
        return round(self.total_bytes / GB, 2)

    @property
    def peak_bytes(self) -> int:
        """Return the maximum number of bytes in use at any time, including the runtime."""
        return self.total_bytes + self.prefill_bytes + self.runtime_bytes


def plan(
    dtype: str = "float16",
    *,
    context: int = 2048,
    batch: int = 1,
    shape: Shape = PHI2,
    runtime: bool = True,
) -> Plan:
    """Return the memory that a model needs.

    Args:
        dtype: One of :data:`DTYPES`.
        context: Number of tokens of a sequence, prompt and answer together.
        batch: Number of sequences.
        shape: The sizes of the model.
        runtime: Whether to count the GPU runtime in :attr:`Plan.peak_bytes`.

    Raises:
        ConfigurationError: The dtype is unknown, or a size is below 1 or above the model's
            context.
    """
    kind = _dtype(dtype)
    if not 1 <= context <= shape.context_length:
        raise ConfigurationError(
            f"the context is {context} tokens, and must be from 1 to {shape.context_length}"
        )
    if batch < 1:
        raise ConfigurationError(f"the batch is {batch}, and must be at least 1")
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
    """Return whether the peak of a plan fits into ``memory_bytes``."""
    return need.peak_bytes <= memory_bytes


def table(
    *,
    dtypes: Sequence[str] = tuple(DTYPES),
    contexts: Sequence[int] = CONTEXTS,
    batch: int = 1,
    shape: Shape = PHI2,
) -> list[tuple[Plan, tuple[str, ...]]]:
    """Return a plan for each dtype and context, with the :data:`DEVICES` on which it fits."""
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
    """Return the dtype for ``auto``.

    On a GPU this is float16, the dtype of Phi-2's published weights, which halves the bytes that
    are read per token. On a CPU it is float32, which is exact and fastest there, or bfloat16 if
    float32 does not fit.

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
    """Raise an error if a plan does not fit, before any weights are loaded.

    Raises:
        OutOfMemory: The plan does not fit. The message has the numbers, and a plan that fits.
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
            f"Use dtype {dtype} with batch {batch}, which fits"
            for batch in dict.fromkeys((need.batch, 1))
            for dtype in ("float16", "bfloat16", "int8", "int4")
            if fits(smaller(dtype, batch), memory_bytes)
        ),
        "No dtype of this model fits. Use a device with more memory, or close other programs",
    )
    return OutOfMemory(
        f"{need.dtype} with {need.context} tokens and batch {need.batch} needs "
        f"{need.peak_bytes / GB:.2f} GB (weights {need.weights_bytes / GB:.2f}, KV cache "
        f"{need.kv_bytes / GB:.2f}, the rest working memory), and only "
        f"{memory_bytes / GB:.2f} GB are free. {remedy}"
    )


def _dtype(name: str) -> DType:
    try:
        return DTYPES[name]
    except KeyError:
        known = ", ".join(DTYPES)
        raise ConfigurationError(f"there is no dtype {name!r}. Use one of {known}") from None


GB = 1_000_000_000


@dataclass(frozen=True, slots=True)
class ComputeDevice:
    """A GPU or CPU with its memory in bytes, as manufacturers count it (1 GB is 1e9 bytes)."""

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
    """Return the GPU of this machine if torch finds one, else its CPU, with the free memory.

    Raises:
        ConfigurationError: ``name`` is not ``auto``, ``cuda`` or ``cpu``, or there is no GPU.
    """
    if name not in ("auto", "cuda", "cpu"):
        raise ConfigurationError(f"there is no device {name!r}. Use auto, cuda or cpu")
    if name != "cpu" and importlib.util.find_spec("torch") is not None:
        import torch

        if torch.cuda.is_available():
            return ComputeDevice(torch.cuda.get_device_name(), torch.cuda.mem_get_info()[0])
    if name == "cuda":
        raise ConfigurationError("torch finds no CUDA device here. Use the device auto or cpu")
    return ComputeDevice("CPU", available_ram())


def available_ram() -> int:
    """Return the bytes of main memory that are available on this machine.

    This is the smaller of ``MemAvailable`` and what the limit of the control group leaves. If
    neither is known, it is the size of the physical memory.
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
    used -= int(stat.get("inactive_file", 0))  # page cache, which the kernel frees on demand
    return max(0, int(limit) - used) if limit.isdigit() else None
