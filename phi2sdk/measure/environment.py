"""On what a run was made."""

from __future__ import annotations

import platform
import sys
from importlib import metadata
from os import cpu_count

from phi2sdk import __version__

__all__ = ["machine", "versions"]


def machine() -> dict[str, str | int | float | None]:
    """This machine, without its name."""
    return {
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpus": cpu_count(),
        "python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Versions of this package and of what it loaded."""
    found = {"phi2sdk": __version__}
    for name, module in (
        ("aiohttp", "aiohttp"),
        ("grpcio", "grpc"),
        ("numpy", "numpy"),
        ("scipy", "scipy"),
        ("torch", "torch"),
        ("transformers", "transformers"),
    ):
        if module in sys.modules:
            found[name] = metadata.version(name)
    return found
