"""The entry points of ``phi2`` and of the modules that are commands.

Nothing heavy is imported here, so that Ctrl-C and a missing package while the rest is imported end
in one line.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module

from phi2sdk.cli.errors import run

__all__ = ["compare_main", "emulate_main", "main"]


def main() -> None:
    """Run the command, and exit with its status (see :mod:`phi2sdk.cli.errors`)."""
    named = next(iter(sys.argv[1:]), "")
    run(f"phi2 {named}" if named.isalpha() else "phi2", _loader("app", "phi2"))


def compare_main() -> None:
    """Run ``python -m phi2sdk.compare``, which is the same as ``phi2 compare``."""
    name = "python -m phi2sdk.compare"
    run(name, _loader("compare", name))


def emulate_main() -> None:
    """Run ``python -m phi2sdk.emulator``, which is the same as ``phi2 emulate``."""
    name = "python -m phi2sdk.emulator"
    run(name, _loader("emulate", name), extra="emulator")


def _loader(module: str, name: str) -> Callable[[], Callable[[], object]]:
    """Return a function that imports the application of a module."""
    return lambda: partial(import_module(f"phi2sdk.cli.{module}").app, prog_name=name)
