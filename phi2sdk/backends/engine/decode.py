"""Three implementations of the decode step: eager, compiled, and captured as CUDA graphs.

Each takes the last tokens of the decoding rows and their positions, and returns logits. The eager
step reads only the cache columns in use. The other two read a bucket of columns, so that tensor
shapes repeat.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor

from phi2sdk.backends.engine.cache import RowsAttend, SlotCache
from phi2sdk.backends.engine.phi import Phi
from phi2sdk.backends.engine.transfer import to_device

__all__ = ["Capture", "CompiledStep", "CudaGraphs", "EagerStep", "GraphStep", "OneTokenStep"]


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
        at = to_device(positions, ids.device)
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
        at = to_device(positions, ids.device)
        logits: Tensor = self._step(ids.clone(), at, _columns(max(positions) + 1, self._length))
        return logits


Replay = Callable[[], None]
"""Runs captured operations again."""
Capture = Callable[[Callable[[], None]], Replay]
"""Captures operations, which it may run."""


class CudaGraphs:
    """Captures operations as CUDA graphs, which share their memory. One thread captures at a time.

    Args:
        device: The GPU.
    """

    _capturing = threading.Lock()

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._device = device
        self._pool: Any = None

    def __call__(self, operations: Callable[[], None]) -> Replay:
        """Run operations once, in which kernels are selected, and capture them."""
        graph = torch.cuda.CUDAGraph()
        with self._capturing:
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
            with torch.cuda.stream(self._stream):
                operations()
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"
            ):
                operations()
        self._pool = graph.pool()
        return graph.replay


class GraphStep:
    """A step captured once for each number of rows (1, 2, 4, ...) and column bucket.

    Padding rows write to the scratch column. All shapes share their input and output tensors. If a
    capture fails, this shape and those that were not captured before run eagerly.

    Args:
        phi: The model.
        cache: Its cache.
        capture: Captures operations. With ``None``, the padded shapes run eagerly.
    """

    def __init__(self, phi: Phi, cache: SlotCache, *, capture: Capture | None) -> None:
        self._phi = phi
        self._cache = cache
        self._capture = capture
        self._shapes: dict[tuple[int, int], Replay] = {}
        vocab, device = phi.config.shape.vocab, phi.device
        self._ids = torch.zeros(cache.slots, dtype=torch.int64, device=device)
        self._positions = torch.full_like(self._ids, cache.length)
        self._logits = torch.empty(cache.slots, vocab, device=device)

    def __call__(self, ids: Tensor, positions: Sequence[int]) -> Tensor:
        n = len(positions)
        rows = min(1 << (n - 1).bit_length(), self._cache.slots)
        columns = _columns(max(positions) + 1, self._cache.length)
        replay = self._shapes.get((rows, columns)) or self.prepare(rows, columns)
        idle = [self._cache.length] * (rows - n)
        self._ids[:n] = ids
        self._positions[:rows] = to_device([*positions, *idle], ids.device)
        replay()
        return self._logits[:n]

    def prepare_all(self) -> None:
        """Capture every shape now, the largest first, so that the graphs share memory."""
        lengths = range(_BUCKET, self._cache.length + _BUCKET, _BUCKET)
        columns = sorted({_columns(kv, self._cache.length) for kv in lengths}, reverse=True)
        rows = {min(1 << power, self._cache.slots) for power in range(12)}
        for count in sorted(rows, reverse=True):
            for kv in columns:
                self.prepare(count, kv)

    def prepare(self, rows: int, columns: int) -> Replay:
        """Capture one shape, with all rows writing to the scratch column."""
        ids, positions, logits = self._ids[:rows], self._positions[:rows], self._logits[:rows]
        positions.fill_(self._cache.length)

        def step() -> None:
            attend = RowsAttend(self._cache, positions, columns, even=False)
            logits.copy_(self._phi.logits(self._phi.hidden(ids, positions, attend)))

        replay: Replay = step
        if self._capture is not None:
            try:
                replay = self._capture(step)
            except RuntimeError as error:  # of CUDA, also if its memory is exhausted
                self._capture = None
                warnings.warn(
                    f"the decode step could not be captured as a CUDA graph, so it is launched "
                    f"operation by operation, which is slower ({type(error).__name__}: {error})",
                    stacklevel=2,
                )
        self._shapes[rows, columns] = replay
        return replay


_BUCKET = 128


def _columns(kv: int, length: int) -> int:
    """Round ``kv`` up to its bucket: multiples of 128 up to 1,024, then multiples of 256."""
    step = _BUCKET if kv <= 1024 else 2 * _BUCKET
    return min(-(-kv // step) * step, length)
