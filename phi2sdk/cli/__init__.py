"""The doors of ``phi2`` and ``python -m phi2sdk.compare``.

Nothing heavy is imported before somebody minds the mistakes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial

from phi2sdk.cli import errors as command

__all__ = ["compare_main", "main"]


def main() -> None:
    """Run the command, and leave with its status (see :mod:`phi2sdk.cli.errors`)."""
    command.run(_asked(), _load)


def compare_main() -> None:
    """``python -m phi2sdk.compare``: the same as ``phi2 compare``."""
    command.run("python -m phi2sdk.compare", _load_compare)


def _asked() -> str:
    """``phi2 compare``, as far as a command was named."""
    named = next(iter(sys.argv[1:]), "")
    return f"phi2 {named}" if named.isalpha() else "phi2"


def _load() -> Callable[[], object]:
    from phi2sdk.cli.app import app

    return partial(app, prog_name="phi2")


def _load_compare() -> Callable[[], object]:
    from phi2sdk.cli.compare import app

    return partial(app, prog_name="python -m phi2sdk.compare")


if __name__ == "__main__":
    main()
