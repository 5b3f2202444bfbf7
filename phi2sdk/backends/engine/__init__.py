"""The local engine: the model, its key-value cache, and its decode loop.

Only :mod:`phi2sdk.backends.local_gpu`, the emulators and the identity tests use this package, by
:class:`LocalModel`. Torch is imported with :class:`LocalModel`, on first use.
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
