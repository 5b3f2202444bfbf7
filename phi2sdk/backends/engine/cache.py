"""Keys and values of sequences that are being written, and attention over them.

S slots, each one sequence; L layers; K key-value heads, D head_dim.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from phi2sdk.memory import Shape

__all__ = ["SlotCache", "SlotAttend"]


class SlotCache:
    """Keys and values, ``[L, S, length, K, D]`` each; zero where nothing was written.

    Attributes:
        slots: S.
        length: Tokens that a slot can hold.
    """

    def __init__(
        self, shape: Shape, slots: int, length: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.slots = slots
        self.length = length
        size = (shape.layers, slots, length, shape.kv_heads, shape.head_dim)
        self.keys = torch.zeros(size, dtype=dtype, device=device)
        self.values = torch.zeros(size, dtype=dtype, device=device)


class SlotAttend:
    """The tokens at ``start`` ... ``start + N - 1`` of one slot, each seeing those up to itself."""

    def __init__(self, cache: SlotCache, slot: int, start: int, count: int) -> None:
        self._cache = cache
        self._slot = slot
        self._start = start
        self._end = start + count
        self._mask: Tensor | None = None
        if start and count > 1:
            seen = torch.ones(count, self._end, dtype=torch.bool, device=cache.keys.device)
            self._mask = seen.tril(diagonal=start)  # [N, end]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys = self._cache.keys[layer, self._slot]  # [length, K, D]
        values = self._cache.values[layer, self._slot]
        keys[self._start : self._end] = k
        values[self._start : self._end] = v
        seen = F.scaled_dot_product_attention(
            q.transpose(0, 1).unsqueeze(0),  # [1, H, N, D]
            keys[: self._end].transpose(0, 1).unsqueeze(0),  # [1, K, end, D]
            values[: self._end].transpose(0, 1).unsqueeze(0),
            attn_mask=self._mask,
            is_causal=self._start == 0 and self._end > 1,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        return seen[0].transpose(0, 1).flatten(1)  # [N, H * D]
