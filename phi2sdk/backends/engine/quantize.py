"""Weight-only quantisation: the layers' matrices in 8 or 4 bits, everything else in 16.

Decoding reads every weight once a token, so fewer bits are fewer bytes to wait for. The kernels are
torch's own. Where there is none for a device or a shape, the weights are widened first: right, and
as small in memory, but slower than 16 bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from phi2sdk.backends.engine.phi import Linear, Matrix
from phi2sdk.errors import ConfigurationError
from phi2sdk.memory import INT4_GROUP

__all__ = ["Int4Matrix", "Int8Matrix", "quantise"]

_FEW = 8
"""From so many tokens on, widening int8 weights once is cheaper than the kernel's own loop."""


def quantise(matrix: Matrix, kind: str) -> Linear:
    """A matrix as ``int8`` or ``int4``.

    Raises:
        ConfigurationError: Its width does not divide into groups, or there is no such kind.
    """
    if kind == "int8":
        return Int8Matrix.of(matrix)
    if kind == "int4":
        return Int4Matrix.of(matrix)
    raise ConfigurationError(f"quantize={kind!r}: use int8 or int4")


@dataclass(frozen=True, slots=True)
class Int8Matrix:
    """One scale a row, symmetric: ``weight = int8 * scale``."""

    weight: Tensor  # [out, in] int8
    scale: Tensor  # [out]
    bias: Tensor  # [out]

    @classmethod
    def of(cls, matrix: Matrix) -> Int8Matrix:
        """Rounded to the nearest."""
        wide = matrix.weight.float()
        scale = wide.abs().amax(1).clamp_min_(torch.finfo(torch.float32).tiny) / 127
        weight = (wide / scale.unsqueeze(1)).round_().to(torch.int8)
        return cls(weight, scale.to(matrix.bias.dtype), matrix.bias)

    def __call__(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.shape[0] < _FEW:
            product: Tensor = torch._weight_int8pack_mm(x, self.weight, self.scale)
            return product + self.bias
        return F.linear(x, self.weight.to(x.dtype) * self.scale.unsqueeze(1), self.bias)


@dataclass(frozen=True, slots=True)
class Int4Matrix:
    """A scale and a zero for each group of a row: ``weight = (int4 - 8) * scale + zero``."""

    packed: Tensor  # on a CPU in the kernel's own order, else [out, in / 2] uint8
    scale_zero: Tensor  # [in / group, out, 2]
    bias: Tensor  # [out]
    group: int

    @classmethod
    def of(cls, matrix: Matrix) -> Int4Matrix:
        """Rounded to the nearest of 16 steps between each group's least and largest."""
        rows, width = matrix.weight.shape
        group = INT4_GROUP if width % INT4_GROUP == 0 else INT4_GROUP // 2
        if width % group or rows % 16:
            raise ConfigurationError(
                f"int4 needs rows by 16 and widths by {group}; a matrix of this model is "
                f"{rows} x {width}: use int8"
            )
        groups = matrix.weight.float().view(rows, -1, group)
        low, high = groups.aminmax(dim=-1, keepdim=True)
        dtype = matrix.bias.dtype  # rounded first, so that the steps are those that are kept
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
    """Numbers from 0 to 15, ``[out, in]``, two a byte: ``[out, in / 2]``."""
    return (steps[:, ::2] << 4 | steps[:, 1::2]).to(torch.uint8)
