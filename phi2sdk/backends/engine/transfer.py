"""Copy numbers to a device and results back while the device keeps computing.

A copy between a GPU and ordinary memory waits until the GPU has done all work that was given to it.
A copy between a GPU and pinned memory does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Arriving", "to_device"]


def to_device(
    values: Sequence[object], device: torch.device, dtype: torch.dtype = torch.int64
) -> Tensor:
    """Return a tensor of numbers, possibly nested, on a device."""
    made = torch.tensor(values, dtype=dtype)
    if device.type == "cuda":
        made = made.pin_memory()
    return made.to(device, non_blocking=True)


@dataclass(frozen=True, slots=True)
class Arriving:
    """A tensor that is being copied from the device.

    Attributes:
        tensor: Its copy in ordinary memory, which is complete when ``event`` has occurred.
        event: What to wait for; ``None`` where the copy is complete.
    """

    tensor: Tensor
    event: torch.cuda.Event | None = None

    @classmethod
    def of(cls, tensor: Tensor) -> Arriving:
        """Begin to copy a tensor."""
        if tensor.device.type != "cuda":
            return cls(tensor)
        host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
        host.copy_(tensor, non_blocking=True)
        event = torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        return cls(host, event)

    def tolist(self) -> list[float]:
        """Wait for the numbers, and return them."""
        if self.event is not None:
            self.event.synchronize()
        found: list[float] = self.tensor.tolist()
        return found
