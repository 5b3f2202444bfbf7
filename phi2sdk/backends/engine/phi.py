"""Phi-2 itself: embeddings, parallel blocks of attention and MLP, output head.

A block of Phi adds both to the residual stream, and both read the same normalised input::

    x + attention(norm(x)) + mlp(norm(x))

so its six matrices act as two: ``wide`` makes queries, keys, values and the MLP's inner layer,
``narrow`` adds the two results up. Tokens lie flat, ``[N, hidden]``, whatever sequence they belong
to; which of them see each other is the business of :class:`Attend`.

N tokens; d hidden; H heads, K key-value heads, D head_dim; I intermediate; V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from phi2sdk.backends.engine.memory import Shape
from phi2sdk.backends.engine.threads import Threads
from phi2sdk.errors import ConfigurationError

__all__ = ["Attend", "Block", "Linear", "Matrix", "Norm", "Phi", "PhiConfig", "Rotary"]


@dataclass(frozen=True, slots=True)
class PhiConfig:
    """What the computation needs to know of ``config.json``."""

    shape: Shape
    rotary_dims: int
    rope_theta: float
    norm_eps: float
    gelu: str

    @classmethod
    def read(cls, config: Mapping[str, Any], shape: Shape) -> PhiConfig:
        """From a model's ``config.json``.

        Raises:
            ConfigurationError: It asks for something that Phi-2 does not have, or holds a value
                that cannot be.
        """
        rope = config.get("rope_parameters")
        rope = {} if rope is None else rope
        act = config.get("hidden_act", "gelu_new")
        gelu = {"gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu": "none"}
        if not isinstance(rope, dict):
            raise ConfigurationError("config.json: rope_parameters must be an object")
        unknown = {
            "qk_layernorm": config.get("qk_layernorm", False) is not False,
            "rope_scaling": bool(config.get("rope_scaling")),
            "rope_type": rope.get("rope_type", "default") != "default",
            "hidden_act": not isinstance(act, str) or act not in gelu,
        }
        if asked := [name for name, present in unknown.items() if present]:
            raise ConfigurationError(f"config.json: this engine has no {', '.join(asked)}")
        if shape.context_length < _LEAST_CONTEXT:
            raise ConfigurationError(
                f"config.json: max_position_embeddings {shape.context_length} is below "
                f"{_LEAST_CONTEXT}: there is no room for a prompt and its answer"
            )
        both = {**config, **rope}
        factor = _number(both, "partial_rotary_factor", 0.5, most=1.0)
        rotary_dims = int(shape.head_dim * factor)
        if rotary_dims % 2 or not rotary_dims:
            raise ConfigurationError(
                f"config.json: {factor} of the head's {shape.head_dim} dimensions are "
                f"{rotary_dims}, which do not pair up for the rotary embedding"
            )
        return cls(
            shape=shape,
            rotary_dims=rotary_dims,
            rope_theta=_number(both, "rope_theta", 10000.0, most=1e12),
            norm_eps=_number(config, "layer_norm_eps", 1e-5, most=1.0),
            gelu=gelu[act],
        )


_LEAST_CONTEXT = 16


def _number(config: Mapping[str, Any], name: str, default: float, *, most: float) -> float:
    value = config.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
        raise ConfigurationError(f"config.json: {name} must be a number above 0, at most {most:g}")
    return float(value)


Linear = Callable[[Tensor], Tensor]
"""``[N, in] -> [N, out]``; quantised matrices are others of this kind."""


class Attend(Protocol):
    """Attention of one layer for all N tokens, and the memory behind it."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """``q [N, H, D]``, ``k, v [N, K, D]`` -> ``[N, H * D]``."""
        ...


@dataclass(frozen=True, slots=True)
class Matrix:
    """A plain matrix with its bias."""

    weight: Tensor  # [out, in]
    bias: Tensor  # [out]

    def __call__(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float16 and x.device.type == "cpu" and x.shape[0] >= _SEVERAL:
            return F.linear(x.float(), self.weight.float(), self.bias.float()).half()
        return F.linear(x, self.weight, self.bias)


_SEVERAL = 8
"""From so many float16 tokens on, a CPU multiplies wider copies: the same numbers, added up in
float32 as GPUs do, and ten times faster than a processor without float16 arithmetic."""


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation."""

    weight: Tensor  # [d]
    bias: Tensor  # [d]
    eps: float

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)


