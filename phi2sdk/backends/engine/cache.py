"""The key-value cache of the sequences in the slots, and attention over it.

S slots, each with one sequence; L layers; K key-value heads; D head_dim. A slot has one column
more than the context, the scratch column: keys and values that must not be kept are written there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from phi2sdk.backends.engine.memory import Shape
from phi2sdk.backends.engine.phi import Attend

__all__ = ["ChunkAttend", "RowsAttend", "SlotCache", "StepAttend"]


class SlotCache:
    """The keys and values of all slots; columns that were never written are zero.

    Attributes:
        keys, values: ``[S, K, length + 1, D]`` for each layer. Every layer has a separate tensor,
            so that a compiled step writes into it in place.
        slots: S.
        length: Number of tokens that a slot can hold, which is the index of the scratch column.
        grouped: Whether several heads share their keys and values (grouped-query attention).
    """

    def __init__(
        self, shape: Shape, slots: int, length: int, dtype: torch.dtype, device: torch.device
    ) -> None:
        self.slots = slots
        self.length = length
        self.grouped = shape.kv_heads != shape.heads
        self.dtype = dtype
        self.device = device
        size = (slots, shape.kv_heads, length + 1, shape.head_dim)
        self.keys, self.values = (
            [torch.zeros(size, dtype=dtype, device=device) for _ in range(shape.layers)]
            for _ in range(2)
        )

    def move(self, source: int, target: int, count: int) -> None:
        """Copy the first ``count`` tokens of one slot to another slot."""
        for kept in (*self.keys, *self.values):
            kept[target, :, :count] = kept[source, :, :count]

    def scrub(self, slot: int) -> None:
        """Set a slot that may hold NaN to zero, because NaN spreads even from masked columns."""
        for kept in (*self.keys, *self.values):
            kept[slot] = 0


class RowsAttend:
    """Attention for one new token in each of the first B slots, over the slot's earlier tokens.

    Args:
        cache: The cache of the slots.
        positions: ``[B]`` positions of the new tokens.
        kv: Number of columns to read, greater than the largest position.
        even: Whether all positions are ``kv - 1``, so that no mask is needed.
    """

    def __init__(self, cache: SlotCache, positions: Tensor, kv: int, *, even: bool) -> None:
        self._cache = cache
        self._positions = positions
        self._count = positions.shape[0]
        self._rows = torch.arange(self._count, device=positions.device)
        self._kv = kv
        self._mask: Tensor | None = None
        if not even:
            unseen = torch.arange(kv, device=positions.device) > positions.unsqueeze(1)
            mask = torch.zeros(unseen.shape, dtype=cache.dtype, device=positions.device)
            self._mask = mask.masked_fill_(unseen, -torch.inf)[:, None, None]  # [B, 1, 1, kv]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys = self._cache.keys[layer]  # [S, K, length + 1, D]
        values = self._cache.values[layer]
        keys[self._rows, :, self._positions] = k
        values[self._rows, :, self._positions] = v
        seen = F.scaled_dot_product_attention(
            q.unsqueeze(2),  # [B, H, 1, D]
            keys[: self._count, :, : self._kv],  # [B, K, kv, D]
            values[: self._count, :, : self._kv],
            attn_mask=self._mask,
            enable_gqa=self._cache.grouped,
        )
        return seen.flatten(1)  # [B, H * D]


class ChunkAttend:
    """Causal attention for the tokens ``start`` ... ``start + N - 1`` of one slot."""

    def __init__(self, cache: SlotCache, slot: int, start: int, count: int) -> None:
        self._cache = cache
        self._slot = slot
        self._start = start
        self._end = start + count
        self._mask: Tensor | None = None
        if start and count > 1:
            seen = torch.ones(count, self._end, dtype=torch.bool, device=cache.device)
            self._mask = seen.tril(diagonal=start)  # [N, end]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        keys = self._cache.keys[layer][self._slot]  # [K, length + 1, D]
        values = self._cache.values[layer][self._slot]
        keys[:, self._start : self._end] = k.transpose(0, 1)
        values[:, self._start : self._end] = v.transpose(0, 1)
        seen = F.scaled_dot_product_attention(
            q.transpose(0, 1).unsqueeze(0),  # [1, H, N, D]
            keys[:, : self._end].unsqueeze(0),  # [1, K, end, D]
            values[:, : self._end].unsqueeze(0),
            attn_mask=self._mask,
            is_causal=self._start == 0 and self._end > 1,
            enable_gqa=self._cache.grouped,
        )
        return seen[0].transpose(0, 1).flatten(1)  # [N, H * D]


class StepAttend:
    """Several attentions in one pass: each handles the given number of the N tokens, in order."""

    def __init__(self, parts: Sequence[tuple[int, Attend]]) -> None:
        self._parts = parts

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if len(self._parts) == 1:
            return self._parts[0][1](layer, q, k, v)
        seen = []
        at = 0
        for count, attend in self._parts:
            part = slice(at, at + count)
            seen.append(attend(layer, q[part], k[part], v[part]))
            at += count
        return torch.cat(seen)
