"""Read the weights of a checkpoint, and quantize them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import SafetensorError, safe_open
from torch import Tensor

from phi2sdk.backends.engine.files import ModelFiles
from phi2sdk.backends.engine.memory import INT4_GROUP
from phi2sdk.backends.engine.phi import Block, Linear, Matrix, Norm, Phi, PhiConfig
from phi2sdk.errors import ConfigurationError

__all__ = [
    "Int4Matrix",
    "Int8Matrix",
    "Progress",
    "load_weights",
    "quantize_matrix",
]

Progress = Callable[[int, int], None]
"""A function called with the number of bytes loaded so far and the total."""


def load_weights(
    files: ModelFiles,
    *,
    dtype: torch.dtype,
    device: torch.device,
    quantize: str | None = None,
    progress: Progress | None = None,
) -> Phi:
    """Read a model, quantizing each layer as soon as it is read.

    Raises:
        ConfigurationError: A tensor is missing, or its shape contradicts ``config.json``.
    """
    config = PhiConfig.read(files.config, files.shape)
    with ExitStack() as stack:
        reader = _Reader(files.weights, stack, config, dtype, device, quantize, progress)
        return reader.model()


class _Reader:
    def __init__(
        self,
        paths: Sequence[Path],
        stack: ExitStack,
        config: PhiConfig,
        dtype: torch.dtype,
        device: torch.device,
        quantize: str | None,
        progress: Progress | None,
    ) -> None:
        try:
            opened = [stack.enter_context(safe_open(path, framework="pt")) for path in paths]
        except (SafetensorError, OSError) as error:
            raise ConfigurationError(
                f"{paths[0].parent} has a damaged safetensors file ({error}). "
                "Download the model again"
            ) from error
        self._home = {name: file for file in opened for name in file.keys()}  # noqa: SIM118
        last = re.compile(r"model\.layers\.(\d{1,9})\.")
        layers = {int(found[1]) for name in self._home if (found := last.match(name))}
        if layers and max(layers) >= config.shape.layers:
            raise ConfigurationError(
                f"the weights have {max(layers) + 1} layers, and config.json says "
                f"{config.shape.layers}. Download the model again"
            )
        self._config = config
        self._dtype = dtype
        self._device = device
        self._quantize = quantize
        self._progress = progress
        self._total = sum(path.stat().st_size for path in paths)
        self._loaded = 0

    def model(self) -> Phi:
        shape = self._config.shape
        embed = self._new(shape.vocab, shape.hidden)
        self._fill(embed, "model.embed_tokens.weight")
        blocks = [self._block(f"model.layers.{layer}") for layer in range(shape.layers)]
        norm = self._norm("model.final_layernorm")
        head = Matrix(embed, self._vector("lm_head.bias", shape.vocab))
        if not shape.tied_embeddings:
            head = Matrix(self._new(shape.vocab, shape.hidden), head.bias)
            self._fill(head.weight, "lm_head.weight")
        return Phi(self._config, embed, blocks, norm, head)

    def _block(self, name: str) -> Block:
        """Read a layer, joining six matrices into two (see :mod:`phi2sdk.backends.engine.phi`)."""
        shape = self._config.shape
        d, kv, inner = shape.hidden, shape.kv_width, shape.intermediate
        wide = Matrix(self._new(d + 2 * kv + inner, d), self._new(d + 2 * kv + inner))
        row = 0
        for part, rows in (
            ("self_attn.q_proj", d),
            ("self_attn.k_proj", kv),
            ("self_attn.v_proj", kv),
            ("mlp.fc1", inner),
        ):
            self._fill(wide.weight[row : row + rows], f"{name}.{part}.weight")
            self._fill(wide.bias[row : row + rows], f"{name}.{part}.bias")
            row += rows
        narrow = Matrix(self._new(d, d + inner), self._vector(f"{name}.self_attn.dense.bias", d))
        self._fill(narrow.weight[:, :d], f"{name}.self_attn.dense.weight")
        self._fill(narrow.weight[:, d:], f"{name}.mlp.fc2.weight")
        narrow.bias.add_(self._vector(f"{name}.mlp.fc2.bias", d))
        norm = self._norm(f"{name}.input_layernorm")
        if self._quantize is None:
            return Block(norm, wide, narrow)
        kind = self._quantize
        return Block(norm, quantize_matrix(wide, kind), quantize_matrix(narrow, kind))

    def _norm(self, name: str) -> Norm:
        d = self._config.shape.hidden
        weight, bias = self._vector(f"{name}.weight", d), self._vector(f"{name}.bias", d)
        return Norm(weight, bias, self._config.norm_eps)

    def _vector(self, name: str, size: int) -> Tensor:
        vector = self._new(size)
        self._fill(vector, name)
        return vector

    def _new(self, *size: int) -> Tensor:
        return torch.empty(size, dtype=self._dtype, device=self._device)

    def _fill(self, target: Tensor, name: str) -> None:
        if name not in self._home:
            raise ConfigurationError(
                f"the weights have no {name}, so they are incomplete or belong to another model. "
                "Download the model again"
            )
        stored = self._home[name].get_tensor(name)
        if not stored.is_floating_point():
            raise ConfigurationError(
                f"{name} is stored as {stored.dtype}, and must be a floating-point tensor. Use the "
                "published weights, and quantize them with the setting quantize"
            )
        if stored.shape != target.shape:
            raise ConfigurationError(
                f"{name} has the shape {list(stored.shape)}, and config.json says "
                f"{list(target.shape)}. Download the model again"
            )
        target.copy_(stored)
        self._loaded += stored.nbytes
        if self._progress is not None:
            self._progress(min(self._loaded, self._total), self._total)


_FEW = 16
"""Number of tokens from which widening int8 weights once is faster than the int8 kernel."""
_WIDENED = 2048
"""Number of rows of int8 weights that are widened at a time, so that they stay in the cache."""


def quantize_matrix(matrix: Matrix, kind: str) -> Linear:
    """Quantize a matrix to ``int8`` or ``int4``.

    Raises:
        ConfigurationError: The width does not divide into groups, or ``kind`` is unknown.
    """
    if kind == "int8":
        return Int8Matrix.of(matrix)
    if kind == "int4":
        return Int4Matrix.of(matrix)
    raise ConfigurationError(f"there is no quantization {kind!r}. Use int8 or int4")


@dataclass(frozen=True, slots=True)
class Int8Matrix:
    """A matrix with one symmetric scale per row: ``weight = int8 * scale``."""

    weight: Tensor  # [out, in] int8
    scale: Tensor  # [out]
    bias: Tensor  # [out]

    @classmethod
    def of(cls, matrix: Matrix) -> Int8Matrix:
        """Quantize a matrix, rounding to the nearest integer."""
        wide = matrix.weight.float()
        scale = wide.abs().amax(1).clamp_min_(torch.finfo(torch.float32).tiny) / 127
        weight = (wide / scale.unsqueeze(1)).round_().to(torch.int8)
        return cls(weight, scale.to(matrix.bias.dtype), matrix.bias)

    def __call__(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return F.linear(x, self.weight.to(x.dtype) * self.scale.unsqueeze(1), self.bias)
        if x.shape[0] < _FEW:
            product: Tensor = torch._weight_int8pack_mm(x, self.weight, self.scale)
            return product + self.bias
        return self._in_blocks(x)

    def _in_blocks(self, x: Tensor) -> Tensor:
        """Widen and multiply the rows block by block: ten times faster than all at once.

        The sums are scaled, not the weights. In float16 they would overflow.
        """
        wide = x.float() if x.dtype == torch.float16 else x
        product = wide.new_empty(len(x), len(self.weight))
        for at in range(0, len(self.weight), _WIDENED):
            rows = slice(at, at + _WIDENED)
            product[:, rows] = F.linear(wide, self.weight[rows].to(wide.dtype))
        bias, scale = self.bias.to(wide.dtype), self.scale.to(wide.dtype)
        return torch.addcmul(bias, product, scale).to(x.dtype)


@dataclass(frozen=True, slots=True)
class Int4Matrix:
    """A matrix with a scale and a zero per group: ``weight = (int4 - 8) * scale + zero``."""

    packed: Tensor  # on a CPU in the order of the kernel, else [out, in / 2] uint8
    scale_zero: Tensor  # [in / group, out, 2]
    bias: Tensor  # [out]
    group: int

    @classmethod
    def of(cls, matrix: Matrix) -> Int4Matrix:
        """Quantize a matrix to 16 equal steps between each group's minimum and maximum."""
        rows, width = matrix.weight.shape
        group = INT4_GROUP if width % INT4_GROUP == 0 else INT4_GROUP // 2
        if width % group or rows % 16:
            raise ConfigurationError(
                f"int4 requires matrices whose rows are a multiple of 16 and whose width is a "
                f"multiple of {group}, and this model has a matrix of {rows} x {width}. Instead, "
                "use int8"
            )
        groups = matrix.weight.float().view(rows, -1, group)
        low, high = groups.aminmax(dim=-1, keepdim=True)
        dtype = (
            matrix.bias.dtype
        )  # scale and zero are rounded first, because only the rounded ones are stored
        scale = ((high - low) / 15).clamp_min_(1e-8).to(dtype).float()
        zero = (low + 8 * scale).to(dtype).float()
        steps = ((groups - zero) / scale + 8).round_().clamp_(0, 15).to(torch.int32)
        steps = steps.view(rows, width)
        scale_zero = torch.cat((scale, zero), dim=-1).transpose(0, 1).contiguous().to(dtype)
        if matrix.weight.device.type == "cpu":
            packed = torch._convert_weight_to_int4pack_for_cpu(steps, 1)
        else:
            packed = nibbles(steps)
        return cls(packed, scale_zero, matrix.bias, group)

    def __call__(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu":
            product: Tensor = torch._weight_int4pack_mm_for_cpu(
                x, self.packed, self.group, self.scale_zero
            )
            return product + self.bias
        return F.linear(x, self._wide(x.dtype), self.bias)

    def _wide(self, dtype: torch.dtype) -> Tensor:
        steps = torch.stack((self.packed >> 4, self.packed & 15), dim=-1)  # [out, in / 2, 2]
        scale_zero = self.scale_zero.transpose(0, 1).unsqueeze(-1)  # [out, groups, 2, 1]
        groups = steps.view(len(steps), -1, self.group).to(dtype) - 8
        wide: Tensor = groups * scale_zero[:, :, 0] + scale_zero[:, :, 1]
        return wide.flatten(1)


def nibbles(steps: Tensor) -> Tensor:
    """Pack numbers from 0 to 15 ``[out, in]`` two per byte ``[out, in / 2]``."""
    return (steps[:, ::2] << 4 | steps[:, 1::2]).to(torch.uint8)
