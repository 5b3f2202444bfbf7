"""The neural network of Phi-2: embeddings, blocks of parallel attention and MLP, output head.

In a block of Phi, attention and MLP read the same normalized input, and the block adds the outputs
of both to the residual stream::

    x + attention(norm(x)) + mlp(norm(x))

The six matrices of a block are therefore joined into two: ``wide`` computes queries, keys, values
and the inner layer of the MLP, and ``narrow`` computes the sum of the two outputs. The tokens of
all sequences are in one flat tensor ``[N, hidden]``; :class:`Attend` determines which tokens attend
to each other.

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
from torch.nn.attention import SDPBackend, sdpa_kernel

from phi2sdk.backends.engine.memory import Shape
from phi2sdk.backends.engine.threads import Threads
from phi2sdk.errors import ConfigurationError

__all__ = ["Attend", "Block", "Linear", "Matrix", "Norm", "Phi", "PhiConfig", "Rotary"]


@dataclass(frozen=True, slots=True)
class PhiConfig:
    """The values of ``config.json`` that the computation needs."""

    shape: Shape
    rotary_dims: int
    rope_theta: float
    norm_eps: float
    gelu: str

    @classmethod
    def read(cls, config: Mapping[str, Any], shape: Shape) -> PhiConfig:
        """Return the configuration given by a model's ``config.json``.

        Raises:
            ConfigurationError: It requires something that Phi-2 does not have, or has an invalid
                value.
        """
        rope = config.get("rope_parameters")
        rope = {} if rope is None else rope
        act = config.get("hidden_act", "gelu_new")
        gelu = {"gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu": "none"}
        if not isinstance(rope, dict):
            raise ConfigurationError(
                "config.json: rope_parameters must be an object. Download the model again"
            )
        unknown = {
            "qk_layernorm": config.get("qk_layernorm", False) is not False,
            "rope_scaling": bool(config.get("rope_scaling")),
            "rope_type": rope.get("rope_type", "default") != "default",
            "hidden_act": not isinstance(act, str) or act not in gelu,
        }
        if asked := [name for name, present in unknown.items() if present]:
            raise ConfigurationError(
                f"config.json: this engine does not support {', '.join(asked)}. Run the model on "
                "an OpenAI-compatible server, and use the backend openai"
            )
        if shape.context_length < _LEAST_CONTEXT:
            raise ConfigurationError(
                f"config.json: max_position_embeddings is {shape.context_length}, and must be at "
                f"least {_LEAST_CONTEXT} for a prompt and its answer"
            )
        both = {**config, **rope}
        factor = _number(both, "partial_rotary_factor", 0.5, most=1.0)
        rotary_dims = int(shape.head_dim * factor)
        if rotary_dims % 2 or not rotary_dims:
            raise ConfigurationError(
                f"config.json: partial_rotary_factor {factor} of {shape.head_dim} dimensions per "
                f"head gives {rotary_dims} rotary dimensions, and these must be a positive even "
                "number"
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
        raise ConfigurationError(
            f"config.json: {name} must be a number greater than 0 and at most {most:g}"
        )
    return float(value)


Linear = Callable[[Tensor], Tensor]
"""A linear layer ``[N, in] -> [N, out]``, quantized or not."""


class Attend(Protocol):
    """Attention of all N tokens in one layer, and the cache that it uses."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Return ``[N, H * D]`` for ``q [N, H, D]`` and ``k, v [N, K, D]``."""
        ...


@dataclass(frozen=True, slots=True)
class Matrix:
    """A linear layer that is not quantized."""

    weight: Tensor  # [out, in]
    bias: Tensor  # [out]

    def __call__(self, x: Tensor) -> Tensor:
        if x.dtype == torch.float16 and x.device.type == "cpu" and x.shape[0] >= _SEVERAL:
            return F.linear(x.float(), self.weight.float(), self.bias.float()).half()
        return F.linear(x, self.weight, self.bias)


_SEVERAL = 8
"""Number of float16 tokens from which a CPU multiplies float32 copies of the float16 numbers. The
sums are in float32, as on a GPU, and a processor without float16 arithmetic is ten times faster."""


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalization."""

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
        sign[: dims // 2] = -1  # (x1, x2) becomes (-x2, x1): a roll by half, with signs
        self.cos = angle.cos().to(dtype).to(device)
        self.sin = (angle.sin() * sign).to(dtype).to(device)

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines ``[N, 1, dims]`` for positions ``[N]``."""
        return self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)

    def turn(self, x: Tensor, cos: Tensor, sin: Tensor) -> None:
        """Rotate ``x [N, heads, D]`` in place."""
        part = x[..., : self.dims]
        part.copy_(part * cos + part.roll(self.dims // 2, -1) * sin)


_SMALL = 4_000_000
"""Number of matrix parameters up to which a pass uses one thread. On two busy cores, a step of the
bundled checkpoint takes 1.6 ms on one thread and 26 ms on two."""


_KERNELS = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
"""Without cuDNN's attention, which prepares itself again, for up to half a second, for each length
of the cache."""


class Phi:
    """The model.

    Attributes:
        config: The configuration.
        device: The device of the weights.
        dtype: The dtype of activations and cache.
        small: Whether the model is so small that several passes in parallel, each on one thread,
            are faster than one pass on several threads.
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
        """Return the context in which to compute a pass; see :meth:`Threads.among`."""
        if self.device.type == "cuda":
            return sdpa_kernel(_KERNELS)
        if self.device.type != "cpu":
            return nullcontext()
        return self._threads.among(tokens, fixed=fixed)

    def hidden(self, ids: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Return hidden states ``[N, d]`` for tokens ``[N]`` at positions ``[N]``."""
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
        """Return logits ``[N, V]`` in float32 for hidden states ``[N, d]``."""
        return self.head(self.norm(x)).float()