@dataclass(frozen=True, slots=True)
class Block:
    """One layer."""

    norm: Norm
    wide: Linear  # [N, d] -> [N, (H + 2K) D + I]
    narrow: Linear  # [N, H D + I] -> [N, d]


class Rotary:
    """Rotary position embedding of the first ``dims`` of each head (Su et al. 2021).

    Angles are computed in float32 and applied in the model's dtype.
    """

    def __init__(
        self, dims: int, theta: float, length: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.dims = dims
        frequency = theta ** -(torch.arange(0, dims, 2, dtype=torch.float32) / dims)
        angle = torch.outer(torch.arange(length, dtype=torch.float32), frequency)
        angle = torch.cat((angle, angle), dim=-1)  # [length, dims]
        sign = torch.ones(dims)
        sign[: dims // 2] = -1  # (x1, x2) turns to (-x2, x1): a roll by half, with signs
        self.cos = angle.cos().to(dtype).to(device)
        self.sin = (angle.sin() * sign).to(dtype).to(device)

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines ``[N, 1, dims]`` for positions ``[N]``."""
        return self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)

    def turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> None:
        """Rotate ``x [N, heads, D]`` in place."""
        part = x[..., : self.dims]
        part.copy_(part * cos + part.roll(self.dims // 2, -1) * sin)


_SMALL = 4_000_000
"""Matrix parameters: on two busy cores the bundled checkpoint's step takes 1.6 ms on one thread,
26 on two."""


class Phi:
    """The model.

    Attributes:
        config: Its sizes.
        device, dtype: Where it is, and the dtype of activations and cache.
        small: So small that several passes side by side, each on one thread, are faster than one
            pass on several.
    """

    def __init__(
        self, config: PhiConfig, embed: Tensor, blocks: list[Block], norm: Norm, head: Linear
    ) -> None:
        self.config = config
        self.embed = embed  # [V, d]
        self.blocks = blocks
        self.norm = norm
        self.head = head  # [N, d] -> [N, V]
        self.device = embed.device
        self.dtype = embed.dtype
        self.small = config.shape.matrix_parameters <= _SMALL
        self._threads = Threads(always_one=self.small)
        length = config.shape.context_length + 1  # with the cache's scratch column
        self.rotary = Rotary(
            config.rotary_dims, config.rope_theta, length, embed.dtype, embed.device
        )

    def threads(self, tokens: int, *, fixed: bool = False) -> AbstractContextManager[None]:
        """Where a pass of so many tokens is computed: see :meth:`Threads.among`."""
        if self.device.type != "cpu":
            return nullcontext()
        return self._threads.among(tokens, fixed=fixed)

    def hidden(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Tokens ``[N]`` at their positions ``[N]`` -> hidden states ``[N, d]``."""
        shape = self.config.shape
        heads, kv_heads, head_dim = shape.heads, shape.kv_heads, shape.head_dim
        turned = (heads + kv_heads) * head_dim
        qkv = turned + shape.kv_width
        x = self.embed[ids]
        cos, sin = self.rotary.at(positions)
        for layer, block in enumerate(self.blocks):
            y = block.wide(block.norm(x))
            qk = y[:, :turned].view(-1, heads + kv_heads, head_dim)
            self.rotary.turn(qk, cos, sin)
            v = y[:, turned:qkv].view(-1, kv_heads, head_dim)
            seen = attend(layer, qk[:, :heads], qk[:, heads:], v)
            inner = F.gelu(y[:, qkv:], approximate=self.config.gelu)
            x = x + block.narrow(torch.cat((seen, inner), dim=-1))
        return x

    def logits(self, x: Tensor) -> Tensor:
        """Hidden states ``[N, d]`` -> logits ``[N, V]`` in float32."""
        return self.head(self.norm(x)).float()
