"""Three implementations of the decode step: eager, compiled, and captured as CUDA graphs.

Each takes the last tokens of the decoding rows and their positions, and returns logits. The eager
step reads only the cache columns in use. The other two read a bucket of columns, so that tensor
shapes repeat.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from phi2sdk.backends.engine.cache import RowsAttend, SlotCache
from phi2sdk.backends.engine.phi import Phi

__all__ = ["CompiledStep", "EagerStep", "GraphStep", "OneTokenStep"]


class OneTokenStep(Protocol):
    """A decode step of the first n slots."""

    def __call__(self, ids: Tensor, positions: Sequence[int]) -> Tensor:
        """Return logits ``[n, V]`` for the last tokens ``[n]``, on the device, at ``positions``."""
        ...


class EagerStep:
    """A step that launches each operation separately."""

    def __init__(self, phi: Phi, cache: SlotCache) -> None:
        self._phi = phi
        self._cache = cache

    def __call__(self, ids: Tensor, positions: Sequence[int]) -> Tensor:
        kv = max(positions) + 1
        at = torch.tensor(positions, device=ids.device)
        attend = RowsAttend(self._cache, at, kv, even=min(positions) + 1 == kv)
        return self._phi.logits(self._phi.hidden(ids, at, attend))


class CompiledStep:
    """A step fused by torch.compile: compiled once for one row, and once for other row counts.

    Args:
        phi: The model.
        cache: Its cache.
        backend: The backend of torch.compile. A backend that generates no code shows within
            seconds that the step can be traced as one graph and writes into the cache in place.
    """

    def __init__(self, phi: Phi, cache: SlotCache, *, backend: str = "inductor") -> None:
        def step(ids: Tensor, positions: Tensor, kv: int) -> Tensor:
            attend = RowsAttend(cache, positions, kv, even=False)
            return phi.logits(phi.hidden(ids, positions, attend))

        self._length = cache.length
        self._step = torch.compile(step, fullgraph=True, dynamic=True, backend=backend)

    def __call__(self, ids: Tensor, positions: Sequence[int]) -> Tensor:
        at = torch.tensor(positions, device=ids.device)
        logits: Tensor = self._step(ids.clone(), at, _columns(max(positions) + 1, self._length))
        return logits


@dataclass(frozen=True, slots=True)
class _Captured:
    """The step of one shape: its input tensors, its output tensor, and the CUDA graph."""

    ids: Tensor  # [B]
    positions: Tensor  # [B]
    logits: Tensor  # [B, V]
    graph: torch.cuda.CUDAGraph | None


class GraphStep:
    """A step captured as a CUDA graph for each number of rows (1, 2, 4, ...) and column bucket.

    Padding rows write to the scratch column.

    Args:
        phi: The model.
        cache: Its cache.
        capture: Whether to capture graphs. Without capturing, the padded shapes run eagerly,
            which tests the padding on a CPU.
    """

    def __init__(self, phi: Phi, cache: SlotCache, *, capture: bool = True) -> None:
        self._phi = phi
        self._cache = cache
        self._capture = capture
        self._shapes: dict[tuple[int, int], _Captured] = {}

    def __call__(self, ids: Tensor, positions: Sequence[int]) -> Tensor:
        n = len(positions)
        rows = min(1 << (n - 1).bit_length(), self._cache.slots)
        columns = _columns(max(positions) + 1, self._cache.length)
        shape = self._shapes.get((rows, columns)) or self.prepare(rows, columns)
        idle = [self._cache.length] * (rows - n)
        shape.ids[:n] = ids
        shape.positions.copy_(torch.tensor([*positions, *idle]), non_blocking=True)
        if shape.graph is None:
            shape.logits.copy_(self._step(shape.ids, shape.positions, columns))
        else:
            shape.graph.replay()
        return shape.logits[:n]

    def prepare_all(self) -> None:
        """Capture every shape now, the largest first, so that the graphs share memory."""
        lengths = range(_BUCKET, self._cache.length + _BUCKET, _BUCKET)
        columns = sorted({_columns(kv, self._cache.length) for kv in lengths}, reverse=True)
        rows = {min(1 << power, self._cache.slots) for power in range(12)}
        for count in sorted(rows, reverse=True):
            for kv in columns:
                self.prepare(count, kv)

    def prepare(self, rows: int, columns: int) -> _Captured:
        """Capture one shape, with all rows writing to the scratch column."""
        device = self._phi.device
        ids = torch.zeros(rows, dtype=torch.int64, device=device)
        positions = torch.full((rows,), self._cache.length, dtype=torch.int64, device=device)
        logits = torch.empty(rows, self._phi.config.shape.vocab, device=device)
        graph = None
        if self._capture:
            aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(aside):  # a first run, in which kernels are selected
                self._step(ids, positions, columns)
            torch.cuda.current_stream(device).wait_stream(aside)
            graph = torch.cuda.CUDAGraph()
            pool = next((s.graph.pool() for s in self._shapes.values() if s.graph), None)
            with torch.cuda.graph(graph, pool=pool):
                logits.copy_(self._step(ids, positions, columns))
        captured = _Captured(ids, positions, logits, graph)
        self._shapes[rows, columns] = captured
        return captured

    def _step(self, ids: Tensor, positions: Tensor, columns: int) -> Tensor:
        attend = RowsAttend(self._cache, positions, columns, even=False)
        return self._phi.logits(self._phi.hidden(ids, positions, attend))


_BUCKET = 128


def _columns(kv: int, length: int) -> int:
    """Round ``kv`` up to its bucket: multiples of 128 up to 1,024, then multiples of 256."""
    step = _BUCKET if kv <= 1024 else 2 * _BUCKET
    return min(-(-kv // step) * step, length)
