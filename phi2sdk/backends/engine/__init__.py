"""Phi-2 on this machine: the model, its cache, its decode loop.

Nothing outside :mod:`phi2sdk.backends.local_gpu` and the emulators needs to know this package;
they use :class:`LocalModel`. Torch is imported with it, on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from phi2sdk.backends.engine.job import Step

if TYPE_CHECKING:
    from phi2sdk.backends.engine.model import LocalModel

__all__ = ["LocalModel", "Step"]


def __getattr__(name: str) -> Any:
    if name != "LocalModel":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from phi2sdk.backends.engine.model import LocalModel

    return LocalModel
